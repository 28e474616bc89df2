"""Reads the zip of a `.keras` file that nobody vouches for: known members only, each within bounds.

Imports errors only.
"""

import json
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from thaw.errors import CorruptFileError

__all__ = ["KerasArchive", "is_keras_archive", "open_archive", "parse_json"]

_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"
_MOST_MEMBERS = 20_000
_MOST_TEXT = 256 * 2**20
_MOST_INFLATION = 1100
_MOST_DEPTH = 200


class KerasArchive:
    """The open zip of one `.keras` file.

    Attributes:
        path: Where it lies, for errors.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._zip = archive

    def names(self) -> list[str]:
        """The members' names."""
        return self._zip.namelist()

    def text(self, name: str) -> str:
        """A small member, as text."""
        info = self._zip.getinfo(name)
        if info.file_size > _MOST_TEXT:
            raise CorruptFileError(self.path, f"its member {name!r} claims {info.file_size} bytes")
        with self._zip.open(info) as member:
            data = member.read(_MOST_TEXT)
        return data.decode("utf-8")

    def config(self) -> Any:
        """The parsed model config."""
        return parse_json(self.text(_CONFIG), self.path)

    def version(self) -> str:
        """The version of Keras that wrote the file; empty where it does not say."""
        if "metadata.json" not in self.names():
            return ""
        found = parse_json(self.text("metadata.json"), self.path)
        return str(found.get("keras_version", "")) if isinstance(found, dict) else ""

    @contextmanager
    def weights(self) -> Iterator[Path]:
        """A temporary copy of the weights file.

        HDF5 needs a file that it can seek in; a copy on disk keeps large weights out of memory.
        """
        if _WEIGHTS not in self.names():
            raise CorruptFileError(self.path, f"it has no {_WEIGHTS!r}")
        with tempfile.TemporaryDirectory(prefix="thaw-") as folder:
            target = Path(folder) / _WEIGHTS
            with self._zip.open(_WEIGHTS) as member, target.open("wb") as out:
                _copy(member, out)
            yield target


@contextmanager
def open_archive(path: Path) -> Iterator[KerasArchive]:
    """The `.keras` zip at `path`, its members checked.

    Raises:
        CorruptFileError: It is damaged, or a member is unsafe.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check(path, archive)
            yield KerasArchive(path, archive)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, UnicodeDecodeError, OSError) as error:
        raise CorruptFileError(path, f"the zip says {str(error)[:200]!r}") from error


def is_keras_archive(path: Path) -> bool:
    """Whether the file is a zip with a Keras config in it."""
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                return False
        with zipfile.ZipFile(path) as archive:
            return _CONFIG in archive.namelist()
    except (zipfile.BadZipFile, struct.error, OSError, EOFError, NotImplementedError, ValueError):
        return False


def is_of_thaw(path: Path) -> bool:
    """Whether the file is a Keras zip that holds objects of thaw, which Keras itself loads by their registered names."""
    if not is_keras_archive(path):
        return False
    with open_archive(path) as archive:
        return '"thaw>' in archive.text(_CONFIG)


def parse_json(text: str, shown: object) -> Any:
    """The value that `text` means, its nesting bounded.

    Raises:
        CorruptFileError: It is no JSON, or nested too deep.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(shown, f"its config is not JSON ({str(error)[:120]})") from error
    pending = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if depth > _MOST_DEPTH:
            raise CorruptFileError(shown, f"its config is nested deeper than {_MOST_DEPTH}")
        if isinstance(item, dict):
            pending += [(inner, depth + 1) for inner in item.values()]
        elif isinstance(item, list):
            pending += [(inner, depth + 1) for inner in item]
    return value


def _check(path: Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        raise CorruptFileError(path, f"the zip has {len(members)} members")
    total = sum(info.compress_size for info in members)
    if total > path.stat().st_size:
        raise CorruptFileError(path, f"its members claim {total} bytes, more than the file has")
    for info in members:
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise CorruptFileError(
                path, f"the member {info.filename!r} is encrypted or packed in a way that Keras does not write"
            )
        if info.filename.startswith(("/", "\\")) or ".." in info.filename.split("/") or ":" in info.filename:
            raise CorruptFileError(path, f"the member {info.filename!r} points outside the archive")
        if info.file_size > info.compress_size * _MOST_INFLATION + 4096:
            raise CorruptFileError(
                path, f"the member {info.filename!r} would grow from {info.compress_size} to {info.file_size} bytes"
            )


def _copy(member: IO[bytes], out: IO[bytes]) -> None:
    # zipfile stops at the declared size, which was checked against the compressed one.
    shutil.copyfileobj(member, out, 1 << 20)
