"""XLA's own ops, as graphs that JAX exported with `enable_xla=True` before native serialization hold them.

Their dimension numbers are serialized messages in attributes. Ops that take a function are in xla_reducers.py and xla_scatter.py.
XlaCallModule (native serialization) holds a compiled program instead of ops and is refused as unknown.
"""

import math
import string
from collections.abc import Sequence

import numpy
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.lowering import kernels
from thaw.lowering.elementwise import apply
from thaw.lowering.matmul import einsum
from thaw.lowering.registry import lowering
from thaw.lowering.run import widened
from thaw.lowering.values import Value, as_dtype, cast, dtype_of, is_host, on_device, sizes, static_shape
from thaw.lowering.windows import padded


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
    lhs, rhs = as_dtype(lhs, preferred_element_type), as_dtype(rhs, preferred_element_type)
    return _dot("XlaDotV2", lhs, rhs, dimension_numbers)


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
    lhs, rhs = as_dtype(lhs, preferred_element_type), as_dtype(rhs, preferred_element_type)
    return _convolved("XlaConvV2", lhs, rhs, *numbers, dimension_numbers)


def _inside(starts: Value, shape: Sequence[int], lengths: Sequence[int]) -> Value:
    """Starts of blocks of `lengths` (last axis), moved to where they fit."""
    most = numpy.array([n - k for n, k in zip(shape, lengths, strict=True)], dtype=dtype_of(starts))
    return apply(lambda np, s, m: np.minimum(np.maximum(s, np.zeros_like(s)), m), starts, most)


@lowering("XlaDynamicSlice", static=("size_indices",), ignored=("Tindices",))
def xla_dynamic_slice(input: Value, start_indices: Value, size_indices: Value) -> Value:
    """A block that begins at `start_indices`, or where it still fits."""
    lengths = sizes(size_indices)
    starts = _inside(start_indices, known_shape("XlaDynamicSlice", input), lengths)
    if is_host(input) and is_host(starts):
        return input[tuple(slice(s, s + n) for s, n in zip(starts.tolist(), lengths, strict=True))]
    return ops.slice(on_device(input), on_device(starts), lengths)


@lowering("XlaDynamicUpdateSlice", ignored=("Tindices",))
def xla_dynamic_update_slice(input: Value, update: Value, indices: Value) -> Value:
    """`input` with a block written where it begins, or where it still fits."""
    starts = _inside(indices, known_shape("XlaDynamicUpdateSlice", input), known_shape("XlaDynamicUpdateSlice", update))
    if is_host(input) and is_host(update) and is_host(starts):
        result = input.copy()
        result[tuple(slice(s, s + n) for s, n in zip(starts.tolist(), update.shape, strict=True))] = update
        return result
    where = starts.tolist() if is_host(starts) else starts
    return ops.slice_update(on_device(input), where, on_device(update))


def known_shape(op: str, x: Value) -> tuple[int, ...]:
    """The shape of `x`.

    Raises:
        UnhandledValueError: the backend does not know it while it traces.
    """
    shape = static_shape(x)
    if None in shape:
        raise UnhandledValueError(op, "the shape of its input", shape, ("a known shape",))
    return tuple(int(n or 0) for n in shape)


def block_of_rows(shape: Sequence[int], lengths: Sequence[int], apart: set[int]) -> tuple[int, list[int], numpy.ndarray]:
    """How a block of these `lengths` lies in a tensor of that shape whose last axes are taken whole, as one row.

    `apart` are axes that are not taken whole, although the block may be as long. The first axis that is; how many rows apart
    neighbours on each axis before it lie; and where the rows of the block lie from its first one on.
    """
    whole = len(shape)
    while whole and lengths[whole - 1] == shape[whole - 1] and whole - 1 not in apart:
        whole -= 1
    strides = [math.prod(shape[d + 1 : whole]) for d in range(whole)]
    offsets = numpy.zeros([1] * whole, numpy.int64)
    for d in range(whole):
        steps = numpy.arange(lengths[d]) * strides[d]
        offsets = offsets + steps.reshape([-1 if i == d else 1 for i in range(whole)])
    return whole, strides, offsets.reshape(-1)


@lowering("XlaGather", static=("slice_sizes",), ignored=("Tindices", "indices_are_sorted"))
def xla_gather(operand: Value, start_indices: Value, slice_sizes: Value, *, dimension_numbers: str | bytes) -> Value:
    """Blocks of the operand, one for each start, where they still fit; one axis of `start_indices` holds the positions."""
    numbers = numbers_of("XlaGather", dimension_numbers)
    offset_dims, collapsed, mapped = (numbers.get(i, []) for i in (1, 2, 3))
    vector = (numbers.get(4) or [0])[0]
    shape, lengths = known_shape("XlaGather", operand), sizes(slice_sizes)
    if vector == len(static_shape(start_indices)):
        start_indices = apply(lambda np, s: np.expand_dims(s, -1), start_indices)
    starts = apply(lambda np, s: np.moveaxis(s, vector, -1), start_indices)
    batch = known_shape("XlaGather", starts)[:-1]
    starts = _inside(starts, [shape[d] for d in mapped], [lengths[d] for d in mapped])
    whole, strides, offsets = block_of_rows(shape, lengths, {*collapsed, *mapped})
    dtype = dtype_of(starts)
    scale = numpy.array([strides[d] for d in mapped], dtype)
    first = apply(lambda np, s, c: np.sum(s * c, axis=-1), starts, scale)
    places = apply(lambda np, f, o: np.reshape(f, (-1, 1)) + o, as_dtype(first, dtype), offsets.astype(dtype))
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


@lowering("XlaSelfAdjointEig", ignored=("max_iter", "epsilon"))
def xla_self_adjoint_eig(a: Value, *, lower: bool) -> tuple[Value, Value]:
    """Eigenvalues, from the least, and eigenvectors of the symmetric matrices of which a triangle is given."""
    x = widened(on_device(a))  # no library decomposes narrower floats
    half = (ops.tril if lower else ops.triu)(x)
    axes = (*range(len(static_shape(x)) - 2), -1 % len(static_shape(x)), -2 % len(static_shape(x)))
    other = (ops.tril if lower else ops.triu)(x, -1 if lower else 1)
    values, vectors = ops.eigh(half + ops.transpose(other, axes))
    return as_dtype(values, dtype_of(a)), as_dtype(vectors, dtype_of(a))


@lowering("XlaSvd", ignored=("max_iter", "epsilon", "precision_config"))
def xla_svd(a: Value) -> tuple[Value, Value, Value]:
    """Singular values, and the left and right singular vectors."""
    u, s, v = (as_dtype(part, dtype_of(a)) for part in ops.svd(widened(on_device(a)), full_matrices=False))
    rank = len(static_shape(v))
    return s, u, ops.transpose(v, (*range(rank - 2), rank - 1, rank - 2))


SAME_AS = {(8, 7): "bfloat16", (8, 23): "float32", (11, 52): "float64"}
"""Bits of exponent and mantissa, and the dtype that has them."""


@lowering("XlaReducePrecision", gradient="none")
def xla_reduce_precision(operand: Value, *, exponent_bits: int, mantissa_bits: int) -> Value:
    """Numbers as a dtype of fewer bits would hold them.

    Raises:
        UnhandledValueError: no dtype has these bits.
    """
    narrow = SAME_AS.get((exponent_bits, mantissa_bits))
    if narrow is None:
        raise UnhandledValueError("XlaReducePrecision", "bits", (exponent_bits, mantissa_bits), SAME_AS)
    return operand if narrow == dtype_of(operand) else cast(cast(operand, narrow), dtype_of(operand))
