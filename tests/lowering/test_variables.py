"""Ops about variables, on graphs of several nodes: they read and assign through the context."""

import keras
import numpy as np
import pytest

import thaw.lowering.table  # noqa: F401  (fills the registry)
from thaw.errors import LoweringError
from thaw.graph.ir import FunctionName, Graph, Node, Tensor
from thaw.lowering.run import Context, Plan, Resources

TABLE = np.arange(12, dtype="float32").reshape(4, 3)
IDS = np.array([2, 0], dtype="int32")
ROWS = np.array([[1, 2, 3], [4, 5, 20]], dtype="float32")


def node(name, op, *inputs, control=(), **attrs):
    return Node(name, op, tuple(Tensor(i) for i in inputs), control, attrs)


def run(nodes, inputs, outputs, feeds, updates=(), library=None, **variables):
    resources = Resources(
        {k: keras.Variable(v, name=k, trainable=v.dtype.kind == "f", dtype=v.dtype.name) for k, v in variables.items()}, library
    )
    graph = Graph(
        "test", {n.name: n for n in nodes}, tuple(Tensor(i) for i in inputs), tuple(Tensor(o) for o in outputs), updates
    )
    values = Plan(graph, resources.library).run(Context(resources), feeds)
    plain = [v if isinstance(v, np.ndarray) else keras.ops.convert_to_numpy(v) for v in values]
    return plain, {k: keras.ops.convert_to_numpy(v.value) for k, v in resources.variables.items()}


HANDLE = node("v", "VarHandleOp", shared_name="v", dtype="float32", shape=(4, 3))
REFERENCE = node("v", "VariableV2", dtype="float32", shape=(4, 3))


def test_resource_is_read():
    (value,), _ = run([HANDLE, node("r", "ReadVariableOp", "v", dtype="float32")], [], ["r"], [], v=TABLE)
    np.testing.assert_array_equal(value, TABLE)


def test_reference_is_a_value_wherever_one_is_wanted():
    nodes = [REFERENCE, node("i", "Identity", "v"), node("d", "Add", "v", "v")]
    (identity, double, itself), _ = run(nodes, [], ["i", "d", "v"], [], v=TABLE)
    np.testing.assert_array_equal(identity, TABLE)
    np.testing.assert_array_equal(double, 2 * TABLE)
    np.testing.assert_array_equal(itself, TABLE)


@pytest.mark.parametrize(
    ("op", "expected"), [("AssignVariableOp", ROWS), ("AssignAddVariableOp", ROWS + 1), ("AssignSubVariableOp", 1 - ROWS)]
)
def test_resource_is_assigned(op, expected):
    nodes = [HANDLE, node("a", op, "v", "x", dtype="float32"), node("r", "ReadVariableOp", "v", control=("a",))]
    (after,), variables = run(nodes, ["x"], ["r"], [ROWS], ("a",), v=np.ones_like(ROWS))
    np.testing.assert_array_equal(variables["v"], expected)
    np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize(("op", "expected"), [("Assign", ROWS), ("AssignAdd", ROWS + 1), ("AssignSub", 1 - ROWS)])
def test_reference_is_assigned(op, expected):
    nodes = [REFERENCE, node("a", op, "v", "x", use_locking=True), node("r", "Identity", "a")]
    (after,), variables = run(nodes, ["x"], ["r"], [ROWS], v=np.ones_like(ROWS))
    np.testing.assert_array_equal(variables["v"], expected)
    np.testing.assert_array_equal(after, expected)


def test_reference_is_assigned_from_another():
    nodes = [REFERENCE, node("w", "VariableV2", dtype="float32", shape=(4, 3)), node("a", "Assign", "v", "w")]
    _, variables = run(nodes, [], [], [], ("a",), v=TABLE, w=TABLE + 1)
    np.testing.assert_array_equal(variables["v"], TABLE + 1)


@pytest.mark.parametrize("on_device", [False, True], ids=["known-ids", "device-ids"])
def test_rows_are_gathered(on_device):
    ids = keras.ops.convert_to_tensor(IDS) if on_device else IDS
    nodes = [HANDLE, node("g", "ResourceGather", "v", "ids", dtype="float32", Tindices="int32")]
    (rows,), _ = run(nodes, ["ids"], ["g"], [ids], v=TABLE)
    np.testing.assert_array_equal(rows, TABLE[IDS])


def test_rows_are_gathered_batch_by_batch():
    nodes = [HANDLE, node("g", "ResourceGather", "v", "ids", batch_dims=1)]
    (taken,), _ = run(nodes, ["ids"], ["g"], [np.array([[2], [0], [1], [1]], "int32")], v=TABLE)
    np.testing.assert_array_equal(taken, [[2], [3], [7], [10]])


def test_elements_are_gathered():
    nodes = [HANDLE, node("g", "ResourceGatherNd", "v", "at")]
    (taken,), _ = run(nodes, ["at"], ["g"], [np.array([[3, 0], [1, 2]], "int32")], v=TABLE)
    np.testing.assert_array_equal(taken, [9, 5])


SCATTERS = {
    "Update": lambda old, new: new,
    "Add": lambda old, new: old + new,
    "Sub": lambda old, new: old - new,
    "Max": np.maximum,
    "Min": np.minimum,
}


@pytest.mark.parametrize("kind", ["Resource", "ResourceNd", "Reference", "ReferenceNd"])
@pytest.mark.parametrize("how", SCATTERS)
def test_rows_are_scattered(how, kind):
    expected = TABLE.copy()
    expected[IDS] = SCATTERS[how](TABLE[IDS], ROWS)
    op = kind.replace("Reference", "").replace("Resource", "ResourceScatter")
    op = (op if op.startswith("Resource") else f"Scatter{op}") + how
    ids = IDS[:, None] if kind.endswith("Nd") else IDS
    nodes = [REFERENCE if kind.startswith("Reference") else HANDLE, node("s", op, "v", "ids", "x")]
    _, variables = run(nodes, ["ids", "x"], [], [ids, ROWS], ("s",), v=TABLE)
    np.testing.assert_array_equal(variables["v"], expected)


@pytest.mark.parametrize("kind", ["ResourceScatter", "Scatter"])
@pytest.mark.parametrize(("how", "combine"), [("Mul", np.multiply), ("Div", np.divide)])
def test_rows_are_multiplied_one_after_the_other(how, combine, kind):
    ids, expected = np.array([2, 0, 2], "int32"), TABLE + 1
    factors = np.array([[1, 2, 4], [3, 5, 7], [2, 2, 0.5]], "float32")
    for row, factor in zip(ids, factors, strict=True):
        expected[row] = combine(expected[row], factor)
    nodes = [REFERENCE if kind == "Scatter" else HANDLE, node("s", kind + how, "v", "ids", "x")]
    _, variables = run(nodes, ["ids", "x"], [], [ids, factors], ("s",), v=TABLE + 1)
    np.testing.assert_allclose(variables["v"], expected, rtol=1e-6)


def test_one_of_two_references_is_chosen():
    other = node("w", "VariableV2", dtype="float32", shape=(4, 3))
    which = Node("i", "Const", attrs={"value": np.array(1, "int32")})
    nodes = [REFERENCE, other, which, node("s", "RefSelect", "i", "v", "w"), node("a", "AssignAdd", "s", "x")]
    _, variables = run(nodes, ["x"], [], [np.ones_like(TABLE)], ("a",), v=TABLE, w=TABLE)
    np.testing.assert_array_equal(variables["v"], TABLE)
    np.testing.assert_array_equal(variables["w"], TABLE + 1)


@pytest.mark.parametrize(("op", "start"), [("CountUpTo", REFERENCE), ("ResourceCountUpTo", HANDLE)])
def test_counters_give_what_they_were(op, start):
    (before,), variables = run([start, node("c", op, "v", limit=9)], [], ["c"], [], ("c",), v=np.array(4, "int32"))
    assert (int(before), int(variables["v"])) == (4, 5)


def test_counters_end_at_their_limit():
    with pytest.raises(LoweringError, match="limit of 4"):
        run([REFERENCE, node("c", "CountUpTo", "v", limit=4)], [], ["c"], [], ("c",), v=np.array(4, "int32"))


def test_slice_of_a_reference_is_assigned():
    vectors = [Node(n, "Const", attrs={"value": np.array(v, "int32")}) for n, v in (("b", [1, 0]), ("e", [3, 2]), ("s", [1, 1]))]
    nodes = [REFERENCE, *vectors, node("a", "StridedSliceAssign", "v", "b", "e", "s", "x")]
    _, variables = run(nodes, ["x"], [], [ROWS[:, :2]], ("a",), v=TABLE)
    expected = TABLE.copy()
    expected[1:3, :2] = ROWS[:, :2]
    np.testing.assert_array_equal(variables["v"], expected)


def test_slice_is_assigned():
    vectors = [Node(n, "Const", attrs={"value": np.array(v, "int32")}) for n, v in (("b", [1, 0]), ("e", [3, 2]), ("s", [1, 1]))]
    nodes = [HANDLE, *vectors, node("a", "ResourceStridedSliceAssign", "v", "b", "e", "s", "x")]
    _, variables = run(nodes, ["x"], [], [ROWS[:, :2]], ("a",), v=TABLE)
    expected = TABLE.copy()
    expected[1:3, :2] = ROWS[:, :2]
    np.testing.assert_array_equal(variables["v"], expected)


def test_one_value_is_scattered_to_all_rows():
    nodes = [HANDLE, node("s", "ResourceScatterAdd", "v", "ids", "x")]
    _, variables = run(nodes, ["ids", "x"], [], [IDS, np.float32(1)], ("s",), v=TABLE)
    expected = TABLE.copy()
    expected[IDS] += 1
    np.testing.assert_array_equal(variables["v"], expected)


def test_shape_and_state_are_known():
    nodes = [
        HANDLE,
        node("s", "VariableShape", "v", out_type="int64"),
        node("i", "VarIsInitializedOp", "v"),
        node("o", "DisableCopyOnRead", "v"),
        node("d", "DestroyResourceOp", "v", ignore_lookup_error=True),
        node("w", "VariableV2", dtype="float32", shape=()),
        node("j", "IsVariableInitialized", "w", dtype="float32"),
    ]
    (shape, first, second), _ = run(nodes, [], ["s", "i", "j"], [], ("o", "d"), v=TABLE, w=np.float32(1))
    assert shape.tolist() == [4, 3]
    assert shape.dtype == np.int64
    assert first
    assert second


@pytest.mark.parametrize("op", ["PartitionedCall", "StatefulPartitionedCall", "BatchFunction", "double"])
def test_function_is_called(op):
    double = Graph("double", {"s": node("s", "Add", "a", "a")}, (Tensor("a"),), (Tensor("s"),))
    attrs = {} if op == "double" else {"f": FunctionName("double"), "Tin": ("float32",), "Tout": ("float32",)}
    attrs |= {"num_batch_threads": 1, "Tcaptured": ()} if op == "BatchFunction" else {}
    (value,), _ = run([node("c", op, "x", **attrs)], ["x"], ["c"], [ROWS], library={"double": double})
    np.testing.assert_array_equal(value, 2 * ROWS)


@pytest.mark.parametrize("supplied", [False, True])
def test_placeholder_with_default(supplied):
    nodes = [
        Node("d", "Const", attrs={"value": ROWS}),
        node("p", "PlaceholderWithDefault", "d", dtype="float32", shape=(None, 3)),
    ]
    nodes.append(node("s", "Add", "p", "p"))
    (value,), _ = run(nodes, ["p"] if supplied else [], ["s"], [ROWS + 1] if supplied else [], v=TABLE)
    np.testing.assert_array_equal(value, 2 * (ROWS + supplied))


def test_ops_without_a_value_do_nothing():
    nodes = [
        node("n", "NoOp"),
        node("a", "Assert", "c", "x", T=("float32",), summarize=3),
        node("t", "PrintV2", "m", end="\n"),
        node("p", "Print", "x", "x", message="m", U=("float32",)),
        node("g", "PreventGradient", "p", message="m"),
    ]
    text = np.array(b"text", dtype=object)
    (value,), _ = run(nodes, ["c", "x", "m"], ["g"], [np.array(False), ROWS, text], ("n", "a", "t"))
    np.testing.assert_array_equal(value, ROWS)
