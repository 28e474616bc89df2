"""Ragged tensors: flat values and row splits. Splits are known on the host; values may be on the device, with gradients.

Also what counts values (Bincount and its kin), which ragged code uses to find out row lengths. Imports numpy and keras.ops.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.lowering.registry import lowering
from thaw.lowering.sparse import segment_sum, sparse_fill_empty_rows, take
from thaw.lowering.strings import row_splits
from thaw.lowering.values import Value, dtype_of, is_host, known, on_device


def _row_lengths(types: Sequence[str], partitions: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The lengths of the rows at each level, whatever form the row partitions have."""
    lengths: list[np.ndarray] = []
    rows = -1
    for kind, partition in zip(types, partitions, strict=True):
        if kind == "FIRST_DIM_SIZE":
            rows = int(partition)
        elif kind == "ROW_SPLITS":
            lengths.append(np.diff(partition))
            rows = int(partition[-1])
        elif kind == "VALUE_ROWIDS":
            lengths.append(np.bincount(partition, minlength=rows) if partition.size else np.zeros(max(rows, 0), np.int64))
            rows = len(partition)
        else:
            raise UnhandledValueError(
                "RaggedTensorToTensor", "row_partition_types", kind, ("FIRST_DIM_SIZE", "ROW_SPLITS", "VALUE_ROWIDS")
            )
    return lengths


@lowering("RaggedTensorToTensor", static=("shape",), ignored=("Tindex", "num_row_partition_tensors"))
def ragged_tensor_to_tensor(
    shape: np.ndarray, values: Value, default_value: Value, *row_partition_tensors: Value, row_partition_types: tuple[str, ...]
) -> Value:
    """The dense tensor of a ragged one: rows cut or filled with the default to the given or the greatest length."""
    partitions = [known(p, f"row_partition_tensors[{i}]") for i, p in enumerate(row_partition_tensors)]
    lengths = _row_lengths(row_partition_types, partitions)
    wanted = [int(n) for n in shape] if shape.ndim else [-1] * (len(lengths) + len(values.shape))
    rows = len(lengths[0])
    outer = [wanted[0] if wanted[0] >= 0 else rows]
    # Where each row of a level begins in the flattened result; -1 for what is cut off.
    places = np.where(np.arange(rows) < outer[0], np.arange(rows), -1)
    for level, sizes in enumerate(lengths):
        size = wanted[level + 1] if wanted[level + 1] >= 0 else int(sizes.max(initial=0))
        outer.append(size)
        parent = np.repeat(places, sizes)
        column = np.arange(len(parent)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        places = np.where((parent >= 0) & (column < size), parent * size + column, -1)
    inner = tuple(n if w < 0 else w for n, w in zip(values.shape[1:], wanted[len(lengths) + 1 :], strict=False))
    total = int(np.prod(outer, dtype=np.int64))
    kept = np.flatnonzero(places >= 0)
    if is_host(values) and is_host(default_value):
        dense = np.empty((total, *inner), dtype=values.dtype)
        dense[...] = default_value
        dense[places[kept]] = values[kept]
        return dense.reshape((*outer, *inner))
    filler = ops.broadcast_to(ops.cast(default_value, dtype_of(values)), (1, *inner))
    source = np.zeros(total, dtype=np.int32)  # 0 is the filler, i + 1 the value i
    source[places[kept]] = kept + 1
    rows_of = ops.concatenate([filler, on_device(values)], axis=0)
    return ops.reshape(take(rows_of, source), (*outer, *inner))


@lowering("RaggedTensorToSparse", gradient="none", host=True)
def ragged_tensor_to_sparse(*inputs: np.ndarray, RAGGED_RANK: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sparse tensor of a ragged one: indices, values, dense shape."""
    splits, values = inputs[:RAGGED_RANK], inputs[RAGGED_RANK]
    columns: list[np.ndarray] = [np.arange(len(splits[0]) - 1)]
    shape = [len(splits[0]) - 1]
    for level in splits:
        sizes = np.diff(level)
        columns = [np.repeat(c, sizes) for c in columns]
        columns.append(np.arange(int(level[-1])) - np.repeat(level[:-1], sizes))
        shape.append(int(sizes.max(initial=0)))
    inner = values.shape[1:]
    if inner:
        count = int(np.prod(inner, dtype=np.int64))
        rest = np.unravel_index(np.tile(np.arange(count), len(values)), inner)
        columns = [np.repeat(c, count) for c in columns] + list(rest)
    indices = np.stack(columns, axis=1).astype(np.int64)
    return indices, values.reshape(-1), np.array([*shape, *inner], dtype=np.int64)


@lowering("RaggedGather", ignored=("Tvalues", "OUTPUT_RAGGED_RANK"))
def ragged_gather(*inputs: Value, PARAMS_RAGGED_RANK: int) -> tuple[Value, ...]:
    """Rows of a ragged tensor: the splits of the result, level by level, then its values."""
    splits = [known(s, "params_nested_splits") for s in inputs[:PARAMS_RAGGED_RANK]]
    values, indices = inputs[PARAMS_RAGGED_RANK], known(inputs[PARAMS_RAGGED_RANK + 1], "indices")
    dtype = splits[0].dtype.name
    outer = []
    if indices.ndim > 1:  # the axes of `indices` but the last one are uniform rows
        shape = indices.shape
        for axis in range(1, indices.ndim):
            count = int(np.prod(shape[:axis], dtype=np.int64))
            outer.append((np.arange(count + 1) * shape[axis]).astype(dtype))
    where = indices.ravel()
    inner = []
    for level in splits:
        starts, sizes = level[:-1][where], np.diff(level)[where]
        inner.append(row_splits(sizes, dtype))
        where = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
    return (*outer, *inner, take(values, where))


@lowering("RaggedRange", host=True, gradient="none")
def ragged_range(
    starts: np.ndarray, limits: np.ndarray, deltas: np.ndarray, *, Tsplits: str = "int64"
) -> tuple[np.ndarray, np.ndarray]:
    """Ranges, one a row: row splits and values."""
    shape = np.broadcast_shapes(starts.shape, limits.shape, deltas.shape)
    columns = [np.broadcast_to(x, shape).ravel() for x in (starts, limits, deltas)]
    rows = [np.arange(b, e, d, dtype=starts.dtype) for b, e, d in zip(*columns, strict=True)]
    values = np.concatenate(rows) if rows else np.zeros(0, starts.dtype)
    return row_splits([len(r) for r in rows], Tsplits), values


def _count(places: Value, total: int, weights: Value, binary: bool, dtype: str) -> Value:
    """How often (or with which total weight) each place stands there; negative places are passed over."""
    weighted = weights.shape[0] if len(weights.shape) else 0
    if is_host(places) and is_host(weights):
        kept = (places >= 0) & (places < total)
        if binary:
            found = np.zeros(total, dtype)
            found[places[kept]] = 1
            return found
        return np.bincount(places[kept], weights.ravel()[kept] if weights.size else None, total)[:total].astype(dtype)
    ones = on_device(weights) if weighted else ops.ones_like(places, dtype=dtype)
    inside = ops.where(ops.logical_and(places >= 0, places < total), places, total)
    found = segment_sum(ops.reshape(ones, (-1,)), inside, total + 1)[:total]
    return ops.cast(found > 0, dtype) if binary else found


@lowering("Bincount", static=("size",), gradient="none")
def bincount(arr: Value, size: np.ndarray, weights: Value) -> Value:
    """How often each of the numbers below `size` stands there, or the total of the weights that stand beside it."""
    flat = arr.reshape(-1) if is_host(arr) else ops.reshape(arr, (-1,))
    flat_weights = weights.reshape(-1) if is_host(weights) else ops.reshape(weights, (-1,))
    return _count(flat, int(size), flat_weights, False, dtype_of(weights))


@lowering("DenseBincount", static=("size",), gradient="none")
def dense_bincount(input: Value, size: np.ndarray, weights: Value, *, binary_output: bool = False) -> Value:
    """As Bincount, of a vector or of each row of a matrix; with `binary_output` only whether it is there."""
    dtype, number = dtype_of(weights), int(size)
    if len(input.shape) == 1:
        return _count(input, number, weights, binary_output, dtype)
    rows = int(input.shape[0])
    offsets = np.arange(rows, dtype=np.int32)[:, None] * number
    if is_host(input):
        places: Value = np.where((input >= 0) & (input < number), input + offsets, -1).reshape(-1)
        flat = weights.reshape(-1) if is_host(weights) else ops.reshape(weights, (-1,))
        return _reshaped(_count(places, rows * number, flat, binary_output, dtype), rows, number)
    inside = ops.logical_and(input >= 0, input < number)
    places = ops.reshape(ops.where(inside, ops.add(ops.cast(input, "int32"), offsets), -1), (-1,))
    return _reshaped(_count(places, rows * number, ops.reshape(weights, (-1,)), binary_output, dtype), rows, number)


def _reshaped(value: Value, rows: int, columns: int) -> Value:
    return value.reshape(rows, columns) if is_host(value) else ops.reshape(value, (rows, columns))


@lowering("RaggedBincount", host=True, gradient="none")
def ragged_bincount(
    splits: np.ndarray, values: np.ndarray, size: np.ndarray, weights: np.ndarray, *, binary_output: bool = False
) -> np.ndarray:
    """As Bincount, row by row of a ragged matrix: (rows, size)."""
    number = int(size)
    rows = np.repeat(np.arange(len(splits) - 1), np.diff(splits))
    places = np.where((values >= 0) & (values < number), rows * number + values, -1)
    found = _count(places, (len(splits) - 1) * number, weights.reshape(-1), binary_output, dtype_of(weights))
    return np.asarray(found.reshape(len(splits) - 1, number))


@lowering("SparseBincount", host=True, gradient="none")
def sparse_bincount(
    indices: np.ndarray,
    values: np.ndarray,
    dense_shape: np.ndarray,
    size: np.ndarray,
    weights: np.ndarray,
    *,
    binary_output: bool = False,
) -> np.ndarray:
    """As Bincount, of a sparse vector or of each row of a sparse matrix."""
    number, flat = int(size), weights.reshape(-1)
    if len(dense_shape) == 1:
        return np.asarray(_count(values, number, flat, binary_output, dtype_of(weights)))
    rows = int(dense_shape[0])
    places = np.where((values >= 0) & (values < number), indices[:, 0] * number + values, -1)
    return np.asarray(_count(places, rows * number, flat, binary_output, dtype_of(weights)).reshape(rows, number))


@lowering("RaggedFillEmptyRows", static=("value_rowids", "nrows"))
def ragged_fill_empty_rows(
    value_rowids: np.ndarray, values: Value, nrows: np.ndarray, default_value: Value
) -> tuple[Value, Value, np.ndarray, np.ndarray]:
    """With one default value in each empty row: row of each value, values, which rows were empty, where each value went."""
    indices = np.stack([value_rowids, np.zeros_like(value_rowids)], axis=1)
    filled, kept, empty, moved = sparse_fill_empty_rows(indices, values, np.array([nrows.item(), 1]), default_value)
    return filled[:, 0], kept, empty, moved


class RaggedRows:
    """A ragged tensor as one value: what travels as a variant.

    Attributes:
        splits: level by level, perhaps none.
        values: flat.
    """

    def __init__(self, splits: Sequence[np.ndarray], values: Value) -> None:
        self.splits = list(splits)
        self.values = values

    def rows(self) -> "list[RaggedRows]":
        """Each row, one level less deep."""
        if not self.splits:
            return [RaggedRows([], self.values[i]) for i in range(self.values.shape[0])]
        result = []
        for begin, end in itertools.pairwise(self.splits[0].tolist()):
            inner = []
            for level in self.splits[1:]:
                part = level[begin : end + 1]
                begin, end = int(part[0]), int(part[-1])
                inner.append(part - part[0])
            result.append(RaggedRows(inner, self.values[begin:end]))
        return result


@lowering("RaggedTensorToVariant", gradient="none", ignored=("Tvalues", "Tsplits"))
def ragged_tensor_to_variant(*inputs: Value, RAGGED_RANK: int, batched_input: bool) -> Value:
    """A ragged tensor as one value, or as a vector of values, one a row."""
    splits = [known(s, "rt_nested_splits") for s in inputs[:RAGGED_RANK]]
    whole = RaggedRows(splits, inputs[RAGGED_RANK])
    if not batched_input:
        return np.array(whole, dtype=object)
    rows = whole.rows()
    result = np.empty(len(rows), dtype=object)
    result[:] = rows
    return result


@lowering("RaggedTensorFromVariant", gradient="none", ignored=("Tvalues",))
def ragged_tensor_from_variant(
    encoded_ragged: np.ndarray, *, input_ragged_rank: int, output_ragged_rank: int, Tsplits: str = "int64"
) -> tuple[Value, ...]:
    """The ragged tensor of a value, or of a tensor of values side by side: its splits, level by level, then its values."""
    if encoded_ragged.ndim == 0:
        whole = encoded_ragged.item()
        return (*(s.astype(Tsplits) for s in whole.splits), whole.values)
    parts = encoded_ragged.ravel().tolist()
    outer = []
    for axis in range(1, encoded_ragged.ndim):
        count = int(np.prod(encoded_ragged.shape[:axis], dtype=np.int64))
        outer.append((np.arange(count + 1) * encoded_ragged.shape[axis]).astype(Tsplits))
    depth = output_ragged_rank - encoded_ragged.ndim if input_ragged_rank < 0 else input_ragged_rank
    levels = [row_splits([len(p.splits[0]) - 1 if depth else p.values.shape[0] for p in parts], Tsplits)]
    for level in range(depth):
        levels.append(row_splits(np.concatenate([np.diff(p.splits[level]) for p in parts]), Tsplits))
    values = [p.values for p in parts]
    flat = np.concatenate(values) if all(is_host(v) for v in values) else ops.concatenate(values, axis=0)
    return (*outer, *levels, flat)
