"""Ops about which values there are: unique values, differences, set operations on rows. All on the host.

Imports numpy.
"""

from typing import Any

import numpy as np

from thaw.errors import UnhandledValueError
from thaw.lowering.registry import lowering
from thaw.lowering.strings import strings


def _unique(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each distinct element of a vector first stands, in that order, and which of them each element is."""
    if x.dtype == object:
        numbers: dict[Any, int] = {}
        inverse = np.array([numbers.setdefault(v, len(numbers)) for v in x.tolist()], dtype=np.int64)
        first = np.full(len(numbers), len(x), dtype=np.int64)
        np.minimum.at(first, inverse, np.arange(len(x)))
        return first, inverse
    _, first, inverse = np.unique(x, return_index=True, return_inverse=True, equal_nan=False)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.ravel()]


def _unique_rows(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
    if x.dtype == object:
        return _unique(strings([b"\0".join(b"%d:" % len(s) + s for s in row) for row in rows.tolist()]))
    keys = strings([row.tobytes() for row in rows])
    return _unique(keys)


@lowering("Unique", host=True, gradient="none")
def unique(x: np.ndarray, *, out_idx: str = "int32") -> tuple[np.ndarray, np.ndarray]:
    """The distinct values in the order of their first occurrence, and the place of each element among them."""
    first, inverse = _unique(x)
    return x[first], inverse.astype(out_idx)


@lowering("ThawEvery", host=True, gradient="none")
def every(x: np.ndarray, *, out_idx: str = "int32") -> tuple[np.ndarray, np.ndarray]:
    """In place of Unique where nothing minds repeated values (see thaw.graph.split_host): all of them, and their places."""
    return x, np.arange(len(x), dtype=out_idx)


@lowering("UniqueWithCounts", host=True, gradient="none")
def unique_with_counts(x: np.ndarray, *, out_idx: str = "int32") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As Unique, and how often each stands there."""
    first, inverse = _unique(x)
    return x[first], inverse.astype(out_idx), np.bincount(inverse, minlength=len(first)).astype(out_idx)


@lowering("UniqueV2", host=True, gradient="none", ignored=("Taxis",))
def unique_v2(x: np.ndarray, axis: np.ndarray, *, out_idx: str = "int32") -> tuple[np.ndarray, np.ndarray]:
    """The distinct slices along an axis, and the place of each among them."""
    values, inverse, _ = unique_with_counts_v2(x, axis, out_idx=out_idx)
    return values, inverse


@lowering("UniqueWithCountsV2", host=True, gradient="none", ignored=("Taxis",))
def unique_with_counts_v2(
    x: np.ndarray, axis: np.ndarray, *, out_idx: str = "int32"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As UniqueV2, and how often each stands there."""
    along = int(axis.item()) % max(x.ndim, 1) if axis.size else 0
    first, inverse = _unique(x) if x.ndim <= 1 else _unique_rows(x, along)
    return np.take(x, first, along), inverse.astype(out_idx), np.bincount(inverse, minlength=len(first)).astype(out_idx)


@lowering("ListDiff", host=True, gradient="none")
def list_diff(x: np.ndarray, y: np.ndarray, *, out_idx: str = "int32") -> tuple[np.ndarray, np.ndarray]:
    """The elements of `x` that are not in `y`, in order, and where they stood."""
    taken = set(y.tolist())
    where = np.array([i for i, v in enumerate(x.tolist()) if v not in taken], dtype=np.int64)
    return x[where], where.astype(out_idx)


Rows = dict[tuple[int, ...], set[Any]]


def _dense_rows(x: np.ndarray) -> Rows:
    flat = x.reshape(-1, x.shape[-1]).tolist() if x.size else [[]] * int(np.prod(x.shape[:-1], dtype=int))
    return dict(zip(np.ndindex(x.shape[:-1]), map(set, flat), strict=True))


def _sparse_rows(indices: np.ndarray, values: np.ndarray) -> Rows:
    rows: Rows = {}
    for row, value in zip(indices[:, :-1].tolist(), values.tolist(), strict=True):
        rows.setdefault(tuple(row), set()).add(value)
    return rows


def _combined(
    op: str, a: Rows, b: Rows, group: tuple[int, ...], dtype: np.dtype[Any], operation: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A set operation row by row, as a sparse tensor of the sorted results."""
    operations = {"a-b": set.difference, "b-a": lambda x, y: y - x, "intersection": set.intersection, "union": set.union}
    combine = operations.get(operation.lower())
    if combine is None:
        raise UnhandledValueError(op, "set_operation", operation, operations)
    indices: list[tuple[int, ...]] = []
    values: list[Any] = []
    longest = 0
    for row in sorted(set(a) | set(b)):
        found = sorted(combine(a.get(row, set()), b.get(row, set())))
        longest = max(longest, len(found))
        indices.extend((*row, i) for i in range(len(found)))
        values.extend(found)
    array = strings(values) if dtype.kind == "O" else np.array(values, dtype=dtype)
    shape = np.array([*group, longest], dtype=np.int64)
    return np.array(indices, dtype=np.int64).reshape(len(values), len(group) + 1), array, shape


@lowering("DenseToDenseSetOperation", host=True, gradient="none", ignored=("validate_indices",))
def dense_to_dense_set_operation(
    set1: np.ndarray, set2: np.ndarray, *, set_operation: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A set operation on the last axes of two tensors, as a sparse tensor."""
    group = set1.shape[:-1]
    return _combined("DenseToDenseSetOperation", _dense_rows(set1), _dense_rows(set2), group, set1.dtype, set_operation)


@lowering("DenseToSparseSetOperation", host=True, gradient="none", ignored=("validate_indices",))
def dense_to_sparse_set_operation(
    set1: np.ndarray,
    set2_indices: np.ndarray,
    set2_values: np.ndarray,
    set2_shape: np.ndarray,
    *,
    set_operation: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As DenseToDenseSetOperation, the second being sparse."""
    second = _sparse_rows(set2_indices, set2_values)
    return _combined("DenseToSparseSetOperation", _dense_rows(set1), second, set1.shape[:-1], set1.dtype, set_operation)


@lowering("SparseToSparseSetOperation", host=True, gradient="none", ignored=("validate_indices",))
def sparse_to_sparse_set_operation(
    set1_indices: np.ndarray,
    set1_values: np.ndarray,
    set1_shape: np.ndarray,
    set2_indices: np.ndarray,
    set2_values: np.ndarray,
    set2_shape: np.ndarray,
    *,
    set_operation: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As DenseToDenseSetOperation, both being sparse."""
    rows = _sparse_rows(set1_indices, set1_values), _sparse_rows(set2_indices, set2_values)
    group = tuple(int(n) for n in set1_shape[:-1])
    return _combined("SparseToSparseSetOperation", *rows, group, set1_values.dtype, set_operation)


@lowering("SetSize", host=True, gradient="none", ignored=("validate_indices",))
def set_size(set_indices: np.ndarray, set_values: np.ndarray, set_shape: np.ndarray) -> np.ndarray:
    """How many distinct values each row of a sparse tensor has."""
    sizes = np.zeros([int(n) for n in set_shape[:-1]], dtype=np.int32)
    for row, found in _sparse_rows(set_indices, set_values).items():
        sizes[row] = len(found)
    return sizes
