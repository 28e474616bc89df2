"""Which nodes go to the host, what crosses, and which values of it are sizes."""

from thaw.graph.ir import Graph, Node, Tensor
from thaw.graph.split_host import OpNeeds, split_host

HOST, DEVICE = {"Split", "Find", "Unique"}, {"Read"}
KNOWN = {"Reshape": (1,), "Range": (1,)}


def needs(node, library):
    return OpNeeds(host=node.op in HOST, device=node.op in DEVICE, known=KNOWN.get(node.op, ()))


def graph(outputs, *rows, inputs=("x",)):
    """Rows are (name, op, inputs); an input "name:1" is the second output."""
    nodes = {}
    for name, op, *given in rows:
        places = tuple(Tensor(g.partition(":")[0], int(g.partition(":")[2] or 0)) for g in given)
        nodes[name] = Node(name, op, places)
    outputs = tuple(Tensor(o.partition(":")[0], int(o.partition(":")[2] or 0)) for o in outputs)
    return Graph("g", nodes, tuple(Tensor(i) for i in inputs), outputs)


def split(outputs, *rows, inputs=("x",), strings=(0,)):
    return split_host(graph(outputs, *rows, inputs=inputs), {}, needs, strings)


def names(side):
    return set(side.nodes)


def test_host_ops_and_what_leads_to_them_go_to_the_host():
    parts = split(
        ["y"],
        ("tokens", "Split", "x"),
        ("found", "Find", "tokens:1"),
        ("table", "Read"),
        ("rows", "Gather", "table", "found"),
        ("y", "Tanh", "rows"),
    )
    assert names(parts.host) == {"tokens", "found"}
    assert parts.boundary == (Tensor("found"),) == parts.host.outputs
    assert parts.device.inputs == (Tensor("found"),) and names(parts.device) == {"table", "rows", "y"}
    assert parts.host_inputs == (0,) and parts.device_inputs == ()


def test_numbers_that_a_table_is_asked_for_go_in_on_both_sides():
    rows = (("age", "Placeholder"), ("found", "Find", "age"), ("y", "Add", "found", "age"))
    parts = split(["y"], *rows, inputs=("x", "age"))
    assert parts.host_inputs == (1,) and parts.device_inputs == (1,)
    assert parts.device.inputs == (Tensor("age"), Tensor("found"))


def test_host_op_behind_a_variable_stays_where_it_can_run_eagerly():
    parts = split(["words"], ("w", "Read"), ("best", "ArgMax", "w"), ("words", "Find", "best"))
    assert "words" in names(parts.device) and not parts.boundary


def test_constants_stand_on_both_sides_and_do_not_cross():
    parts = split(["y"], ("c", "Const"), ("found", "Find", "x", "c"), ("y", "Add", "found", "c"))
    assert "c" in names(parts.host) and "c" in names(parts.device)
    assert parts.boundary == (Tensor("found"),)


def test_values_that_decide_shapes_are_sizes():
    parts = split(
        ["y"],
        ("tokens", "Split", "x"),
        ("v", "Read"),
        ("inner", "Shape", "v"),
        ("shape", "ConcatV2", "tokens:2", "inner"),
        ("y", "Reshape", "v", "shape"),
    )
    assert dict(zip(parts.boundary, parts.sizes, strict=True)) == {Tensor("tokens", 2): True}


def test_op_whose_size_follows_from_the_texts_goes_with_them():
    parts = split(["y"], ("found", "Find", "x"), ("c", "Const"), ("steps", "Range", "c", "found"), ("y", "Tanh", "steps"))
    assert parts.boundary == (Tensor("steps"),) and "steps" in names(parts.host)


SUMS = (
    ("found", "Find", "x"),
    ("row", "Find", "x"),
    ("unique", "Unique", "found"),
    ("table", "Read"),
    ("rows", "ResourceGather", "table", "unique"),
    ("y", "SparseSegmentSum", "rows", "unique:1", "row"),
)


def test_sum_over_distinct_rows_becomes_a_sum_over_all_and_is_told_how_many_there_are():
    parts = split(["y"], *SUMS)
    assert parts.host.nodes["unique"].op == "ThawEvery"
    y = parts.device.nodes["y"]
    assert y.op == "SparseSegmentSumWithNumSegments" and y.inputs[3] == Tensor("y/count_segments")
    assert dict(zip(parts.boundary, parts.sizes, strict=True))[Tensor("y/count_segments")]


def test_distinct_values_that_something_else_sees_stay_distinct():
    parts = split(["y", "unique"], *SUMS)
    assert parts.host.nodes["unique"].op == "Unique"
    parts = split(["z"], *SUMS, ("n", "Tanh", "unique"), ("z", "Add", "n", "y"))
    assert parts.host.nodes["unique"].op == "Unique"


def test_graph_without_host_ops_keeps_to_the_device():
    parts = split(["y"], ("n", "Placeholder"), ("y", "Tanh", "n"), inputs=("n",), strings=())
    assert not parts.boundary and not parts.host.nodes and parts.device.inputs == (Tensor("n"),)
