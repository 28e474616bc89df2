"""Sparse tensors (indices, values, dense shape): plumbing on the host, sums over them on the device, with gradients.

Indices are known while tracing (numpy) where they follow from strings; the sums take them from the device too. Crosses of
features are in cross.py, sets in sets.py. Imports numpy and keras.ops.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from thaw.lowering import kernels
from thaw.lowering.registry import lowering
from thaw.lowering.values import NotKnownError, Value, cast, dtype_of, is_host, known, xp


def take(values: Value, where: Value) -> Value:
    """The rows `where` of `values`, on the side where they are."""
    if is_host(values) and is_host(where):
        return values[where]
    return ops.take(values, ops.convert_to_tensor(where), axis=0)


def segment_sum(data: Value, segment_ids: Value, num_segments: Value, *, sorted: bool = False) -> Value:
    """The sums of the rows of `data` of each segment: (segments, ...)."""
    if not is_host(data) or not is_host(segment_ids):
        if segment_ids.shape[0] == 0:  # Keras on PyTorch fails on nothing
            return ops.zeros((num_segments, *data.shape[1:]), dtype=dtype_of(data))
        return kernels.segment_sum(ops.convert_to_tensor(data), ops.convert_to_tensor(segment_ids), num_segments, ordered=sorted)
    total = np.zeros((int(num_segments), *data.shape[1:]), data.dtype)
    np.add.at(total, segment_ids, data)
    return total


def _segments(segment_ids: Value) -> Value:
    """One more than the last (greatest) segment.

    Raises:
        NotKnownError: the segments are data of a traced step, and nothing says how many there are.
    """
    if is_host(segment_ids):
        return int(segment_ids[-1]) + 1 if segment_ids.size else 0
    if keras.backend.backend() == "tensorflow":
        return ops.cast(ops.max(segment_ids, initial=-1) + 1, "int32")
    try:
        return int(ops.convert_to_numpy(segment_ids)[-1]) + 1 if segment_ids.shape[0] else 0
    except Exception as error:
        raise NotKnownError("segment_ids") from error


def _sparse_segment(kind: str, data: Value, indices: Value, segment_ids: Value, num_segments: Value) -> Value:
    rows = take(data, indices)
    count = int(num_segments) if is_host(num_segments) else num_segments
    total = segment_sum(rows, segment_ids, count, sorted=True)
    if kind == "sum":
        return total
    one = np.ones(segment_ids.shape, np.float32) if is_host(segment_ids) else ops.ones_like(segment_ids, dtype="float32")
    sizes = segment_sum(one, segment_ids, count, sorted=True)
    np_ = xp(sizes)
    divisor = np_.maximum(sizes, 1.0)
    divisor = cast(np_.sqrt(divisor) if kind == "sqrtn" else divisor, dtype_of(data))
    shape = (-1,) + (1,) * (len(data.shape) - 1)
    divisor = np_.reshape(divisor, shape)
    return xp(total, divisor).divide(total, divisor)


@lowering("SparseSegmentSum", ignored=("sparse_gradient",))
def sparse_segment_sum(data: Value, indices: Value, segment_ids: Value) -> Value:
    """The sum of the rows `indices` of `data` over each segment."""
    return _sparse_segment("sum", data, indices, segment_ids, _segments(segment_ids))


@lowering("SparseSegmentMean", ignored=("sparse_gradient",))
def sparse_segment_mean(data: Value, indices: Value, segment_ids: Value) -> Value:
    """The mean of the rows `indices` of `data` over each segment; 0 for an empty one."""
    return _sparse_segment("mean", data, indices, segment_ids, _segments(segment_ids))


@lowering("SparseSegmentSqrtN", ignored=("sparse_gradient",))
def sparse_segment_sqrt_n(data: Value, indices: Value, segment_ids: Value) -> Value:
    """The sum of the rows `indices` of `data` over each segment, divided by the square root of its size."""
    return _sparse_segment("sqrtn", data, indices, segment_ids, _segments(segment_ids))


@lowering("SparseSegmentSumWithNumSegments", static=("num_segments",), ignored=("sparse_gradient",))
def sparse_segment_sum_with_num_segments(data: Value, indices: Value, segment_ids: Value, num_segments: Value) -> Value:
    """As SparseSegmentSum, of so many segments."""
    return _sparse_segment("sum", data, indices, segment_ids, num_segments)


@lowering("SparseSegmentMeanWithNumSegments", static=("num_segments",), ignored=("sparse_gradient",))
def sparse_segment_mean_with_num_segments(data: Value, indices: Value, segment_ids: Value, num_segments: Value) -> Value:
    """As SparseSegmentMean, of so many segments."""
    return _sparse_segment("mean", data, indices, segment_ids, num_segments)


@lowering("SparseSegmentSqrtNWithNumSegments", static=("num_segments",), ignored=("sparse_gradient",))
def sparse_segment_sqrt_n_with_num_segments(data: Value, indices: Value, segment_ids: Value, num_segments: Value) -> Value:
    """As SparseSegmentSqrtN, of so many segments."""
    return _sparse_segment("sqrtn", data, indices, segment_ids, num_segments)


@lowering("ThawCountSegments", host=True, gradient="none")
def count_segments(segment_ids: np.ndarray) -> np.ndarray:
    """One more than the last segment: what the ops without `num_segments` find out (see thaw.graph.split_host)."""
    return np.array(_segments(segment_ids), dtype=np.int32)


def flat_positions(indices: Value, shape: tuple[int, ...]) -> Value:
    """The places of (n, rank) indices in the flattened tensor: (n,)."""
    strides = np.array([int(np.prod(shape[i + 1 :], dtype=np.int64)) for i in range(len(shape))], dtype=np.int64)
    if is_host(indices):
        return indices.astype(np.int64) @ strides
    return ops.sum(ops.cast(indices, "int32") * ops.convert_to_tensor(strides.astype("int32")), axis=1)


def _matrix_indices(indices: Value) -> Value:
    rank = len(indices.shape)
    np_ = xp(indices)
    return np_.reshape(indices, (1, 1)) if rank == 0 else np_.reshape(indices, (-1, 1)) if rank == 1 else indices


@lowering("SparseToDense", static=("output_shape",), ignored=("validate_indices",))
def sparse_to_dense(sparse_indices: Value, output_shape: np.ndarray, sparse_values: Value, default_value: Value) -> Value:
    """A dense tensor of that shape: the values at their places, the default elsewhere."""
    shape = tuple(int(n) for n in np.atleast_1d(output_shape))
    if dtype_of(sparse_values) == "string":
        sparse_indices = known(sparse_indices, "sparse_indices")
    indices = _matrix_indices(sparse_indices)
    if all(is_host(v) for v in (sparse_indices, sparse_values, default_value)):
        dense = np.full(shape, default_value.item(), dtype=sparse_values.dtype)
        dense[tuple(indices.T)] = sparse_values
        return dense
    dtype = dtype_of(sparse_values)
    base = ops.broadcast_to(ops.cast(default_value, dtype), shape)
    count = indices.shape[0]
    values = ops.broadcast_to(ops.convert_to_tensor(sparse_values), (count,)) if count is not None else sparse_values
    return ops.scatter_update(base, ops.convert_to_tensor(indices), values)


@lowering("SparseTensorDenseMatMul", static=("a_shape",))
def sparse_tensor_dense_mat_mul(
    a_indices: Value, a_values: Value, a_shape: np.ndarray, b: Value, *, adjoint_a: bool = False, adjoint_b: bool = False
) -> Value:
    """A sparse matrix times a dense one."""
    np_ = xp(b)
    right = np_.transpose(np_.conj(b) if dtype_of(b).startswith("complex") else b) if adjoint_b else b
    row, column = (1, 0) if adjoint_a else (0, 1)
    values = xp(a_values).conj(a_values) if adjoint_a and dtype_of(a_values).startswith("complex") else a_values
    weighted = xp(values, b).expand_dims(values, 1) * take(right, a_indices[:, column])
    return segment_sum(weighted, a_indices[:, row], int(a_shape[row]))


@lowering("SparseReshape", host=True, gradient="none")
def sparse_reshape(input_indices: np.ndarray, input_shape: np.ndarray, new_shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the same values in another dense shape, and that shape with its -1 worked out."""
    total = int(np.prod(input_shape, dtype=np.int64))
    shape = new_shape.astype(np.int64).copy()
    if (shape == -1).any():
        rest = int(np.prod(shape[shape != -1], dtype=np.int64))
        shape[shape == -1] = total // rest if rest else 0
    if int(np.prod(shape, dtype=np.int64)) != total:
        raise ValueError(f"SparseReshape of {input_shape.tolist()} to {new_shape.tolist()}: the sizes differ")
    flat = flat_positions(input_indices, tuple(int(n) for n in input_shape))
    indices = np.stack(np.unravel_index(flat, tuple(shape.tolist())), axis=1) if flat.size else np.empty((0, len(shape)))
    return indices.astype(np.int64).reshape(-1, len(shape)), shape


@lowering("SparseFillEmptyRows", static=("indices", "dense_shape"))
def sparse_fill_empty_rows(
    indices: np.ndarray, values: Value, dense_shape: np.ndarray, default_value: Value
) -> tuple[Value, Value, np.ndarray, np.ndarray]:
    """With one default value in each empty row: indices, values, which rows were empty, where each value went."""
    rows = int(dense_shape[0])
    count = len(indices)
    used = np.zeros(rows, dtype=bool)
    used[indices[:, 0]] = True
    empty = np.flatnonzero(~used)
    if not len(empty):
        order = np.argsort(indices[:, 0], kind="stable")
        moved = np.empty(count, dtype=np.int64)
        moved[order] = np.arange(count)
        return indices[order], take(values, order), ~used, moved
    added = np.zeros((len(empty), indices.shape[1]), dtype=indices.dtype)
    added[:, 0] = empty
    together = np.concatenate([indices, added])
    order = np.argsort(together[:, 0], kind="stable")
    moved = np.empty(len(together), dtype=np.int64)
    moved[order] = np.arange(len(together))
    if is_host(values) and is_host(default_value):
        filler = np.full(len(empty), default_value.item(), dtype=values.dtype)
        every: Value = np.concatenate([values, filler])
    else:
        every = ops.concatenate([values, ops.broadcast_to(ops.cast(default_value, dtype_of(values)), (len(empty),))])
    return together[order], take(every, order), ~used, moved[:count]


def _row_major(indices: np.ndarray) -> np.ndarray:
    """The order that sorts (n, rank) indices by their first axis, then the next ..."""
    return np.lexsort(indices.T[::-1]) if len(indices) else np.zeros(0, dtype=np.int64)


@lowering("SparseReorder", static=("input_indices", "input_shape"))
def sparse_reorder(input_indices: np.ndarray, input_values: Value, input_shape: np.ndarray) -> tuple[np.ndarray, Value]:
    """Indices and values in row-major order."""
    order = _row_major(input_indices)
    return input_indices[order], take(input_values, order)


@lowering("SparseConcat", host=True)
def sparse_concat(*inputs: np.ndarray, concat_dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sparse tensors side by side along an axis."""
    count = len(inputs) // 3
    indices, values, shapes = inputs[:count], inputs[count : 2 * count], inputs[2 * count :]
    axis = concat_dim % len(shapes[0])
    moved = []
    offset = 0
    for part, shape in zip(indices, shapes, strict=True):
        shifted = part.copy()
        shifted[:, axis] += offset
        offset += int(shape[axis])
        moved.append(shifted)
    together = np.concatenate(moved)
    order = _row_major(together)
    shape = np.array(shapes[0])
    shape[axis] = offset
    return together[order], np.concatenate(values)[order], shape


@lowering("SparseSplit", host=True)
def sparse_split(
    split_dim: np.ndarray, indices: np.ndarray, values: np.ndarray, shape: np.ndarray, *, num_split: int
) -> tuple[np.ndarray, ...]:
    """Pieces along an axis: all their indices, then all their values, then all their shapes."""
    axis = int(split_dim)
    size, extra = divmod(int(shape[axis]), num_split)
    parts = []
    begin = 0
    for number in range(num_split):
        length = size + (number < extra)
        inside = (indices[:, axis] >= begin) & (indices[:, axis] < begin + length)
        part, dense = indices[inside].copy(), shape.copy()
        part[:, axis] -= begin
        dense[axis] = length
        parts.append((part, values[inside], dense))
        begin += length
    return tuple(column for kind in zip(*parts, strict=True) for column in kind)


@lowering("SparseSlice", static=("indices", "shape", "start", "size"))
def sparse_slice(
    indices: np.ndarray, values: Value, shape: np.ndarray, start: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, Value, np.ndarray]:
    """The part of a sparse tensor within a box."""
    end = np.minimum(start + size, shape)
    inside = np.flatnonzero(np.all((indices >= start) & (indices < end), axis=1))
    return indices[inside] - start, take(values, inside), np.maximum(end - start, 0)


@lowering("SparseAdd", host=True, ignored=("Treal",))
def sparse_add(
    a_indices: np.ndarray,
    a_values: np.ndarray,
    a_shape: np.ndarray,
    b_indices: np.ndarray,
    b_values: np.ndarray,
    b_shape: np.ndarray,
    thresh: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sum of two sparse tensors; sums smaller than `thresh` are left out."""
    shape = tuple(int(n) for n in a_shape)
    together = np.concatenate([flat_positions(a_indices, shape), flat_positions(b_indices, shape)])
    places, which = np.unique(together, return_inverse=True)
    total = np.zeros(len(places), a_values.dtype)
    np.add.at(total, which.ravel(), np.concatenate([a_values, b_values]))
    both = np.bincount(which.ravel(), minlength=len(places)) > 1
    kept = ~both | (np.abs(total) >= thresh)
    indices = np.stack(np.unravel_index(places[kept], shape), axis=1).astype(np.int64).reshape(-1, len(shape))
    return indices, total[kept], a_shape


@lowering("SparseTensorDenseAdd", static=("a_shape",), ignored=("Tindices",))
def sparse_tensor_dense_add(a_indices: Value, a_values: Value, a_shape: np.ndarray, b: Value) -> Value:
    """A sparse tensor and a dense one added."""
    return _dense(a_indices, a_values, tuple(int(n) for n in a_shape)) + b


def _dense(indices: Value, values: Value, shape: tuple[int, ...]) -> Value:
    """The dense tensor; values of one place are added."""
    flat = segment_sum(values, flat_positions(indices, shape), int(np.prod(shape, dtype=np.int64)))
    return xp(flat).reshape(flat, shape)


def _reduced_shape(shape: np.ndarray, axes: np.ndarray, keep_dims: bool) -> tuple[list[int], tuple[int, ...]]:
    every = [int(n) for n in shape]
    gone = {int(a) % len(every) for a in np.atleast_1d(axes)} if axes.size else set()
    kept = [a for a in range(len(every)) if a not in gone]
    return kept, tuple(1 if a in gone else n for a, n in enumerate(every) if keep_dims or a not in gone)


@lowering("SparseReduceSum", static=("input_indices", "input_shape", "reduction_axes"))
def sparse_reduce_sum(
    input_indices: np.ndarray,
    input_values: Value,
    input_shape: np.ndarray,
    reduction_axes: np.ndarray,
    *,
    keep_dims: bool = False,
) -> Value:
    """The sums of a sparse tensor over axes, dense."""
    kept, shape = _reduced_shape(input_shape, reduction_axes, keep_dims)
    inner = tuple(int(input_shape[a]) for a in kept)
    total = _dense(input_indices[:, kept], input_values, inner)
    return xp(total).reshape(total, shape)


def _reduced_parts(
    indices: np.ndarray, values: np.ndarray, shape: np.ndarray, axes: np.ndarray, keep_dims: bool, ufunc: np.ufunc
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is left of a sparse tensor when `ufunc` takes together what differs on `axes` only: indices, values, shape."""
    kept, reduced = _reduced_shape(shape, axes, keep_dims)
    order = _row_major(indices[:, kept]) if kept else np.arange(len(indices))
    groups, which = (
        np.unique(indices[:, kept], axis=0, return_inverse=True) if kept else (np.zeros((1, 0)), np.zeros(len(indices)))
    )
    groups = groups if len(indices) else groups[:0]
    starts = np.searchsorted(which.ravel()[order], np.arange(len(groups)))
    results = ufunc.reduceat(values[order], starts).astype(values.dtype) if len(groups) else values[:0]
    places = np.zeros((len(groups), len(reduced)), np.int64)
    places[:, kept if keep_dims else slice(None)] = groups
    return places, results, np.array(reduced, np.int64)


@lowering("SparseReduceMax", host=True, gradient="none")
def sparse_reduce_max(
    input_indices: np.ndarray,
    input_values: np.ndarray,
    input_shape: np.ndarray,
    reduction_axes: np.ndarray,
    *,
    keep_dims: bool = False,
) -> np.ndarray:
    """The greatest values of a sparse tensor over axes, dense; 0 where nothing is."""
    parts = (input_indices, input_values, input_shape, reduction_axes, keep_dims)
    places, values, shape = _reduced_parts(*parts, np.maximum)
    dense = np.zeros(tuple(shape.tolist()), input_values.dtype)
    dense[tuple(places.T)] = values if len(shape) else values[:1].reshape(())
    return dense


def _sparse_reduction(op: str, line: str, ufunc: np.ufunc) -> None:
    def reduce_sparse(
        input_indices: np.ndarray,
        input_values: np.ndarray,
        input_shape: np.ndarray,
        reduction_axes: np.ndarray,
        *,
        keep_dims: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _reduced_parts(input_indices, input_values, input_shape, reduction_axes, keep_dims, ufunc)

    reduce_sparse.__doc__ = line
    lowering(op, host=True, gradient="none")(reduce_sparse)


_sparse_reduction("SparseReduceMaxSparse", "The greatest values of a sparse tensor over axes, sparse.", np.maximum)
_sparse_reduction("SparseReduceSumSparse", "The sums of a sparse tensor over axes, sparse.", np.add)


def _sparse_choice(op: str, line: str, ufunc: np.ufunc) -> None:
    def choose(
        a_indices: np.ndarray,
        a_values: np.ndarray,
        a_shape: np.ndarray,
        b_indices: np.ndarray,
        b_values: np.ndarray,
        b_shape: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        sizes = tuple(int(n) for n in a_shape)
        first, second = flat_positions(a_indices, sizes), flat_positions(b_indices, sizes)
        places = np.union1d(first, second)
        left, right = np.zeros(len(places), a_values.dtype), np.zeros(len(places), b_values.dtype)
        left[np.searchsorted(places, first)] = a_values
        right[np.searchsorted(places, second)] = b_values
        indices = np.stack(np.unravel_index(places, sizes), axis=1).astype(np.int64).reshape(-1, len(sizes))
        return indices, ufunc(left, right)

    choose.__doc__ = line
    lowering(op, host=True, gradient="none")(choose)


_sparse_choice("SparseSparseMaximum", "The greater of two sparse tensors, element by element; what one lacks is 0.", np.maximum)
_sparse_choice("SparseSparseMinimum", "The lesser of two sparse tensors, element by element; what one lacks is 0.", np.minimum)


@lowering("SparseSoftmax", static=("sp_indices", "sp_shape"))
def sparse_softmax(sp_indices: np.ndarray, sp_values: Value, sp_shape: np.ndarray) -> Value:
    """Softmax over the last axis of what is there."""
    rows, shape = sp_indices[:, :-1], tuple(int(n) for n in sp_shape[:-1])
    which = flat_positions(rows, shape)
    count = int(np.prod(shape, dtype=np.int64))
    np_: Any = xp(sp_values)
    if is_host(sp_values):
        most = np.full(count, -np.inf, sp_values.dtype)
        np.maximum.at(most, which, sp_values)
    else:
        most = ops.segment_max(sp_values, ops.convert_to_tensor(which), count)
    exponentials = np_.exp(sp_values - take(most, which))
    return exponentials / take(segment_sum(exponentials, which, count), which)


def _dense_at(sp_indices: np.ndarray, sp_shape: np.ndarray, dense: Value) -> Value:
    """The elements of `dense`, broadcast to the sparse tensor's shape, at its indices."""
    shape = tuple(int(n) for n in sp_shape)
    whole = xp(dense).broadcast_to(dense, shape)
    return take(xp(whole).reshape(whole, (-1,)), flat_positions(sp_indices, shape))


@lowering("SparseDenseCwiseMul", static=("sp_indices", "sp_shape"))
def sparse_dense_cwise_mul(sp_indices: np.ndarray, sp_values: Value, sp_shape: np.ndarray, dense: Value) -> Value:
    """The values of a sparse tensor times those of a dense one, broadcast."""
    at = _dense_at(sp_indices, sp_shape, dense)
    return xp(sp_values, at).multiply(sp_values, at)


@lowering("SparseDenseCwiseDiv", static=("sp_indices", "sp_shape"))
def sparse_dense_cwise_div(sp_indices: np.ndarray, sp_values: Value, sp_shape: np.ndarray, dense: Value) -> Value:
    """The values of a sparse tensor divided by those of a dense one, broadcast."""
    at = _dense_at(sp_indices, sp_shape, dense)
    return xp(sp_values, at).divide(sp_values, at)


@lowering("SparseDenseCwiseAdd", static=("sp_indices", "sp_shape"))
def sparse_dense_cwise_add(sp_indices: np.ndarray, sp_values: Value, sp_shape: np.ndarray, dense: Value) -> Value:
    """The values of a sparse tensor plus those of a dense one, broadcast."""
    at = _dense_at(sp_indices, sp_shape, dense)
    return xp(sp_values, at).add(sp_values, at)
