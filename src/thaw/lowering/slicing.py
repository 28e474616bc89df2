"""Parts of arrays by position: slices, gathers, and their counterparts that write.

Positions may be data (a loop counter, token ids); lengths of slices may not, except under TensorFlow.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
from keras import ops

from thaw.lowering.array import as_array, lengths
from thaw.lowering.elementwise import alike, apply
from thaw.lowering.kernels import rows_of
from thaw.lowering.registry import lowering
from thaw.lowering.values import NotKnownError, Value, dtype_of, is_host, known, numpy_dtype, on_device, static_shape


@lowering("Slice", static=("size",))
def slice_of(input: Value, begin: Value, size: Value) -> Value:
    """The block of `size` (-1: to the end) that begins at `begin`."""
    own = static_shape(input)
    if not is_host(size):  # TensorFlow
        starts = [begin[a] for a in range(len(own))]
        rest = [ops.shape(input)[a] - starts[a] for a in range(len(own))]
        sizes = [ops.where(size[a] == -1, ops.cast(rest[a], dtype_of(size)), size[a]) for a in range(len(own))]
        return input[tuple(slice(b, b + n) for b, n in zip(starts, sizes, strict=True))]
    try:
        begin = known(begin, "begin")
    except NotKnownError:
        counts = lengths(size)
        if -1 in counts or dtype_of(input) == "string":
            raise
        return ops.slice(on_device(input), begin, counts)
    starts = begin if not is_host(begin) else [int(n) for n in begin]
    ends = [None if n == -1 else b + int(n) for b, n in zip(starts, size, strict=True)]
    for axis, (b, e) in enumerate(zip(starts, ends, strict=True)):
        length = own[axis]
        if length is not None and is_host(begin) and (b > length or (e is not None and e > length)):
            raise ValueError(f"the slice from {b} of {size[axis]} goes beyond axis {axis} of length {length}")
    return input[tuple(slice(b, e) for b, e in zip(starts, ends, strict=True))]


class Masks(NamedTuple):
    """Bit i of each says how the i-th entry of a strided slice is meant.

    Attributes:
        begin: from the first element.
        end: to the last element.
        ellipsis: as many whole axes as are left.
        new_axis: a new axis of length 1.
        shrink_axis: one position; the axis goes.
    """

    begin: int
    end: int
    ellipsis: int
    new_axis: int
    shrink_axis: int


def _index(rank: int, begin: Sequence[Any], end: Sequence[Any], strides: Sequence[int], masks: Masks) -> tuple[Any, ...]:
    """TensorFlow's sparse slice with its bit masks as a Python index."""
    index: list[Any] = []
    seen_ellipsis = False
    for i, stride in enumerate(strides):
        bit = 1 << i
        if masks.ellipsis & bit:
            if not seen_ellipsis:
                index.append(Ellipsis)
            seen_ellipsis = True
        elif masks.new_axis & bit:
            index.append(None)
        elif masks.shrink_axis & bit:
            index.append(begin[i])
        else:
            first = None if masks.begin & bit else begin[i]
            last = None if masks.end & bit else end[i]
            index.append(slice(first, last, None if stride == 1 else stride))
    if Ellipsis not in [i for i in index if i is Ellipsis]:
        index.append(Ellipsis)
    taken = sum(i is not None and i is not Ellipsis for i in index)
    at = next(n for n, i in enumerate(index) if i is Ellipsis)
    return (*index[:at], *(slice(None),) * (rank - taken), *index[at + 1 :])


def _take_slices(x: Value, index: tuple[Any, ...]) -> Value:
    """`x[index]`, where PyTorch has no negative steps and JAX wants a traced position taken."""
    if is_host(x):
        return as_array(x[index], x)
    own = static_shape(x)
    steps: list[Any] = []
    flips: list[int] = []
    takes: list[tuple[int, Value]] = []
    axis = out = 0
    for entry in index:
        if entry is None:
            steps.append(None)
            out += 1
            continue
        if not isinstance(entry, slice):
            if ops.is_tensor(entry):
                takes.append((out, entry))
                steps.append(slice(None))
                out += 1
            else:
                steps.append(entry)
            axis += 1
            continue
        if entry.step is not None and entry.step < 0 and own[axis] is not None:
            positions = range(*entry.indices(own[axis] or 0))
            entry = slice(positions[-1], positions[0] + 1, -entry.step) if len(positions) else slice(0, 0)
            flips.append(out)
        steps.append(entry)
        axis += 1
        out += 1
    if not all(s == slice(None) for s in steps):
        x = x[tuple(steps)]
    if flips:
        x = ops.flip(x, axis=tuple(flips))
    for at, position in reversed(takes):
        length = static_shape(x)[at]
        wrapped = ops.where(position < 0, position + length, position) if length is not None else position
        x = ops.take(x, wrapped, axis=at)
    return x


def _bounds(begin: Value, end: Value, strides: Value, masks: Masks) -> tuple[Any, Any, list[int]]:
    """Begin and end as sequences of ints, or of scalar tensors where they are data that may be.

    Raises:
        NotKnownError: the length of the result would depend on data.
    """
    steps = [int(n) for n in known(strides, "strides")]
    try:
        begin = known(begin, "begin")
        end = known(end, "end")
    except NotKnownError:
        for i in range(len(steps)):
            bit = 1 << i
            free = masks.begin & masks.end | masks.ellipsis | masks.new_axis
            if not (free | masks.shrink_axis) & bit:
                raise
    return (
        [int(n) for n in begin] if is_host(begin) else [begin[i] for i in range(len(steps))],
        [int(n) for n in end] if is_host(end) else [end[i] for i in range(len(steps))],
        steps,
    )


@lowering("StridedSlice", static=("strides",), ignored=("Index",))
def strided_slice(
    input: Value,
    begin: Value,
    end: Value,
    strides: Value,
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Value:
    """`input[begin:end:strides]` with Python's `:`, `...`, `None` and single positions as bit masks."""
    masks = Masks(begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
    if dtype_of(input) == "string":
        begin, end = known(begin, "begin"), known(end, "end")
    first, last, steps = _bounds(begin, end, strides, masks)
    return _take_slices(input, _index(len(static_shape(input)), first, last, steps, masks))


def _positions(shape: Sequence[int], begin: Value, end: Value, strides: Value, masks: Masks) -> Any:
    """The flat positions that a slice of an array of `shape` takes."""
    first, last, steps = _bounds(begin, end, strides, masks)
    every = numpy.arange(int(numpy.prod(shape, dtype="int64"))).reshape(shape)
    return every[_index(len(shape), first, last, steps, masks)]


@lowering("StridedSliceGrad", static=("shape", "begin", "end", "strides"), ignored=("Index",))
def strided_slice_gradient(
    shape: Value,
    begin: Value,
    end: Value,
    strides: Value,
    dy: Value,
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Value:
    """Zeros of `shape` with `dy` where the slice would be taken from."""
    masks = Masks(begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
    positions = numpy.reshape(_positions(lengths(shape), begin, end, strides, masks), (-1, 1))
    flat = scatter_into(numpy.zeros(int(numpy.prod(lengths(shape))), dtype=_np_dtype(dy)), positions, flat_of(dy), "add")
    return _reshaped(flat, lengths(shape))


@lowering("TensorStridedSliceUpdate", static=("begin", "end", "strides"), ignored=("Index",))
def strided_slice_update(
    input: Value,
    begin: Value,
    end: Value,
    strides: Value,
    value: Value,
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Value:
    """`input` with `value` in place of the slice."""
    masks = Masks(begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
    own = [int(n or 0) for n in static_shape(input)]
    positions = _positions(own, begin, end, strides, masks)
    value = apply(lambda np, v: np.broadcast_to(v, positions.shape), value)
    flat = scatter_into(flat_of(input), numpy.reshape(positions, (-1, 1)), flat_of(value), None)
    return _reshaped(flat, tuple(own))


def _np_dtype(value: Value) -> Any:
    return numpy_dtype(dtype_of(value))


def flat_of(x: Value) -> Value:
    """`x` as a vector."""
    return _reshaped(x, (-1,))


def _reshaped(x: Value, shape: Sequence[Any]) -> Value:
    return numpy.reshape(x, shape) if is_host(x) else ops.reshape(x, shape)


def take(params: Value, indices: Value, axis: int) -> Value:
    """`params` at `indices` along an axis."""
    if is_host(params) and is_host(indices):
        return as_array(numpy.take(params, indices, axis=axis), params)
    if dtype_of(params) == "string":
        params_known, indices = params, known(indices, "indices")
        return as_array(numpy.take(params_known, indices, axis=axis), params)
    params, indices = alike(params, indices)
    return rows_of(params, indices) if axis == 0 else ops.take(params, indices, axis=axis)


@lowering("Gather", ignored=("validate_indices",))
def gather(params: Value, indices: Value) -> Value:
    """Rows of `params`."""
    return take(params, indices, 0)


@lowering("GatherV2", static=("axis",), ignored=("Taxis",))
def gather_along(params: Value, indices: Value, axis: Value, *, batch_dims: int = 0) -> Value:
    """`params` at `indices` along an axis; the first `batch_dims` axes of both run along together."""
    batch_dims %= len(static_shape(indices)) + 1 if batch_dims < 0 else batch_dims + 1
    at = int(numpy.reshape(axis, ())) % len(static_shape(params))
    if batch_dims == 0:
        return take(params, indices, at)
    return batched_take(params, indices, at, batch_dims)


def batched_take(params: Value, indices: Value, axis: int, batch_dims: int) -> Value:
    """`take` with leading axes in common."""
    own, asked = _all_lengths(params), _all_lengths(indices)
    lead, between, length, rest = own[:batch_dims], own[batch_dims:axis], own[axis], own[axis + 1 :]
    result = [*lead, *between, *asked[batch_dims:], *rest]
    if is_host(params) and is_host(indices):
        total = int(numpy.prod(lead))
        moved = numpy.moveaxis(params, axis, batch_dims).reshape(total, length, *between, *rest)
        rows = indices.reshape(total, -1)
        taken = numpy.take_along_axis(moved, rows.reshape(*rows.shape, *[1] * (moved.ndim - 2)), axis=1)
        return numpy.moveaxis(taken, 1, 1 + len(between)).reshape(result)
    params, indices = alike(params, indices)
    inner = int(numpy.prod([1, *(n for n in (*between, *rest) if isinstance(n, int))]))
    many = int(numpy.prod([1, *(n for n in asked[batch_dims:] if isinstance(n, int))]))
    moved = ops.moveaxis(params, axis, batch_dims) if axis != batch_dims else params
    rows = ops.expand_dims(ops.reshape(indices, (-1, many)), -1)
    taken = ops.take_along_axis(ops.reshape(moved, (-1, length, inner)), rows, axis=1)
    if between:
        taken = ops.reshape(taken, (-1, many, *between, *rest))
        taken = ops.moveaxis(taken, 1, 1 + len(between))
    free = [n if isinstance(n, int) else -1 for n in result]
    return ops.reshape(taken, free if free.count(-1) < 2 else ops.stack(result))


def _all_lengths(x: Value) -> list[Any]:
    own = static_shape(x)
    return list(own) if None not in own else list(ops.shape(x))


@lowering("GatherNd", ignored=("bad_indices_policy",))
def gather_nd(params: Value, indices: Value) -> Value:
    """Elements or blocks of `params`; the last axis of `indices` is a position."""
    own, asked = _all_lengths(params), _all_lengths(indices)
    depth = asked[-1]
    flat, size = flat_positions(indices, own[:depth])
    params = _reshaped(params, [size if isinstance(size, int) else -1, *own[depth:]])
    return take(params, flat, 0)


def flat_positions(indices: Value, shape: Sequence[Any]) -> tuple[Value, Any]:
    """Positions in an array of `shape` (last axis of `indices`) as single numbers, and how many positions there are."""
    size: Any = 1
    for n in shape:
        size = size * n
    flat: Value = None
    for i, n in enumerate(shape):
        part = indices[..., i]
        flat = part if flat is None else flat * n + part
    if flat is None:
        zero = numpy.zeros([n or 0 for n in static_shape(indices)[:-1]], dtype="int32")
        flat = zero if is_host(indices) else on_device(zero)
    return flat, size


def scatter_into(start: Value, indices: Value, updates: Value, how: str | None) -> Value:
    """`start` with `updates` at `indices` (last axis: a position): set (None), "add", "max", "min", "mul"."""
    own, asked = static_shape(start), static_shape(indices)
    depth = int(asked[-1] or 0)
    if all(is_host(v) for v in (start, indices, updates)):
        result = numpy.array(start)
        rows = tuple(numpy.moveaxis(indices, -1, 0))
        writers = {"add": numpy.add, "max": numpy.maximum, "min": numpy.minimum, "mul": numpy.multiply}
        if how is None:
            result[rows] = updates
        else:
            writers[how].at(result, rows, updates)
        return result
    start, indices, updates = alike(start, indices, updates)
    flat, size = flat_positions(indices, own[:depth])
    rest = own[depth:]
    flat_updates = ops.reshape(updates, (-1, *rest)) if None not in rest else updates
    if how in {"max", "min"}:  # Keras' own for PyTorch writes row by row, in place
        places = ops.reshape(flat, (-1,))
        reduce = ops.segment_max if how == "max" else ops.segment_min
        best = reduce(flat_updates, places, num_segments=size)
        start = ops.reshape(start, (size, *rest))
        written = (
            ops.segment_max(ops.ones_like(places), places, num_segments=size) > 0
        )  # what a segment without rows holds varies
        kept = ops.logical_or(
            ops.reshape(ops.logical_not(written), (size, *[1] * len(rest))), start >= best if how == "max" else start <= best
        )
        return ops.reshape(ops.where(kept, start, best), own)
    result = ops.scatter_update(
        ops.reshape(start, (size, *rest)), ops.reshape(flat, (-1, 1)), ops.cast(flat_updates, dtype_of(start)), reduction=how
    )
    return ops.reshape(result, own)


def _negative(x: Value) -> Value:
    """`-x`; TensorFlow has no negation of unsigned integers, only their difference."""
    return apply(lambda np, x: np.zeros_like(x) - x, x) if dtype_of(x).startswith("uint") else -x


@lowering("InplaceUpdate")
def inplace_update(x: Value, i: Value, v: Value) -> Value:
    """`x` with the rows `v` at `i`."""
    return scatter_into(x, apply(lambda np, i: np.expand_dims(i, -1), i), v, None)


@lowering("InplaceAdd")
def inplace_add(x: Value, i: Value, v: Value) -> Value:
    """`x` with `v` added to the rows `i`."""
    return scatter_into(x, apply(lambda np, i: np.expand_dims(i, -1), i), v, "add")


@lowering("InplaceSub")
def inplace_subtract(x: Value, i: Value, v: Value) -> Value:
    """`x` with `v` taken away from the rows `i`."""
    return scatter_into(x, apply(lambda np, i: np.expand_dims(i, -1), i), _negative(v), "add")


@lowering("ScatterNd", static=("shape",), ignored=("bad_indices_policy",))
def scatter_nd(indices: Value, updates: Value, shape: Value) -> Value:
    """Zeros of `shape` with `updates` added at `indices`."""
    if not is_host(shape):
        return ops.scatter(indices, updates, shape)
    return scatter_into(numpy.zeros(lengths(shape), dtype=_np_dtype(updates)), indices, updates, "add")


@lowering("TensorScatterUpdate", ignored=("bad_indices_policy",))
def tensor_scatter_update(tensor: Value, indices: Value, updates: Value) -> Value:
    """`tensor` with `updates` at `indices`."""
    return scatter_into(tensor, indices, updates, None)


@lowering("TensorScatterAdd", "ScatterNdNonAliasingAdd", ignored=("bad_indices_policy",))
def tensor_scatter_add(tensor: Value, indices: Value, updates: Value) -> Value:
    """`tensor` with `updates` added at `indices`."""
    return scatter_into(tensor, indices, updates, "add")


@lowering("TensorScatterSub", ignored=("bad_indices_policy",))
def tensor_scatter_subtract(tensor: Value, indices: Value, updates: Value) -> Value:
    """`tensor` with `updates` taken away at `indices`."""
    return scatter_into(tensor, indices, _negative(updates), "add")


@lowering("TensorScatterMax", ignored=("bad_indices_policy",))
def tensor_scatter_max(tensor: Value, indices: Value, updates: Value) -> Value:
    """The greater of `tensor` and `updates` at `indices`."""
    return scatter_into(tensor, indices, updates, "max")


@lowering("TensorScatterMin", ignored=("bad_indices_policy",))
def tensor_scatter_min(tensor: Value, indices: Value, updates: Value) -> Value:
    """The smaller of `tensor` and `updates` at `indices`."""
    return scatter_into(tensor, indices, updates, "min")
