"""Opens an HDF5 file that nobody vouches for: no links out of it, no storage elsewhere, no size that its bytes do not back.

Its bytes are looked at before the HDF5 library is, and every object before any array is read. Knows nothing of Keras; imports
h5py, numpy, errors, and `hdf5_structure` and `hdf5_rehearsal`.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from thaw.errors import CorruptFileError, ThawError
from thaw.formats.keras_file.hdf5_rehearsal import rehearse
from thaw.formats.keras_file.hdf5_structure import UnknownStructureError, check

__all__ = ["SIGNATURE", "attribute", "is_hdf5", "names", "open_hdf5", "read_array"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOST_OBJECTS = 200_000
_MOST_DEPTH = 64
# Deflate cannot do better than 1032:1; a page of slack serves small fill-value datasets.
_MOST_INFLATION = 1100
_SLACK = 65_536
_MOST_ATTRIBUTE = 256 * 2**20


def is_hdf5(path: Path) -> bool:
    """Whether the file begins with HDF5's signature."""
    try:
        with path.open("rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


@contextmanager
def open_hdf5(path: Path, shown: object = None) -> Iterator[h5py.File]:
    """The HDF5 file at `path`, each of its objects checked; `shown` names it in errors where `path` is a copy.

    Raises:
        CorruptFileError: The file is damaged, has links or storage outside itself, or declares sizes beyond its bytes.
    """
    shown = path if shown is None else shown
    try:
        _check_bytes(path, shown)
        with h5py.File(path, "r") as file:
            _check(file, shown)
            yield file
    except ThawError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, UnicodeError) as error:
        # What h5py raises for damage is of all these kinds; errors of our own have passed above.
        raise CorruptFileError(shown, f"HDF5 says {str(error)[:200]!r}") from error


def _check_bytes(path: Path, shown: object) -> None:
    """Raises where the HDF5 library would crash or loop: by its structures, or where those are not known, by a trial."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            check(data, shown)
    except UnknownStructureError:
        if problem := rehearse(path):
            raise CorruptFileError(shown, f"HDF5 says {problem!r}") from None


def names(group: h5py.Group) -> list[str]:
    """The names in `group`, as text."""
    return [str(name) for name in group]


def read_array(dataset: Any, shown: object) -> np.ndarray[Any, Any]:
    """The values of a dataset of numbers."""
    if not isinstance(dataset, h5py.Dataset):
        raise CorruptFileError(shown, f"a group lies where an array was expected ({getattr(dataset, 'name', dataset)!r})")
    if dataset.dtype.kind not in "fiub" and dataset.dtype.kind != "V":
        raise CorruptFileError(shown, f"array {dataset.name!r} has the type {dataset.dtype}, not numbers")
    return np.asarray(dataset[()])


def attribute(group: Any, name: str, shown: object) -> Any:
    """An attribute of `group`: text decoded, lists of text as lists, absent as None.

    Keras splits long lists over `name0`, `name1`, ...; they come back as one.
    """
    if name in group.attrs:
        return _decoded(_bounded(group, name, shown))
    if f"{name}0" not in group.attrs:
        return None
    parts: list[Any] = []
    for index in range(_MOST_OBJECTS):
        if f"{name}{index}" not in group.attrs:
            break
        part = _decoded(_bounded(group, f"{name}{index}", shown))
        parts += part if isinstance(part, list) else [part]
    return parts


def _bounded(group: Any, name: str, shown: object) -> Any:
    identifier = group.attrs.get_id(name)
    claimed = math.prod(identifier.shape or (0,)) * identifier.dtype.itemsize
    if claimed > _MOST_ATTRIBUTE:
        raise CorruptFileError(shown, f"the attribute {name!r} claims {claimed} bytes")
    return group.attrs[name]


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return _decoded(value.item())
        return [_decoded(item) for item in value.tolist()]
    if isinstance(value, h5py.Empty):
        return []
    return value


def _check(file: h5py.File, shown: object) -> None:
    seen: set[int] = set()
    pending: list[tuple[h5py.Group, int]] = [(file, 0)]
    while pending:
        group, depth = pending.pop()
        if depth > _MOST_DEPTH:
            raise CorruptFileError(shown, f"groups are nested deeper than {_MOST_DEPTH}")
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                target = getattr(link, "filename", None) or getattr(link, "path", "")
                raise CorruptFileError(shown, f"{name!r} is a link to {target!r}, and links are not followed")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                if isinstance(item, h5py.Group):
                    raise CorruptFileError(shown, f"the group {name!r} occurs twice")
                continue
            seen.add(address)
            if len(seen) > _MOST_OBJECTS:
                raise CorruptFileError(shown, f"it holds more than {_MOST_OBJECTS} objects")
            if isinstance(item, h5py.Group):
                pending.append((item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                _check_dataset(item, shown)


def _check_dataset(dataset: h5py.Dataset, shown: object) -> None:
    properties = dataset.id.get_create_plist()
    if dataset.is_virtual or properties.get_external_count():
        raise CorruptFileError(shown, f"array {dataset.name!r} keeps its values in other files")
    if dataset.shape is None:
        return
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    bound = stored * (_MOST_INFLATION if properties.get_nfilters() else 1) + _SLACK
    if declared > bound:
        raise CorruptFileError(shown, f"array {dataset.name!r} claims {declared} bytes and {stored} are stored")
