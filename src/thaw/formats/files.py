"""The files of one artifact, by relative name, wherever they lie: a folder, one file, or memory.

A name uses forward slashes and never leaves the folder. Nothing here knows what is in the files. Imports errors only.
"""

import contextlib
import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from thaw.errors import CorruptFileError, MissingFileError, UnsafePathError

LARGEST_READ = 2**31 - 1
"""Bytes of the largest file that is read whole: protobuf's own bound. Larger ones are only mapped."""

MOST_FILES = 100_000
"""Files that a folder may hold before it is taken for something else than an artifact."""


def checked(name: str) -> str:
    """`name` if it is a relative path that stays inside its folder.

    Raises:
        UnsafePathError: it is absolute, empty, climbs out, or holds characters that some system reads as a separator.
    """
    parts = name.split("/")
    if not name or ".." in parts or name.startswith("/") or any(c in name for c in "\\\0:"):
        raise UnsafePathError(name)
    return name


def give_back(mapped: memoryview, start: int, stop: int) -> None:
    """Lets the system forget the resident pages of bytes `start` to `stop` of what `Files.map` gave; read again, they come back.

    Pages of a mapped file count as the process's own memory until then: weights that were copied from it would count twice.
    Nothing happens where the bytes are not mapped, or the system has no such call.
    """
    source = mapped.obj
    if isinstance(source, mmap.mmap) and hasattr(source, "madvise"):
        start -= start % mmap.PAGESIZE
        source.madvise(mmap.MADV_DONTNEED, start, stop - start)


class Files(Protocol):
    """Named files. Every method takes a relative name with forward slashes."""

    origin: str
    """Where they come from, for messages."""

    def list(self) -> tuple[str, ...]:
        """All names, sorted."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        ...

    def read(self, name: str) -> bytes:
        """The whole file."""
        ...

    def map(self, name: str) -> memoryview:
        """The whole file, memory-mapped where it can be; stays valid as long as a view of it is held."""
        ...


class MemoryFiles:
    """Files held in memory, as `Artifact.files` gives them."""

    def __init__(self, files: Mapping[str, bytes], origin: str = "<memory>") -> None:
        self.files = {checked(name): data for name, data in files.items()}
        self.origin = origin

    def list(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self.files))

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return name in self.files

    def read(self, name: str) -> bytes:
        """The whole file.

        Raises:
            MissingFileError: there is none.
        """
        if checked(name) not in self.files:
            raise MissingFileError(self.origin, name)
        return self.files[name]

    def map(self, name: str) -> memoryview:
        """The whole file."""
        return memoryview(self.read(name))


class DirectoryFiles:
    """The files under a folder, or a single file as if it were alone in its folder.

    Symbolic links are followed only to places inside the folder, or into the `blobs` folder of a Hugging Face cache whose
    snapshot this is.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = Path(path)
        self.origin = str(given)
        self.only = given.name if given.is_file() else None
        self.root = (given.parent if self.only else given).absolute()
        real = Path(os.path.realpath(self.root))
        snapshots = [p for p in self.root.parents if p.name == "snapshots"]
        self._inside = [real, *(Path(os.path.realpath(p.parent / "blobs")) for p in snapshots)]
        self._names: tuple[str, ...] | None = None

    def list(self) -> tuple[str, ...]:
        """All names, sorted.

        Raises:
            CorruptFileError: the folder holds too many files to be an artifact.
        """
        if self.only:
            return (self.only,)
        if self._names is None:
            names: list[str] = []
            for folder, below, files in os.walk(self.root):
                below[:] = sorted(d for d in below if not d.startswith("."))
                names += [(Path(folder) / f).relative_to(self.root).as_posix() for f in files]
                if len(names) > MOST_FILES:
                    raise CorruptFileError(self.origin, f"the folder holds more than {MOST_FILES} files, too many for a model")
            self._names = tuple(sorted(names))
        return self._names

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return (self.only is None or name == self.only) and (self.root / checked(name)).is_file()

    def _path(self, name: str) -> Path:
        if not self.exists(name):
            raise MissingFileError(self.origin, name)
        path = self.root / name
        real = Path(os.path.realpath(path))
        if self.only is None and not any(real.is_relative_to(place) for place in self._inside):
            raise UnsafePathError(name, str(real))
        return path

    def read(self, name: str) -> bytes:
        """The whole file.

        Raises:
            MissingFileError: there is none.
            UnsafePathError: the name, or a link behind it, leaves the folder.
            CorruptFileError: it cannot be read, or is larger than such a file can be.
        """
        path = self._path(name)
        with self._readable(path):
            size = path.stat().st_size
            if size > LARGEST_READ:
                raise CorruptFileError(path, f"it has {size} bytes, and at most {LARGEST_READ} can be a file of this kind")
            return path.read_bytes()

    def map(self, name: str) -> memoryview:
        """The whole file, memory-mapped.

        Raises:
            MissingFileError: there is none.
            UnsafePathError: the name, or a link behind it, leaves the folder.
            CorruptFileError: it cannot be read.
        """
        path = self._path(name)
        with self._readable(path), path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    @staticmethod
    @contextlib.contextmanager
    def _readable(path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CorruptFileError(path, f"the system answers {error.strerror or error!r}") from error
