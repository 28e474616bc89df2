"""Arrays of strings on the host: object arrays of bytes, as TensorFlow's string tensors are bytes.

Helpers that the families of text ops share; no op is here. Imports numpy only.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Strings = np.ndarray
"""An object array of bytes."""


def strings(items: Iterable[bytes], shape: tuple[int, ...] | None = None) -> Strings:
    """An object array of the byte strings `items`, of that shape (a vector by default)."""
    every = list(items)
    array = np.empty(len(every), dtype=object)
    array[:] = every
    return array if shape is None else array.reshape(shape)


def each(function: Callable[[bytes], bytes], array: Strings) -> Strings:
    """`function` of every element, in the shape of `array`."""
    return strings([function(s) for s in array.ravel().tolist()], array.shape)


def as_strings(value: Any) -> Strings:
    """What a user may call strings (str, bytes, nested lists, arrays of any of them) as an object array of bytes (UTF-8)."""
    array = np.asarray(value)
    if array.dtype.kind == "U":
        flat = [s.encode() for s in array.ravel().tolist()]
    elif array.dtype.kind == "S":
        flat = array.ravel().tolist()
    else:
        array = np.asarray(value, dtype=object)
        flat = [s if isinstance(s, bytes) else str(s).encode() for s in array.ravel().tolist()]
    return strings(flat, array.shape)


def row_splits(lengths: Sequence[int] | np.ndarray, dtype: str = "int64") -> np.ndarray:
    """Where each row begins, and where the last one ends: (rows + 1,)."""
    splits = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(np.asarray(lengths, dtype=np.int64), out=splits[1:])
    return splits.astype(dtype)


def sparse_rows(rows: Sequence[Sequence[bytes]]) -> tuple[np.ndarray, Strings, np.ndarray]:
    """Lists of different lengths as a sparse matrix: indices (n, 2), values (n,), dense shape (2,)."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    starts = np.cumsum(lengths) - lengths
    total = int(lengths.sum())
    indices = np.empty((total, 2), dtype=np.int64)
    indices[:, 0] = np.repeat(np.arange(len(rows), dtype=np.int64), lengths)
    indices[:, 1] = np.arange(total, dtype=np.int64) - np.repeat(starts, lengths)
    values = strings(itertools.chain.from_iterable(rows))
    return indices, values, np.array([len(rows), lengths.max(initial=0)], dtype=np.int64)


def utf8_starts(data: bytes) -> np.ndarray:
    """The offsets at which a UTF-8 character begins: every byte that is not a continuation byte."""
    codes = np.frombuffer(data, dtype=np.uint8)
    return np.flatnonzero((codes & 0xC0) != 0x80)
