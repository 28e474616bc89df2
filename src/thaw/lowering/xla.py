"""XLA's own ops, as graphs that JAX exported with `enable_xla=True` before native serialization hold them.

Their dimension numbers are serialized messages in attributes; a reducer is a function of the library, of which those with one
arithmetic op are known. XlaCallModule (native serialization) holds a compiled program instead of ops and is refused as unknown.
"""

import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.graph.ir import FunctionName
from thaw.lowering import kernels
from thaw.lowering.elementwise import apply
from thaw.lowering.matmul import einsum
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.values import Value, cast, dtype_of, is_host, on_device, sizes, static_shape

MOST_OFFSETS = 4096
"""Elements of a window that is reduced offset by offset."""


def numbers_of(op: str, data: str | bytes) -> dict[int, list[int]]:
    """The integers of a message's fields, packed or not."""
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
    found: dict[int, list[int]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while at < len(raw) and shift < 70:
            byte = raw[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
        raise UnhandledValueError(op, "dimension_numbers", raw[:40], ("a message of integers",))

    while at < len(raw):
        tag = varint()
        numbers = found.setdefault(tag >> 3, [])
        if tag & 7 == 0:
            numbers.append(varint())
        elif tag & 7 == 2:
            end = varint() + at
            while at < min(end, len(raw)):
                numbers.append(varint())
        else:
            raise UnhandledValueError(op, "dimension_numbers", raw[:40], ("a message of integers",))
    return found


def _as(value: Value, dtype: str) -> Value:
    return value if dtype_of(value) == dtype else cast(value, dtype)


def _dot(op: str, lhs: Value, rhs: Value, dimension_numbers: str | bytes) -> Value:
    numbers = numbers_of(op, dimension_numbers)
    left, right, left_batch, right_batch = (numbers.get(i, []) for i in (1, 2, 3, 4))
    letters = iter(string.ascii_letters)
    a = [next(letters) for _ in static_shape(lhs)]
    b = [next(letters) for _ in static_shape(rhs)]
    for mine, other in zip([*left, *left_batch], [*right, *right_batch], strict=True):
        b[other] = a[mine]
    free_a = [c for i, c in enumerate(a) if i not in {*left, *left_batch}]
    free_b = [c for i, c in enumerate(b) if i not in {*right, *right_batch}]
    equation = f"{''.join(a)},{''.join(b)}->{''.join([a[i] for i in left_batch] + free_a + free_b)}"
    result: Value = einsum(lhs, rhs, equation=equation)
    return result


@lowering("XlaDot", ignored=("precision_config",))
def xla_dot(lhs: Value, rhs: Value, *, dimension_numbers: str | bytes) -> Value:
    """A product over any axes: the batch axes first, then what is left of each."""
    return _dot("XlaDot", lhs, rhs, dimension_numbers)


@lowering("XlaDotV2", ignored=("precision_config", "LhsT", "RhsT"))
def xla_dot_v2(lhs: Value, rhs: Value, *, dimension_numbers: str | bytes, preferred_element_type: str) -> Value:
    """As XlaDot, in a dtype of its own."""
    lhs, rhs = _as(lhs, preferred_element_type), _as(rhs, preferred_element_type)
    return _dot("XlaDotV2", lhs, rhs, dimension_numbers)


def padded(x: Value, value: Any, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Value:
    """`x` with `value` before, after and between its elements; negative widths cut."""
    shape = static_shape(x)

    def function(np: Any, x: Value) -> Value:
        for axis, between in enumerate(interior):
            if between and (shape[axis] or 0) > 1:
                wide = np.pad(np.expand_dims(x, axis + 1), _widths(x, axis, between), constant_values=value)
                own = list(wide.shape)
                length = own[axis] * own[axis + 1]
                x = np.reshape(wide, (*own[:axis], length, *own[axis + 2 :]))
                x = x[(slice(None),) * axis + (slice(0, length - between),)]
        widths = [(max(lo, 0), max(hi, 0)) for lo, hi in zip(low, high, strict=True)]
        if any(map(any, widths)):
            x = np.pad(x, widths, constant_values=value)
        if any(n < 0 for n in (*low, *high)):
            x = x[tuple(slice(max(-lo, 0), min(hi, 0) or None) for lo, hi in zip(low, high, strict=True))]
        return x

    return apply(function, x)


def _widths(x: Value, axis: int, between: int) -> list[tuple[int, int]]:
    return [(0, between if i == axis + 1 else 0) for i in range(len(x.shape) + 1)]


@lowering("XlaPad", static=("padding_value", "padding_low", "padding_high", "padding_interior"), ignored=("Tindices",))
def xla_pad(input: Value, padding_value: Value, padding_low: Value, padding_high: Value, padding_interior: Value) -> Value:
    """`padding_value` before, after and between the elements; negative widths cut."""
    return padded(input, padding_value.item(), sizes(padding_low), sizes(padding_high), sizes(padding_interior))


def _convolved(
    op: str,
    lhs: Value,
    rhs: Value,
    strides: Value,
    padding: Value,
    spread: Value,
    dilations: Value,
    groups: Value,
    text: str | bytes,
) -> Value:
    numbers = numbers_of(op, text)

    def one(field: int) -> int:
        return (numbers.get(field) or [0])[0]

    x = apply(lambda np, v: np.transpose(v, [one(7), *numbers.get(11, []), one(8)]), lhs)
    kernel = apply(lambda np, v: np.transpose(v, [*numbers.get(6, []), one(3), one(4)]), rhs)
    channels, per_group = static_shape(x)[-1], static_shape(kernel)[-2]
    if channels is not None and per_group is not None and channels != per_group * int(groups):
        raise UnhandledValueError(op, "feature_group_count", int(groups), (channels // max(per_group, 1),))
    low, high = [p[0] for p in padding.tolist()], [p[1] for p in padding.tolist()]
    x = padded(x, 0, [0, *low, 0], [0, *high, 0], [0, *(s - 1 for s in sizes(spread)), 0])
    steps, rates = list(sizes(strides)), list(sizes(dilations))
    line = len(steps) == 1  # a second axis of length one: every backend has a convolution over two
    if line:
        x, kernel = apply(lambda np, v: np.expand_dims(v, 1), x), apply(lambda np, v: np.expand_dims(v, 0), kernel)
        steps, rates = [1, *steps], [1, *rates]
    none = tuple((0, 0) for _ in steps)
    y = kernels.convolution(on_device(x), on_device(kernel), strides=tuple(steps), padding=none, dilations=tuple(rates))
    y = ops.squeeze(y, 1) if line else y
    order = [one(9), *numbers.get(12, []), one(10)]
    return ops.transpose(y, [order.index(axis) for axis in range(len(order))])


CONV = ("window_strides", "padding", "lhs_dilation", "rhs_dilation", "feature_group_count")


@lowering("XlaConv", static=CONV, ignored=("precision_config", "Tindices"))
def xla_conv(
    lhs: Value,
    rhs: Value,
    window_strides: Value,
    padding: Value,
    lhs_dilation: Value,
    rhs_dilation: Value,
    feature_group_count: Value,
    *,
    dimension_numbers: str | bytes,
) -> Value:
    """A convolution with any order of axes, both sides dilated."""
    numbers = (window_strides, padding, lhs_dilation, rhs_dilation, feature_group_count)
    return _convolved("XlaConv", lhs, rhs, *numbers, dimension_numbers)


@lowering("XlaConvV2", static=CONV, ignored=("precision_config", "Tindices", "LhsT", "RhsT"))
def xla_conv_v2(
    lhs: Value,
    rhs: Value,
    window_strides: Value,
    padding: Value,
    lhs_dilation: Value,
    rhs_dilation: Value,
    feature_group_count: Value,
    *,
    dimension_numbers: str | bytes,
    preferred_element_type: str,
    batch_group_count: int = 1,
) -> Value:
    """As XlaConv, in a dtype of its own."""
    if batch_group_count != 1:
        raise UnhandledValueError("XlaConvV2", "batch_group_count", batch_group_count, (1,))
    numbers = (window_strides, padding, lhs_dilation, rhs_dilation, feature_group_count)
    lhs, rhs = _as(lhs, preferred_element_type), _as(rhs, preferred_element_type)
    return _convolved("XlaConvV2", lhs, rhs, *numbers, dimension_numbers)


def _inside(starts: Value, shape: Sequence[int], lengths: Sequence[int]) -> Value:
    """Starts of blocks of `lengths` (last axis), moved to where they fit."""
    most = numpy.array([n - k for n, k in zip(shape, lengths, strict=True)], dtype=dtype_of(starts))
    return apply(lambda np, s, m: np.minimum(np.maximum(s, np.zeros_like(s)), m), starts, most)


@lowering("XlaDynamicSlice", static=("size_indices",), ignored=("Tindices",))
def xla_dynamic_slice(input: Value, start_indices: Value, size_indices: Value) -> Value:
    """A block that begins at `start_indices`, or where it still fits."""
    lengths = sizes(size_indices)
    starts = _inside(start_indices, _known_shape("XlaDynamicSlice", input), lengths)
    if is_host(input) and is_host(starts):
        return input[tuple(slice(s, s + n) for s, n in zip(starts.tolist(), lengths, strict=True))]
    return ops.slice(on_device(input), on_device(starts), lengths)


@lowering("XlaDynamicUpdateSlice", ignored=("Tindices",))
def xla_dynamic_update_slice(input: Value, update: Value, indices: Value) -> Value:
    """`input` with a block written where it begins, or where it still fits."""
    starts = _inside(indices, _known_shape("XlaDynamicUpdateSlice", input), _known_shape("XlaDynamicUpdateSlice", update))
    if is_host(input) and is_host(update) and is_host(starts):
        result = input.copy()
        result[tuple(slice(s, s + n) for s, n in zip(starts.tolist(), update.shape, strict=True))] = update
        return result
    where = starts.tolist() if is_host(starts) else starts
    return ops.slice_update(on_device(input), where, on_device(update))


def _known_shape(op: str, x: Value) -> tuple[int, ...]:
    shape = static_shape(x)
    if None in shape:
        raise UnhandledValueError(op, "the shape of its input", shape, ("a known shape",))
    return tuple(int(n or 0) for n in shape)


@lowering("XlaGather", static=("slice_sizes",), ignored=("Tindices", "indices_are_sorted"))
def xla_gather(operand: Value, start_indices: Value, slice_sizes: Value, *, dimension_numbers: str | bytes) -> Value:
    """Blocks of the operand, one for each start, where they still fit; one axis of `start_indices` holds the positions."""
    numbers = numbers_of("XlaGather", dimension_numbers)
    offset_dims, collapsed, mapped = (numbers.get(i, []) for i in (1, 2, 3))
    vector = (numbers.get(4) or [0])[0]
    shape, lengths = _known_shape("XlaGather", operand), sizes(slice_sizes)
    if vector == len(static_shape(start_indices)):
        start_indices = apply(lambda np, s: np.expand_dims(s, -1), start_indices)
    starts = apply(lambda np, s: np.moveaxis(s, vector, -1), start_indices)
    batch = _known_shape("XlaGather", starts)[:-1]
    starts = _inside(starts, [shape[d] for d in mapped], [lengths[d] for d in mapped])
    whole = len(shape)  # from here on the axes are taken whole: as one row
    while whole and lengths[whole - 1] == shape[whole - 1] and whole - 1 not in {*collapsed, *mapped}:
        whole -= 1
    strides = [math.prod(shape[d + 1 : whole]) for d in range(whole)]
    offsets = numpy.zeros([1] * whole, numpy.int64)
    for d in range(whole):
        steps = numpy.arange(lengths[d]) * strides[d]
        offsets = offsets + steps.reshape([-1 if i == d else 1 for i in range(whole)])
    dtype = dtype_of(starts)
    scale = numpy.array([strides[d] for d in mapped], dtype)
    first = apply(lambda np, s, c: np.sum(s * c, axis=-1), starts, scale)
    flat_offsets = offsets.reshape(-1).astype(dtype)
    places = apply(lambda np, f, o: np.reshape(f, (-1, 1)) + o, _as(first, dtype), flat_offsets)
    rows = apply(lambda np, o: np.reshape(o, (math.prod(shape[:whole]), -1)), operand)
    taken = rows[places] if is_host(rows) and is_host(places) else ops.take(on_device(rows), on_device(places), axis=0)
    kept = [lengths[d] for d in range(len(shape)) if d not in collapsed]
    rank = len(batch) + len(kept)
    blocks, outer = iter(range(len(batch), rank)), iter(range(len(batch)))
    order = [next(blocks) if axis in offset_dims else next(outer) for axis in range(rank)]
    return apply(lambda np, t: np.transpose(np.reshape(t, (*batch, *kept)), order), taken)


@lowering("XlaSort")
def xla_sort(input: Value) -> Value:
    """The elements in order along the last axis."""
    return apply(lambda np, x: np.sort(x, axis=-1), input)


@lowering("XlaKeyValueSort", ignored=("K", "V"))
def xla_key_value_sort(keys: Value, values: Value) -> tuple[Value, Value]:
    """Keys in order along the last axis, and the values beside them."""
    order = apply(lambda np, k: np.argsort(k, axis=-1), keys)

    def along(x: Value) -> Value:
        return apply(lambda np, x, o: np.take_along_axis(x, o, axis=-1), x, order)

    return along(keys), along(values)


@lowering("XlaEinsum")
def xla_einsum(a: Value, b: Value, *, equation: str) -> Value:
    """A product by Einstein's notation."""
    result: Value = einsum(a, b, equation=equation)
    return result


@lowering("XlaSharding", ignored=("sharding", "unspecified_dims"))
def xla_sharding(input: Value) -> Value:
    """The input: here is one device."""
    return input


@lowering("XlaOptimizationBarrier", ignored=("T",))
def xla_optimization_barrier(*input: Value) -> tuple[Value, ...]:
    """The inputs."""
    return input


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


def _reduction(context: Context, function: FunctionName) -> str:
    """What a reducer does, from the one op in it."""
    graph = context.graph(function)
    kinds = [n.op for n in graph.nodes.values() if n.op not in {"Identity", "Placeholder", "_Arg", "NoOp"}]
    if len(kinds) != 1 or kinds[0] not in REDUCERS:
        raise UnhandledValueError(context.node.op, "reducer", kinds, sorted(REDUCERS))
    return REDUCERS[kinds[0]]


def _reduced(kind: str, x: Value, start: Value, axes: tuple[int, ...]) -> Value:
    whole = apply(lambda np, x: getattr(np, kind)(x, axis=axes), x) if axes else x
    return apply(PAIRS[kind], _as(whole, dtype_of(x)), start)


@lowering("XlaReduce", context=True)
def xla_reduce(
    context: Context, input: Value, init_value: Value, *, dimensions_to_reduce: Sequence[int], reducer: FunctionName
) -> Value:
    """All elements along axes, and `init_value`, made one by a function."""
    return _reduced(_reduction(context, reducer), input, init_value, tuple(dimensions_to_reduce))


@lowering("XlaVariadicReduceV2", context=True, ignored=("T",))
def xla_variadic_reduce(context: Context, *values: Value, dimensions_to_reduce: Sequence[int], reducer: FunctionName) -> Value:
    """As XlaReduce, of an input and its first value."""
    if len(values) != 2:
        raise UnhandledValueError("XlaVariadicReduceV2", "inputs", len(values) // 2, ("one input",))
    return _reduced(_reduction(context, reducer), *values, tuple(dimensions_to_reduce))


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
    strides, own = sizes(window_strides), _known_shape("XlaReduceWindow", x)
    counts = [max((n - (w - 1) * r - 1) // s + 1, 0) for n, w, r, s in zip(own, window, rates, strides, strict=True)]
    result: Value = None
    for place in numpy.ndindex(*window):
        starts = [p * r for p, r in zip(place, rates, strict=True)]
        part = x[tuple(slice(b, b + (c - 1) * s + 1 if c else b, s) for b, c, s in zip(starts, counts, strides, strict=True))]
        result = part if result is None else apply(PAIRS[kind], result, part)
    return apply(PAIRS[kind], result, init_value.astype(dtype_of(input))) if kind != "sum" or init_value.item() else result
