"""Counts of values, row by row, as sparse matrices: what Keras' first preprocessing layers asked for. On the host."""

from collections.abc import Sequence

import numpy as np

from thaw.lowering.registry import lowering

Sparse = tuple[np.ndarray, np.ndarray, np.ndarray]


def _counted(
    rows: Sequence[np.ndarray], weights: Sequence[np.ndarray], least: int, most: int, binary: bool, dtype: np.dtype
) -> Sparse:
    """How often (or with which weight) each value stands in each row: indices, counts, dense shape.

    Source: tensorflow/core/kernels/count_ops.cc: values at or above `most` are passed over.
    """
    indices, counts = [], []
    width = 1
    for number, (row, beside) in enumerate(zip(rows, weights, strict=True)):
        if row.size and int(row.min()) < 0:
            raise ValueError(f"Input values must all be non-negative; row {number} has {int(row.min())}")
        kept = row < most if most > 0 else np.ones(row.shape, bool)
        found, place = np.unique(row[kept], return_inverse=True)
        total = np.zeros(found.shape, dtype)
        np.add.at(total, place, beside[kept].astype(dtype) if beside.size else np.ones(1, dtype))
        indices += [(number, int(value)) for value in found]
        counts.append(np.ones_like(total) if binary else total)
        width = max(width, int(found[-1]) + 1 if found.size else 0)
    shape = np.array([len(rows), most if most > 0 else max(width, least)], np.int64)
    values = np.concatenate(counts) if counts else np.zeros(0, dtype)
    return np.array(indices, np.int64).reshape(-1, 2), values, shape


def _vector(answer: Sparse) -> Sparse:
    """The counts of a vector have one axis."""
    indices, values, shape = answer
    return indices[:, 1:], values, shape[1:]


@lowering("DenseCountSparseOutput", host=True, gradient="none", ignored=("output_type",))
def dense_count(
    values: np.ndarray, weights: np.ndarray, *, binary_output: bool, minlength: int = -1, maxlength: int = -1
) -> Sparse:
    """Counts of the values of a vector, or of each row of a matrix."""
    rows = np.atleast_2d(values)
    beside = list(np.atleast_2d(weights)) if weights.size else [weights] * len(rows)
    found = _counted(list(rows), beside, minlength, maxlength, binary_output, weights.dtype)
    return _vector(found) if values.ndim < 2 else found


@lowering("RaggedCountSparseOutput", host=True, gradient="none", ignored=("output_type",))
def ragged_count(
    splits: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    *,
    binary_output: bool,
    minlength: int = -1,
    maxlength: int = -1,
) -> Sparse:
    """Counts of the values of each row of a ragged matrix."""
    rows = np.split(values, splits[1:-1])
    beside = np.split(weights, splits[1:-1]) if weights.size else [weights] * len(rows)
    return _counted(rows, beside, minlength, maxlength, binary_output, weights.dtype)


@lowering("SparseCountSparseOutput", host=True, gradient="none", ignored=("output_type",))
def sparse_count(
    indices: np.ndarray,
    values: np.ndarray,
    dense_shape: np.ndarray,
    weights: np.ndarray,
    *,
    binary_output: bool,
    minlength: int = -1,
    maxlength: int = -1,
) -> Sparse:
    """Counts of the values of a sparse vector, or of each row of a sparse matrix."""
    if len(dense_shape) < 2:
        return _vector(_counted([values], [weights], minlength, maxlength, binary_output, weights.dtype))
    places = [np.flatnonzero(indices[:, 0] == number) for number in range(int(dense_shape[0]))]
    beside = [weights[p] if weights.size else weights for p in places]
    return _counted([values[p] for p in places], beside, minlength, maxlength, binary_output, weights.dtype)
