"""XLA's reductions and sorts, whose function is one of the library.

A function of one arithmetic op is a reduction that the backend has. Any other is run on whole halves of the axis at once, which
is right where its ops work element by element; XLA lets itself choose the order too.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.graph.ir import FunctionName
from thaw.lowering.elementwise import apply
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.values import Value, as_dtype, dtype_of, known, on_device, sizes
from thaw.lowering.windows import padded
from thaw.lowering.xla import known_shape

MOST_OFFSETS = 4096
"""Elements of a window that is reduced offset by offset."""

MOST_COMPARED = 2**24
"""Pairs of elements that a sort compares when its comparator is more than one op."""

REDUCERS: dict[str, str] = {
    "Add": "sum", "AddV2": "sum", "Mul": "prod", "Max": "max", "Maximum": "max", "Min": "min", "Minimum": "min",
    "LogicalAnd": "all", "LogicalOr": "any",
}  # fmt: skip
"""What reduction a function of one op means."""

PAIRS: dict[str, Callable[[Any, Value, Value], Value]] = {
    "sum": lambda np, a, b: a + b,
    "prod": lambda np, a, b: a * b,
    "max": lambda np, a, b: np.maximum(a, b),
    "min": lambda np, a, b: np.minimum(a, b),
    "all": lambda np, a, b: np.logical_and(a, b),
    "any": lambda np, a, b: np.logical_or(a, b),
}


EACH = frozenset({
    "Abs", "Add", "AddV2", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Cast", "Const", "Equal", "Exp", "Greater", "GreaterEqual",
    "Identity", "IdentityN", "IsFinite", "IsNan", "Less", "LessEqual", "Log", "LogicalAnd", "LogicalNot", "LogicalOr", "Maximum",
    "Minimum", "Mul", "Neg", "NoOp", "NotEqual", "Placeholder", "RealDiv", "Select", "SelectV2", "Sign", "Sub", "_Arg",
})  # fmt: skip
"""Ops of functions that work element by element, of scalars and of tensors alike."""

PASSING = frozenset({"Identity", "Placeholder", "_Arg", "NoOp"})


def only_op(context: Context, function: FunctionName) -> str | None:
    """The op of a function that has one only; None where it has several, "" where it has none."""
    kinds = [n.op for n in context.graph(function).nodes.values() if n.op not in PASSING]
    return "" if not kinds else kinds[0] if len(kinds) == 1 else None


def each(context: Context, function: FunctionName, *values: Value) -> list[Value]:
    """A function of scalars on whole tensors.

    Raises:
        UnhandledValueError: an op of it does not work element by element.
    """
    kinds = sorted({n.op for n in context.graph(function).nodes.values()} - EACH)
    if kinds:
        raise UnhandledValueError(context.node.op, "function", kinds, sorted(EACH))
    return context.call(function, list(values))


def _in_halves(context: Context, function: FunctionName, values: Sequence[Value], axis: int) -> list[Value]:
    """Each of `values` made one along an axis by a function of as many elements and as many more."""
    parts = list(values)

    def cut(x: Value, begin: int, end: int) -> Value:
        return x[(slice(None),) * axis + (slice(begin, end),)]

    length = known_shape(context.node.op, parts[0])[axis]
    while length > 1:
        half = length // 2
        pairs = [cut(x, b, b + half) for b in (0, half) for x in parts]
        joined = each(context, function, *pairs)
        rest = [cut(x, 2 * half, length) for x in parts]
        parts = [ops.concatenate([on_device(j), on_device(r)], axis=axis) for j, r in zip(joined, rest, strict=True)]
        length -= half
    return [x[(slice(None),) * axis + (0,)] for x in parts]


def _by_function(
    context: Context, function: FunctionName, values: Sequence[Value], starts: Sequence[Value], axes: Sequence[int]
) -> list[Value]:
    """`values` and their first values made one along axes by a function."""
    result: list[Value] = [on_device(v) for v in values]
    for axis in sorted(axes, reverse=True):
        shape = list(known_shape(context.node.op, result[0]))
        shape[axis] = 1
        whole = [ops.broadcast_to(ops.cast(on_device(s), dtype_of(v)), shape) for v, s in zip(result, starts, strict=True)]
        result = [ops.concatenate([s, v], axis=axis) for s, v in zip(whole, result, strict=True)]
        result = _in_halves(context, function, result, axis)
    return result


def _reduction(context: Context, function: FunctionName) -> str:
    """What a reducer does, from the one op in it.

    Raises:
        UnhandledValueError: it is no reduction that a backend has.
    """
    kind = only_op(context, function)
    if kind not in REDUCERS:
        kinds = [n.op for n in context.graph(function).nodes.values() if n.op not in PASSING]
        raise UnhandledValueError(context.node.op, "reducer", kinds, sorted(REDUCERS))
    return REDUCERS[kind]


def _reduced(kind: str, x: Value, start: Value, axes: tuple[int, ...]) -> Value:
    whole = apply(lambda np, x: getattr(np, kind)(x, axis=axes), x) if axes else x
    return apply(PAIRS[kind], as_dtype(whole, dtype_of(x)), start)


@lowering("XlaReduce", context=True)
def xla_reduce(
    context: Context, input: Value, init_value: Value, *, dimensions_to_reduce: Sequence[int], reducer: FunctionName
) -> Value:
    """All elements along axes, and `init_value`, made one by a function."""
    return xla_variadic_reduce(context, input, init_value, dimensions_to_reduce=dimensions_to_reduce, reducer=reducer)[0]


@lowering("XlaVariadicReduce", "XlaVariadicReduceV2", context=True, ignored=("T",))
def xla_variadic_reduce(
    context: Context, *values: Value, dimensions_to_reduce: Sequence[int], reducer: FunctionName
) -> list[Value]:
    """As XlaReduce, of several inputs and their first values at once: where the greatest element is, and such."""
    half, axes = len(values) // 2, tuple(dimensions_to_reduce)
    kind = REDUCERS.get(only_op(context, reducer) or "") if half == 1 else None
    if kind is not None:
        return [_reduced(kind, values[0], values[1], axes)]
    return _by_function(context, reducer, values[:half], values[half:], axes)


@lowering("XlaVariadicSort", context=True, gradient="none", ignored=("is_stable",))
def xla_variadic_sort(context: Context, *values: Value, comparator: FunctionName) -> list[Value]:
    """Several tensors in the order that a comparator of pairs of their elements gives; equals keep theirs.

    Raises:
        UnhandledValueError: more pairs than can be compared one by one.
    """
    *tensors, dimension = values
    axis = int(numpy.asarray(known(dimension, "dimension")).item()) % len(tensors[0].shape)
    tensors = [ops.moveaxis(on_device(t), axis, -1) for t in tensors]
    shape = known_shape("XlaVariadicSort", tensors[0])
    if math.prod(shape) * shape[-1] > MOST_COMPARED:
        raise UnhandledValueError("XlaVariadicSort", "the shape of its inputs", shape, (f"{MOST_COMPARED} pairs of elements",))
    pairs = [side for t in tensors for side in (ops.expand_dims(t, -1), ops.expand_dims(t, -2))]
    shapes = (*shape, shape[-1])
    before = each(context, comparator, *[ops.broadcast_to(p, shapes) for p in pairs])[0]  # whether row comes before column
    earlier = numpy.arange(shape[-1])[:, None] < numpy.arange(shape[-1])[None, :]
    after = ops.swapaxes(before, -1, -2)
    first = ops.logical_or(before, ops.logical_and(ops.logical_not(after), on_device(earlier)))
    rank = ops.sum(ops.cast(first, "int32"), axis=-2)  # how many stand before each
    order = ops.argsort(rank, axis=-1)
    return [ops.moveaxis(ops.take_along_axis(t, order, axis=-1), -1, axis) for t in tensors]


WINDOW = ("init_value", "window_dimensions", "window_strides", "base_dilations", "window_dilations", "padding")


@lowering("XlaReduceWindow", context=True, static=WINDOW, ignored=("Tindices",))
def xla_reduce_window(
    context: Context,
    input: Value,
    init_value: Value,
    window_dimensions: Value,
    window_strides: Value,
    base_dilations: Value,
    window_dilations: Value,
    padding: Value,
    *,
    computation: FunctionName,
) -> Value:
    """Each window made one by a function."""
    kind, window, rates = _reduction(context, computation), sizes(window_dimensions), sizes(window_dilations)
    if math.prod(window) > MOST_OFFSETS:
        raise UnhandledValueError(
            "XlaReduceWindow", "window_dimensions", window, (f"windows of at most {MOST_OFFSETS} elements",)
        )
    low, high = [p[0] for p in padding.tolist()], [p[1] for p in padding.tolist()]
    x = padded(input, init_value.item(), low, high, [b - 1 for b in sizes(base_dilations)])
    strides, own = sizes(window_strides), known_shape("XlaReduceWindow", x)
    counts = [max((n - (w - 1) * r - 1) // s + 1, 0) for n, w, r, s in zip(own, window, rates, strides, strict=True)]
    result: Value = None
    for place in numpy.ndindex(*window):
        starts = [p * r for p, r in zip(place, rates, strict=True)]
        part = x[tuple(slice(b, b + (c - 1) * s + 1 if c else b, s) for b, c, s in zip(starts, counts, strides, strict=True))]
        result = part if result is None else apply(PAIRS[kind], result, part)
    return apply(PAIRS[kind], result, init_value.astype(dtype_of(input))) if kind != "sum" or init_value.item() else result
