"""Tensor list ops that no recorded graph holds, on small graphs worked out by hand."""

import keras
import numpy as np
import pytest

import thaw.lowering.table  # noqa: F401  (fills the registry)
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering.registry import LOWERINGS
from thaw.lowering.run import Context, Plan, Resources

ROWS = np.array([[1, 2], [3, 4], [5, 6]], "float32")


def constant(name, value, dtype="int32"):
    return Node(name, "Const", attrs={"value": np.array(value, dtype)})


def node(name, op, *inputs, **attrs):
    return Node(name, op, tuple(Tensor(*i) if isinstance(i, tuple) else Tensor(i) for i in inputs), attrs=attrs)


SHAPE = constant("shape", [2])
START = node("list", "TensorListFromTensor", "x", "shape", element_dtype="float32")
STACK = node("stack", "TensorListStack", "changed", "shape", element_dtype="float32", num_elements=-1)


def run(nodes, *outputs):
    wanted = tuple(Tensor(*o) if isinstance(o, tuple) else Tensor(o) for o in outputs)
    graph = Graph("test", {n.name: n for n in nodes}, (Tensor("x"),), wanted)
    values = Plan(graph, {}).run(Context(Resources()), [keras.ops.convert_to_tensor(ROWS)])
    return [np.asarray(v) if isinstance(v, (np.ndarray, np.generic)) else keras.ops.convert_to_numpy(v) for v in values]


def test_list_grows_from_nothing():
    nodes = [
        SHAPE,
        constant("most", 5),
        node("empty", "EmptyTensorList", "shape", "most", element_dtype="float32"),
        node("rows", "Unpack", "x", num=3),
        node("one", "TensorListPushBack", "empty", ("rows", 2), element_dtype="float32"),
        node("changed", "TensorListPushBack", "one", ("rows", 0), element_dtype="float32"),
        node("length", "TensorListLength", "changed"),
        STACK,
    ]
    stacked, length = run(nodes, "stack", "length")
    np.testing.assert_array_equal(stacked, ROWS[[2, 0]])
    assert length == 2


def test_last_element_is_taken_off():
    nodes = [SHAPE, START, node("pop", "TensorListPopBack", "list", "shape", element_dtype="float32")]
    nodes += [node("changed", "Identity", ("pop", 0)), STACK]
    stacked, last = run(nodes, "stack", ("pop", 1))
    np.testing.assert_array_equal(stacked, ROWS[:2])
    np.testing.assert_array_equal(last, ROWS[2])


@pytest.mark.parametrize("size", [2, 5])
def test_list_is_resized(size):
    nodes = [SHAPE, START, constant("size", size), node("changed", "TensorListResize", "list", "size")]
    nodes.append(node("length", "TensorListLength", "changed"))
    nodes.append(STACK)
    stacked, length = run(nodes, "stack", "length")
    assert length == size
    np.testing.assert_array_equal(stacked, np.concatenate([ROWS, np.zeros((5, 2), "float32")])[:size])


def test_lists_are_joined():
    nodes = [SHAPE, START, node("changed", "TensorListConcatLists", "list", "list", element_dtype="float32"), STACK]
    (stacked,) = run(nodes, "stack")
    np.testing.assert_array_equal(stacked, np.concatenate([ROWS, ROWS]))


def test_element_shape_is_told():
    nodes = [SHAPE, START, node("told", "TensorListElementShape", "list", shape_type="int32")]
    (told,) = run(nodes, "told")
    assert told.tolist() == [2]


@pytest.mark.parametrize("op", ["TensorListScatter", "TensorListScatterV2"])
def test_rows_are_scattered_into_a_new_list(op):
    nodes = [SHAPE, constant("at", [2, 0, 1]), constant("count", -1)]
    nodes.append(node("changed", op, "x", "at", "shape", *(["count"] if op.endswith("V2") else []), element_dtype="float32"))
    nodes.append(STACK)
    (stacked,) = run(nodes, "stack")
    np.testing.assert_array_equal(stacked, ROWS[[1, 2, 0]])


def test_elements_are_concatenated():
    nodes = [SHAPE, START, node("all", "TensorListConcat", "list", element_dtype="float32")]
    joined, lengths = run(nodes, ("all", 0), ("all", 1))
    np.testing.assert_array_equal(joined, ROWS.reshape(-1))
    assert lengths.tolist() == [2, 2, 2]


def test_the_oldest_arrays_are_packed_and_unpacked():
    """The flow of the first version is a number until something is written."""
    nodes = [
        Node("three", "Const", attrs={"value": np.array(3, "int32")}),
        Node("flow", "Const", attrs={"value": np.array(0, "float32")}),
        Node("rows", "Const", attrs={"value": ROWS}),
        node("array", "TensorArray", "three", dtype="float32"),
        node("filled", "TensorArrayUnpack", "array", "rows", "flow"),
        node("all", "TensorArrayPack", "array", "filled", dtype="float32"),
    ]
    (packed,) = run(nodes, "all")
    np.testing.assert_array_equal(packed, ROWS)


PAIRS = [("Case", "StatelessCase")]
PAIRS += [
    (f"TensorArray{w}{v}", f"TensorArray{w}V3")
    for v in ("V2", "")
    for w in ("Read", "Write", "Gather", "Scatter", "Concat", "Split", "Size", "Close")
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_versions_are_one_function(one, other):
    assert LOWERINGS[one].function is LOWERINGS[other].function
