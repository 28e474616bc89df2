"""XLA's reductions, whose reducer is a function of the library, against numpy; and dimension numbers that are none."""

import keras
import numpy as np
import pytest

import thaw.lowering.table  # noqa: F401  (fills the registry)
from devices import on_gpu
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
    found = LOWERINGS[op].function(context, *inputs, **attrs)
    single = not isinstance(found, list)
    return keras.ops.convert_to_numpy(found) if single else [keras.ops.convert_to_numpy(f) for f in found]


@pytest.mark.parametrize(
    ("kind", "start", "expected"),
    [("AddV2", 1.0, X.sum((0, 2)) + 1), ("Maximum", 0.5, np.maximum(X.max((0, 2)), 0.5)), ("Mul", 2.0, X.prod((0, 2)) * 2)],
    ids=["sum", "maximum", "product"],
)
@pytest.mark.parametrize("op", ["XlaReduce", "XlaVariadicReduceV2"])
def test_reductions_by_a_function(op, kind, start, expected):
    x, first = keras.ops.convert_to_tensor(X), np.float32(start)
    found = call(op, reducer(kind), x, np.asarray(first), dimensions_to_reduce=(0, 2), reducer=FunctionName("reducer"))
    np.testing.assert_allclose(found[0] if isinstance(found, list) else found, expected, rtol=1e-5)


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


def test_a_window_by_several_ops_is_refused():
    zero = np.asarray(np.float32(0))
    numbers = [np.array(n, np.int32) for n in ((1, 2), (1, 1), (1, 1), (1, 1), [(0, 0), (0, 0)])]
    with pytest.raises(UnhandledValueError, match="reducer"):
        call("XlaReduceWindow", reducer("AddV2", "Mul"), X[0], zero, *numbers, computation=FunctionName("reducer"))


def function(*rows, outputs: tuple[str, ...], inputs: int) -> Graph:
    """A function of `inputs` arguments (a0, a1 ...) from rows of name, op, and the names that it takes."""
    places = {f"a{n}": Node(f"a{n}", "_Arg") for n in range(inputs)}
    nodes = {name: Node(name, op, tuple(Tensor(t) for t in taken)) for name, op, *taken in rows}
    return Graph("reducer", {**places, **nodes}, tuple(Tensor(p) for p in places), tuple(Tensor(o) for o in outputs))


# What jax.numpy.argmax becomes: the greater value, and of equal ones the lesser index.
ARGMAX = function(
    ("more", "Greater", "a0", "a2"),
    ("same", "Equal", "a0", "a2"),
    ("before", "Less", "a1", "a3"),
    ("tie", "LogicalAnd", "same", "before"),
    ("first", "LogicalOr", "more", "tie"),
    ("value", "SelectV2", "first", "a0", "a2"),
    ("index", "SelectV2", "first", "a1", "a3"),
    outputs=("value", "index"),
    inputs=4,
)


@pytest.mark.parametrize("op", ["XlaVariadicReduce", "XlaVariadicReduceV2"])
@pytest.mark.parametrize("length", [1, 7])
def test_several_inputs_are_reduced_at_once(op, length):
    x = np.random.default_rng(length).integers(0, 4, (3, length)).astype("float32")
    index = np.broadcast_to(np.arange(length, dtype="float32"), x.shape).copy()
    starts = np.asarray(np.float32(-np.inf)), np.asarray(np.float32(0))
    value, where = call(op, ARGMAX, x, index, *starts, dimensions_to_reduce=(1,), reducer=FunctionName("reducer"))
    np.testing.assert_array_equal(value, x.max(1))
    np.testing.assert_array_equal(where, x.argmax(1))


def test_a_function_that_looks_at_more_than_elements_is_refused():
    body = function(("sum", "Cumsum", "a0", "a1"), ("two", "Mul", "sum", "a1"), outputs=("two",), inputs=2)
    with pytest.raises(UnhandledValueError, match="Cumsum"):
        call("XlaReduce", body, X, np.asarray(np.float32(0)), dimensions_to_reduce=(0,), reducer=FunctionName("reducer"))


@pytest.mark.parametrize("axis", [0, -1])
def test_tensors_are_sorted_by_a_comparator(axis):
    """By the first tensor downwards; equals keep their order, which the second shows."""
    keys = np.random.default_rng(9).integers(0, 5, (4, 6)).astype("int32")
    beside = np.arange(24, dtype="float32").reshape(4, 6)
    body = function(("more", "Greater", "a0", "a1"), outputs=("more",), inputs=4)
    inputs = (keys, beside, np.asarray(axis, "int32"))
    found = call("XlaVariadicSort", body, *inputs, comparator=FunctionName("reducer"))
    order = np.argsort(-keys, axis=axis, kind="stable")
    np.testing.assert_array_equal(found[0], np.take_along_axis(keys, order, axis))
    np.testing.assert_array_equal(found[1], np.take_along_axis(beside, order, axis))


SECOND = function(("taken", "Identity", "a1"), outputs=("taken",), inputs=2)


def scattered(operand, starts, updates, combine, windows, inserted, mapped):
    """Element by element, as XLA's documentation says."""
    result = operand.copy()
    outer = [d for d in range(updates.ndim) if d not in windows]
    lengths = [updates.shape[d] for d in windows]
    for d in inserted:
        lengths.insert(d, 1)
    for place in np.ndindex(*(updates.shape[d] for d in outer)):
        start = [0] * operand.ndim
        for k, d in enumerate(mapped):
            start[d] = int(starts[place][k])
        if any(s < 0 or s + n > size for s, n, size in zip(start, lengths, operand.shape, strict=True)):
            continue
        for inside in np.ndindex(*(updates.shape[d] for d in windows)):
            source = [0] * updates.ndim
            for d, p in (*zip(outer, place, strict=True), *zip(windows, inside, strict=True)):
                source[d] = p
            target, given = list(start), iter(inside)
            for d in range(operand.ndim):
                if d not in inserted:
                    target[d] += next(given)
            result[tuple(target)] = combine(result[tuple(target)], updates[tuple(source)])
    return result


@pytest.mark.parametrize(
    ("body", "combine"),
    [(SECOND, lambda a, b: b), (reducer("AddV2"), np.add), (reducer("Maximum"), np.maximum), (reducer("Minimum"), np.minimum)],
    ids=["set", "add", "maximum", "minimum"],
)
@pytest.mark.parametrize(
    ("starts", "updates", "windows", "inserted", "mapped"),
    [
        ([[3], [0], [4], [9], [-1]], (5, 3, 2), [1, 2], [0], [0]),
        ([[1, 0], [2, 1], [4, 2], [3, 1]], (4, 2, 2, 2), [1, 2, 3], [], [0, 1]),
        ([[2, 1, 0], [0, 2, 1], [0, 0, 2]], (3,), [], [0, 1, 2], [0, 1, 2]),
        ([[1], [0]], (4, 2, 3), [0, 2], [2], [2]),
    ],
    ids=["rows", "blocks", "elements", "last-axis"],
)
def test_blocks_are_scattered(body, combine, starts, updates, windows, inserted, mapped):
    if body is SECOND and len(updates) == 4 and on_gpu():
        pytest.skip("which of the blocks that lie on each other comes last, no GPU promises")
    operand = np.random.default_rng(1).standard_normal((5, 3, 2) if windows != [0, 2] else (4, 3, 2)).astype("float32")
    values = np.random.default_rng(2).standard_normal(updates).astype("float32")
    starts = np.array(starts, "int32")
    expected = scattered(operand, starts, values, combine, windows, inserted, mapped)
    packed = b"".join(bytes([n << 3 | 2, len(v), *v]) for n, v in ((1, windows), (2, inserted), (3, mapped)) if v) + bytes([
        4 << 3,
        1,
    ])
    found = call(
        "XlaScatter", body, operand, starts, values, dimension_numbers=packed, update_computation=FunctionName("reducer")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_gradients_of_a_pool_go_to_the_first_greatest():
    x = np.random.default_rng(5).integers(0, 3, (1, 5, 4, 1)).astype("float32")
    source = np.random.default_rng(6).standard_normal((1, 3, 2, 1)).astype("float32")
    window, strides, padding = (1, 3, 2, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (0, 0), (0, 0)]
    wide = np.pad(x, padding, constant_values=-np.inf)
    expected = np.zeros_like(wide)
    for r, c in np.ndindex(3, 2):
        block = wide[0, 2 * r : 2 * r + 3, 2 * c : 2 * c + 2, 0]
        at = np.unravel_index(block.argmax(), block.shape)
        expected[0, 2 * r + at[0], 2 * c + at[1], 0] += source[0, r, c, 0]
    library = {"select": reducer("GreaterEqual"), "add": reducer("AddV2")}
    context = Context(Resources(library=library))
    context.node = Node("case", "XlaSelectAndScatter")
    numbers = [np.array(n, np.int32) for n in (window, strides, padding)]
    functions = {"select": FunctionName("select"), "scatter": FunctionName("add")}
    zero = np.asarray(np.float32(0))
    found = LOWERINGS["XlaSelectAndScatter"].function(context, x, *numbers, source, zero, **functions)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected[:, 1:-1], rtol=1e-6)


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
