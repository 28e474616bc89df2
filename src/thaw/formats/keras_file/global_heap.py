"""Looks at an HDF5 file's heaps of strings before the HDF5 library does: a damaged one makes it loop without end.

A heap ends with its free space, an object with index 0 whose size leads to the end; where that size is 0 the library goes
nowhere. Reads bytes only.
Source: HDF5 File Format Specification 3.0, III.E "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import mmap
from pathlib import Path

from thaw.errors import CorruptFileError

__all__ = ["check_global_heaps"]

_SIGNATURE = b"GCOL\x01\0\0\0"


def check_global_heaps(path: Path, shown: object) -> None:
    """Raises where a heap of the HDF5 file at `path` would trap its reader.

    Raises:
        CorruptFileError: An object of a heap leads nowhere or outside.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        length = _size_of_lengths(data)
        start = data.find(_SIGNATURE)
        while start >= 0:
            _check_heap(data, start, length, shown)
            start = data.find(_SIGNATURE, start + len(_SIGNATURE))


def _size_of_lengths(data: mmap.mmap) -> int:
    """Bytes of a length in this file, from its superblock: 8 but in exotic files."""
    version = data[8] if len(data) > 16 else 0
    size = data[14] if version < 2 and len(data) > 16 else data[10] if len(data) > 16 else 8
    return size if size in (2, 4, 8) else 8


def _check_heap(data: mmap.mmap, start: int, length: int, shown: object) -> None:
    end = start + int.from_bytes(data[start + 8 : start + 8 + length], "little")
    at = start + 8 + length
    if end > len(data):
        raise CorruptFileError(shown, f"a heap of strings at byte {start} ends outside the file")
    while at + 8 + length <= end:
        index = int.from_bytes(data[at : at + 2], "little")
        size = int.from_bytes(data[at + 8 : at + 8 + length], "little")
        # Free space counts its own header; other objects do not, and are padded to eight bytes.
        step = size if index == 0 else 8 + length + -(-size // 8) * 8
        if step <= 0 or at + step > end:
            raise CorruptFileError(shown, f"object {index} of the heap of strings at byte {start} has the size {size}")
        at += step
