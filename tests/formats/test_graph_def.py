"""GraphDefs and FunctionDefs: names resolved, attributes as plain Python."""

import json
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.sample import const
from thaw.errors import CorruptFileError, ThawError
from thaw.formats.graph_def import Library, OutputTable, attribute, function_graph, nodes_of, tensor_of
from thaw.graph.ir import FunctionName, Tensor
from thaw.wire.protos import Message, new, parse


def attr(**fields: object) -> Message:
    return new("AttrValue", **fields)


def listed(**fields: object) -> Message:
    return attr(list=new("AttrList", **fields))


SHAPE = new("TensorShapeProto", dim=[new("TensorShapeDim", size=-1), new("TensorShapeDim", size=3)])


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (attr(s=b"SAME"), "SAME"),
        (attr(s=b"\xff\xfe"), b"\xff\xfe"),
        (attr(i=-3), -3),
        (attr(i=0), 0),
        (attr(f=0.5), 0.5),
        (attr(b=False), False),
        (attr(type=14), "bfloat16"),
        (attr(type=101), "float32"),
        (attr(shape=SHAPE), (None, 3)),
        (attr(shape=new("TensorShapeProto", unknown_rank=True)), None),
        (attr(func=new("NameAttrList", name="f")), FunctionName("f")),
        (listed(i=[1, 2]), (1, 2)),
        (listed(s=[b"a", b"\xff"]), ("a", b"\xff")),
        (listed(f=[0.5]), (0.5,)),
        (listed(b=[True, False]), (True, False)),
        (listed(type=[1, 7]), ("float32", "string")),
        (listed(shape=[SHAPE]), ((None, 3),)),
        (listed(func=[new("NameAttrList", name="f")]), (FunctionName("f"),)),
        (listed(), ()),
        (attr(), None),
    ],
    ids=lambda v: str(v)[:12].replace("\n", "") if isinstance(v, str) else None,
)
def test_attributes_are_plain_python(value: Message, answer: object) -> None:
    read = attribute(value, "test")
    assert read == answer
    assert type(read) is type(answer)


def test_a_tensor_attribute_is_an_array() -> None:
    value = attribute(const("c", np.float32([1.5])).attr["value"], "test")
    assert isinstance(value, np.ndarray) and value.tolist() == [1.5]


def function(ret: str, *nodes: Message, arguments: tuple[str, ...] = ("x", "n"), control: tuple[str, ...] = ()) -> Message:
    signature = new("OpDef", name="f", output_arg=[new("ArgDef", name="out", type=1)], control_output=control)
    signature.input_arg.extend(new("ArgDef", name=a, type=1) for a in arguments)
    return new("FunctionDef", signature=signature, node_def=nodes, ret={"out": ret}, control_ret={c: c for c in control})


def node(name: str, op: str, *inputs: str, **attrs: int) -> Message:
    made = new("NodeDef", name=name, op=op, input=inputs)
    for key, value in attrs.items():
        made.attr[key].i = value
    return made


@pytest.mark.parametrize(
    ("made", "reference", "index"),
    [
        (node("a", "Relu", "x"), "a:activations:0", 0),
        (node("a", "TopKV2", "x", "n"), "a:indices:0", 1),
        (node("a", "FusedBatchNormV3", "x", "n", "n", "n", "n"), "a:batch_variance:0", 2),
        (node("a", "Split", "n", "x", num_split=3), "a:output:2", 2),
        (node("a", "SparseSplit", "n", "n", "x", "n", num_split=3), "a:output_values:1", 4),
        (node("a", "Unknown", "x"), "a:second:0", 0),
        (node("a", "Own", "x", N=2), "a:last:0", 3),
    ],
    ids=["one-output", "second-output", "third-output", "list", "lists", "unknown-op", "own-definition"],
)
def test_an_output_is_found_by_its_name(made: Message, reference: str, index: int) -> None:
    own = new(
        "OpDef",
        name="Own",
        output_arg=[new("ArgDef", name="one"), new("ArgDef", name="many", number_attr="N"), new("ArgDef", name="last")],
    )
    graph = function_graph(function(reference, made), OutputTable([own]), "test")
    assert graph.outputs == (Tensor("a", index),)


def test_a_list_of_types_counts_its_types() -> None:
    made = node("a", "PartitionedCall", "x")
    made.attr["f"].func.name = "g"
    made.attr["Tout"].list.type.extend([1, 1, 3])
    later = node("b", "Relu", "a:output:2", "^a")
    graph = function_graph(function("b:activations:0", made, later), OutputTable(), "test")
    assert graph.nodes["b"].inputs == (Tensor("a", 2),)
    assert graph.nodes["b"].control == ("a",)


def test_arguments_are_nodes_with_their_shapes() -> None:
    proto = function("x")
    proto.arg_attr[0].attr["_output_shapes"].list.shape.append(SHAPE)
    graph = function_graph(proto, OutputTable(), "test")
    assert graph.inputs == (Tensor("x"), Tensor("n"))
    assert dict(graph.nodes["x"].attrs) == {"dtype": "float32", "shape": (None, 3), "index": 0}
    assert graph.nodes["n"].attrs["shape"] is None
    assert graph.outputs == (Tensor("x"),)


def test_what_must_run_becomes_updates() -> None:
    graph = function_graph(function("x", node("w", "NoOp"), node("a", "NoOp"), control=("w", "a")), OutputTable(), "test")
    assert graph.updates == ("w", "a")


@pytest.mark.parametrize(
    "proto",
    [
        function("gone:z:0"),
        function("a:z:b", node("a", "Relu", "x")),
        function("x", node("a", "Relu", "gone:z:0")),
        function("x", node("a", "Relu"), node("a", "Relu")),
        function("x", node("x", "Relu")),
        new("FunctionDef", signature=new("OpDef", name="f", output_arg=[new("ArgDef", name="out")])),
    ],
    ids=["no-node", "no-number", "no-input", "one-name", "an-arguments-name", "no-return"],
)
def test_a_function_that_refers_to_nothing_is_refused(proto: Message) -> None:
    with pytest.raises(CorruptFileError):
        function_graph(proto, OutputTable(), "test")


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (node("a", "Switch", "x"), "'a' has 1 inputs, and a Switch takes 2"),
        (node("a", "Identity"), "'a' has 0 inputs, and a Identity takes 1"),
        (node("a", "Const"), "'a' is a Const without its 'value'"),
        (node("a", "While", "x", cond=1), "'a' is a While without its 'cond'"),
        (node("a", "PartitionedCall", "x"), "'a' is a PartitionedCall without its 'f'"),
    ],
    ids=["too-few", "none", "no-value", "number-for-a-function", "no-function"],
)
def test_a_node_that_is_not_what_its_op_says_is_refused(made: Message, problem: str) -> None:
    with pytest.raises(CorruptFileError, match=problem):
        nodes_of(new("GraphDef", node=[made]), "test")
    with pytest.raises(CorruptFileError, match=problem):
        function_graph(function("x", made), OutputTable(), "test")


def test_xlas_control_flow_is_read_as_tensorflows() -> None:
    """The same inputs, outputs and functions by another name: each pass and op that knows loops knows these."""
    loop, choice = node("a", "XlaWhile", "x", "n"), node("b", "XlaIf", "x", "a:output:1")
    for made, names in ((loop, ("cond", "body")), (choice, ("then_branch", "else_branch"))):
        for name in names:
            made.attr[name].func.name = name
    loop.attr["T"].list.type.extend([1, 1])
    choice.attr["Tout"].list.type.extend([1])
    graph = function_graph(function("b:output:0", loop, choice), OutputTable(), "test")
    assert {n.name: n.op for n in graph.nodes.values()} == {"x": "_Arg", "n": "_Arg", "a": "While", "b": "If"}
    assert graph.nodes["b"].inputs == (Tensor("x"), Tensor("a", 1))
    assert graph.nodes["a"].attrs["cond"] == FunctionName("cond")


def test_a_function_calls_another_by_its_signature() -> None:
    callee = function("x")
    callee.signature.name = "g"
    callee.signature.output_arg.add(name="second", type=1)
    callee.ret["second"] = "n"
    library = Library([callee, function("a:second:0", node("a", "g", "x", "n"))], [], "test")
    assert library["f"].outputs == (Tensor("a", 1),)
    assert library["f"] is library["f"]
    assert (len(library), sorted(library), "h" in library) == (2, ["f", "g"], False)
    with pytest.raises(KeyError):
        library["h"]


@pytest.mark.parametrize(("text", "tensor"), [("a", Tensor("a", 0)), ("a/b:2", Tensor("a/b", 2))])
def test_tensors_by_name(text: str, tensor: Tensor) -> None:
    assert tensor_of(text, "test") == tensor


def test_nodes_of_one_name_are_refused() -> None:
    with pytest.raises(CorruptFileError, match="1 of its 2 nodes bear"):
        nodes_of(new("GraphDef", node=[node("a", "NoOp"), node("a", "NoOp")]), "test")


def test_the_shipped_outputs_name_what_frozen_graphs_lack() -> None:
    table = json.loads(resources.files("thaw.formats").joinpath("op_outputs.json").read_text())
    assert table["TopKV2"] == [["values", ""], ["indices", ""]]
    assert table["Unpack"] == [["output", "num"]]
    assert "MatMul" not in table


@given(st.binary(max_size=300))
def test_random_bytes_give_nodes_or_an_error_of_ours(data: bytes) -> None:
    try:
        proto = parse("GraphDef", data, "test")
        nodes_of(proto, "test")
        list(Library(proto.library.function, (), "test").values())
    except ThawError:
        return


def test_protos_nested_without_end_are_refused() -> None:
    inner = new("AttrValue")
    data = inner.SerializeToString()
    for _ in range(200):  # an AttrValue with a function with an attribute with a function ...
        data = (b"\x52" + _length(b"\x12" + _length(b"\x12" + _length(data))))  # fmt: skip
    with pytest.raises(CorruptFileError, match="do not parse as a AttrValue"):
        parse("AttrValue", data, "test")


def _length(data: bytes) -> bytes:
    from thaw.wire.varint import encoded

    return encoded(len(data)) + data


def test_what_the_table_leaves_out_survives_writing() -> None:
    data = new("OpDef", name="x").SerializeToString() + b"\x2a\x07summary"  # field 5
    assert b"summary" in parse("OpDef", data, "test").SerializeToString()
