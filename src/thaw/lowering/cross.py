"""Crosses of features: every combination of one value from each column, row by row, joined as text or hashed. On the host.

Columns are sparse matrices, dense matrices, or (RaggedCross) ragged ones; numbers count as they are, strings by Fingerprint64.
Imports numpy.
Source: tensorflow/core/kernels/{sparse_cross_op,ragged_cross_op}.cc.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from thaw.errors import UnhandledValueError
from thaw.lowering.hashing import by_length, concatenated, fingerprint64, siphash
from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, row_splits, strings

Column = list[list[Any]]
"""The values of each row."""

MAX_INT64 = np.uint64(2**63 - 1)


def _columns(inputs: Sequence[np.ndarray], count: int, convert: Callable[[np.ndarray], np.ndarray]) -> list[Column]:
    """The columns of an op's inputs: `count` sparse ones as indices, values and shapes, then dense ones."""
    indices, values, shapes = inputs[:count], inputs[count : 2 * count], inputs[2 * count : 3 * count]
    columns = []
    for where, what, shape in zip(indices, values, shapes, strict=True):
        ends = np.searchsorted(where[:, 0], np.arange(int(shape[0]) + 1))
        flat = convert(what).tolist()
        columns.append([flat[b:e] for b, e in itertools.pairwise(ends.tolist())])
    columns += [convert(dense).tolist() for dense in inputs[3 * count :]]
    return columns


def _as_text(values: np.ndarray) -> Strings:
    if values.dtype.kind == "O":
        return values
    return strings([b"%d" % v for v in values.ravel().tolist()], values.shape)


def _as_hash(values: np.ndarray) -> np.ndarray:
    return by_length(values, fingerprint64) if values.dtype.kind == "O" else values.astype(np.int64).view(np.uint64)


def _crossed(columns: Sequence[Column]) -> tuple[list[tuple[Any, ...]], list[int]]:
    """All combinations, the last column varying fastest, and how many each row has."""
    rows = [list(itertools.product(*row)) for row in zip(*columns, strict=True)]
    return [c for row in rows for c in row], [len(row) for row in rows]


def _hashed(combinations: Sequence[tuple[int, ...]], width: int, buckets: int, start: int | None) -> np.ndarray:
    """The bucket of each combination, its features concatenated one by one to `start`, or to the first of them."""
    features = np.array(combinations, dtype=np.uint64).reshape(len(combinations), width)
    parts = list(features.T)
    first = None if start is None else np.full(len(combinations), np.uint64(start & 0xFFFFFFFFFFFFFFFF))
    found = parts.pop(0) if first is None else first
    for part in parts:
        found = concatenated(found, part)
    return (found % (np.uint64(buckets) if buckets > 0 else MAX_INT64)).astype(np.int64)


def _sparse(values: np.ndarray, counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lengths = np.array(counts, dtype=np.int64)
    row = np.repeat(np.arange(len(counts)), lengths)
    column = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    shape = np.array([len(counts), lengths.max(initial=0)], dtype=np.int64)
    return np.stack([row, column], axis=1).astype(np.int64), values, shape


def _joined(columns: Sequence[Column], separator: bytes) -> tuple[Strings, list[int]]:
    combinations, counts = _crossed(columns)
    return strings([separator.join(c) for c in combinations]), counts


@lowering("SparseCross", host=True, gradient="none", ignored=("sparse_types", "dense_types", "internal_type"))
def sparse_cross(
    *inputs: np.ndarray, N: int, hashed_output: bool, num_buckets: int, hash_key: int, out_type: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The crosses of sparse and dense columns, as a sparse matrix of strings or of bucket numbers."""
    if not hashed_output:
        return _sparse(*_joined(_columns(inputs, N, _as_text), b"_X_"))
    columns = _columns(inputs, N, _as_hash)
    combinations, counts = _crossed(columns)
    return _sparse(_hashed(combinations, len(columns), num_buckets, hash_key), counts)


@lowering("SparseCrossV2", host=True, gradient="none", ignored=("sparse_types", "dense_types"))
def sparse_cross_v2(*inputs: np.ndarray, N: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The crosses of sparse and dense columns joined by a separator, as a sparse matrix of strings."""
    return _sparse(*_joined(_columns(inputs[:-1], N, _as_text), inputs[-1].item()))


@lowering("SparseCrossHashed", host=True, gradient="none", ignored=("sparse_types", "dense_types"))
def sparse_cross_hashed(*inputs: np.ndarray, N: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The crosses of sparse and dense columns hashed under a salt, as a sparse matrix of bucket numbers."""
    *columns_of, buckets, strong, salt = inputs
    key = (int(salt[0]), int(salt[1]))

    def convert(values: np.ndarray) -> np.ndarray:
        if values.dtype.kind != "O":  # TensorFlow 2.21 reads foreign memory there, or stops the process
            raise UnhandledValueError("SparseCrossHashed", "sparse_types", values.dtype.name, ("string",))
        return by_length(values, (lambda rows, length: siphash(rows, length, key)) if bool(strong) else fingerprint64)

    columns = _columns(columns_of, N, convert)
    combinations, counts = _crossed(columns)
    return _sparse(_hashed(combinations, len(columns), int(buckets), None), counts)


@lowering("RaggedCross", host=True, gradient="none", ignored=("out_values_type",))
def ragged_cross(
    *inputs: np.ndarray,
    Nsparse: int,
    input_order: str,
    hashed_output: bool,
    num_buckets: int,
    hash_key: int,
    ragged_values_types: tuple[str, ...],
    ragged_splits_types: tuple[str, ...],
    sparse_values_types: tuple[str, ...],
    dense_types: tuple[str, ...],
    out_row_splits_type: str,
) -> tuple[np.ndarray, np.ndarray]:
    """The crosses of ragged, sparse and dense columns, in the order that `input_order` spells (R, S, D), as a ragged matrix."""
    convert = _as_hash if hashed_output else _as_text
    count = len(ragged_values_types)
    ragged: list[Column] = []
    for values, splits in zip(inputs[:count], inputs[count : 2 * count], strict=True):
        flat = convert(values).tolist()
        ragged.append([flat[b:e] for b, e in itertools.pairwise(splits.tolist())])
    others = _columns(inputs[2 * count :], Nsparse, convert)
    queues = {"R": iter(ragged), "S": iter(others[:Nsparse]), "D": iter(others[Nsparse:])}
    columns = [next(queues[letter]) for letter in input_order]
    if not hashed_output:
        joined, counts = _joined(columns, b"_X_")
        return joined, row_splits(counts, out_row_splits_type)
    combinations, counts = _crossed(columns)
    return _hashed(combinations, len(columns), num_buckets, hash_key), row_splits(counts, out_row_splits_type)
