"""XLA's reductions, whose reducer is a function of the library, against numpy; and dimension numbers that are none."""

import keras
import numpy as np
import pytest

import thaw.lowering.table  # noqa: F401  (fills the registry)
from thaw.errors import UnhandledValueError, UnsupportedOpsError
from thaw.graph.ir import FunctionName, Graph, Node, Tensor
from thaw.lowering.registry import LOWERINGS
from thaw.lowering.run import Context, Plan, Resources
from thaw.lowering.xla import numbers_of

X = np.random.default_rng(3).standard_normal((2, 6, 5)).astype("float32")


def reducer(*ops: str) -> Graph:
    places = {name: Node(name, "_Arg") for name in ("a", "b")}
    nodes = {f"op{n}": Node(f"op{n}", op, (Tensor("a"), Tensor("b"))) for n, op in enumerate(ops)}
    return Graph("reducer", {**places, **nodes}, (Tensor("a"), Tensor("b")), (Tensor("op0"),))


def call(op: str, body: Graph, *inputs, **attrs):
    context = Context(Resources(library={"reducer": body}))
    context.node = Node("case", op)
    return keras.ops.convert_to_numpy(LOWERINGS[op].function(context, *inputs, **attrs))


@pytest.mark.parametrize(
    ("kind", "start", "expected"),
    [("AddV2", 1.0, X.sum((0, 2)) + 1), ("Maximum", 0.5, np.maximum(X.max((0, 2)), 0.5)), ("Mul", 2.0, X.prod((0, 2)) * 2)],
    ids=["sum", "maximum", "product"],
)
@pytest.mark.parametrize("op", ["XlaReduce", "XlaVariadicReduceV2"])
def test_reductions_by_a_function(op, kind, start, expected):
    x, first = keras.ops.convert_to_tensor(X), np.float32(start)
    found = call(op, reducer(kind), x, np.asarray(first), dimensions_to_reduce=(0, 2), reducer=FunctionName("reducer"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("kind", "fold"), [("AddV2", np.sum), ("Minimum", np.min)], ids=["sum", "minimum"])
def test_windows_are_reduced_with_strides_and_dilations(kind, fold):
    start = np.asarray(np.float32(0 if fold is np.sum else np.inf))
    window, strides, rates, padding = (1, 2, 3), (1, 2, 1), (1, 2, 1), [(0, 0), (1, 0), (0, 1)]
    wide = np.pad(X, padding, constant_values=start)
    expected = np.array([
        [[fold(wide[b, r : r + 3 : 2, c : c + 3]) for c in range(wide.shape[2] - 2)] for r in range(0, wide.shape[1] - 2, 2)]
        for b in range(2)
    ])
    numbers = [np.array(n, np.int32) for n in (window, strides, (1, 1, 1), rates, padding)]
    body = reducer(kind)
    found = call("XlaReduceWindow", body, keras.ops.convert_to_tensor(X), start, *numbers, computation=FunctionName("reducer"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_reducer_of_several_ops_is_refused():
    with pytest.raises(UnhandledValueError, match="reducer"):
        zero = np.asarray(np.float32(0))
        call("XlaReduce", reducer("AddV2", "Mul"), X, zero, dimensions_to_reduce=(0,), reducer=FunctionName("reducer"))


@pytest.mark.parametrize("data", [b"\x08", b"\x0d1234", b"\xff" * 12], ids=["truncated", "fixed32", "endless"])
def test_dimension_numbers_that_are_none_are_refused(data):
    with pytest.raises(UnhandledValueError, match="dimension_numbers"):
        numbers_of("XlaDot", data)


def test_dimension_numbers_may_be_packed():
    assert numbers_of("XlaDot", b"\x0a\x03\x01\x02\x03\x10\x05") == {1: [1, 2, 3], 2: [5]}


def test_what_jax_compiled_is_refused_by_what_it_is():
    nodes = {"call": Node("call", "XlaCallModule", (Tensor("x"),)), "x": Node("x", "Placeholder")}
    graph = Graph("exported", nodes, (Tensor("x"),), (Tensor("call"),))
    with pytest.raises(UnsupportedOpsError, match=r"XlaCallModule .*JAX compiled.*native_serialization=False"):
        Plan(graph, {}).run(Context(Resources()), [X])
