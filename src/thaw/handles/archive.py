"""Unpacks a .tar.gz or .tar archive, trusting nothing in it.

Plain files and folders by relative names, and nothing else: no links, devices, sparse files, absolute names or `..`.
Bytes, their ratio to the archive's own, members and name lengths are bounded while reading, before disk or memory is
taken. The archive is read once, forwards. Imports errors only; knows nothing of handles or the cache.
"""

import gzip
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from thaw.errors import CorruptArchiveError, UnsafeArchiveError
from thaw.handles.progress import Meter

CHUNK = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
TAR_MAGIC = b"ustar"
TAR_MAGIC_AT = 257


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may ask for. Far beyond any published module, far below what fills a disk by accident."""

    total: int = 64 << 30
    """Bytes of all files together."""
    ratio: int = 200
    """Bytes unpacked for each byte of the archive; weights that are all one value reach about 100."""
    grace: int = 256 << 20
    """Bytes below which the ratio is not looked at."""
    members: int = 100_000
    name: int = 1024
    """Bytes of one member's name."""
    part: int = 255
    """Bytes of one part of it: what file systems take."""


LIMITS = Limits()


def is_archive(path: Path) -> bool:
    """Whether the file begins like a gzip or tar file."""
    with path.open("rb") as file:
        head = file.read(TAR_MAGIC_AT + len(TAR_MAGIC))
    return head.startswith(GZIP_MAGIC) or head[TAR_MAGIC_AT:] == TAR_MAGIC


def safe_parts(archive: object, name: str, limits: Limits = LIMITS) -> tuple[str, ...]:
    """The parts of a member's relative name; empty for the folder itself.

    Raises:
        UnsafeArchiveError: the name is absolute, climbs with `..`, is too long, or is not one on every system.
    """
    path = PurePosixPath(name)
    windows = PureWindowsPath(name)
    if path.is_absolute() or windows.drive or windows.root:
        raise UnsafeArchiveError(archive, name, "its name is absolute")
    if ".." in path.parts or ".." in windows.parts:
        raise UnsafeArchiveError(archive, name, "its name climbs out of the folder with '..'")
    if "\\" in name or "\0" in name:
        raise UnsafeArchiveError(archive, name, "its name has a backslash or a zero byte")
    encoded = [part.encode("utf-8", "surrogateescape") for part in path.parts]
    if sum(map(len, encoded)) > limits.name or any(len(part) > limits.part for part in encoded):
        short = f"{name[:60]}..."
        raise UnsafeArchiveError(archive, short, f"its name is longer than {limits.name} bytes ({limits.part} a part)")
    return path.parts


class _Forward:
    """A gzip or tar stream read forwards, counting, and never more at a time than a header may need."""

    def __init__(self, raw: BinaryIO, size: int, archive: object, limits: Limits, meter: Meter) -> None:
        self._raw, self._size, self._archive, self._limits, self._meter = raw, size, archive, limits, meter
        self.compressed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        raw.seek(0)
        self._stream: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=raw, mode="rb") if self.compressed else raw
        self._position = 0
        self._shown = 0
        self.member = ""
        """The member that was begun last, for messages."""
        self.last = b""
        """What the last read gave."""

    def read(self, count: int) -> bytes:
        if count < 0 or count > CHUNK:
            raise UnsafeArchiveError(self._archive, self.member, f"a header of {count} bytes")
        self.last = self._stream.read(count)
        self._position += len(self.last)
        allowed = max(self._size * self._limits.ratio, self._limits.grace)
        if self._position > min(allowed, self._limits.total + self._limits.members * 2 * tarfile.BLOCKSIZE):
            reason = (
                f"{self._position} bytes came out of {self._size} bytes of archive, "
                f"more than {self._limits.ratio} times as many or than {self._limits.total} in all"
            )
            raise UnsafeArchiveError(self._archive, self.member, reason)
        consumed = self._raw.tell()
        self._meter.advance(consumed - self._shown)
        self._shown = consumed
        return self.last

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("a header points backwards")
        while self._position < position:
            if not self.read(min(CHUNK, position - self._position)):
                raise tarfile.ReadError("unexpected end of data")


def unpack(file: Path, folder: Path, meter: Meter, *, source: object = None, limits: Limits = LIMITS) -> None:
    """Unpacks `file` into `folder`, an existing empty one; `source` is what messages call the archive.

    Raises:
        CorruptArchiveError: it is truncated, damaged, empty or no archive.
        UnsafeArchiveError: a member is no plain file or folder, is named twice or unsafely, or is out of bounds.
    """
    archive = source or file
    size = file.stat().st_size
    meter.begin(f"Unpacking {file.name}", size)
    with file.open("rb") as raw:
        stream = _Forward(raw, size, archive, limits, meter)
        try:
            _members(stream, folder, archive, limits)
        # RecursionError: a chain of extended headers; tarfile reads them one inside the other.
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, RecursionError) as error:
            raise CorruptArchiveError(archive, str(error) or type(error).__name__) from error


def _members(stream: _Forward, folder: Path, archive: object, limits: Limits) -> None:
    """Writes every member of the stream below `folder`."""
    # tarfile needs only read, tell and seek, which is all that _Forward has.
    with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
        count = total = files = 0
        while (member := tar.next()) is not None:
            tar.members.clear()  # they would pile up
            stream.member = member.name
            count, total = count + 1, total + max(member.size, 0)
            parts = safe_parts(archive, member.name, limits)
            if not (member.isdir() or member.isreg()) or member.issparse():
                raise UnsafeArchiveError(archive, member.name, "it is a link, device, pipe or sparse file")
            if count > limits.members:
                raise UnsafeArchiveError(archive, member.name, f"it is beyond the first {limits.members} members")
            if total > limits.total:
                raise UnsafeArchiveError(archive, member.name, f"the files add up to more than {limits.total} bytes")
            target = folder.joinpath(*parts)
            try:
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                else:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    stream.seek(member.offset_data)
                    _write(stream, member, target)
                    files += 1
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise UnsafeArchiveError(archive, member.name, "its name was used before in this archive") from error
    if stream.last.strip(b"\0"):
        raise CorruptArchiveError(archive, f"a damaged header follows the member {stream.member!r}")
    # gzip has a checksum of its own; a bare tar has nothing but its end marker to show that it is whole.
    if not stream.last and not stream.compressed:
        raise CorruptArchiveError(archive, f"it ends after the member {stream.member!r} without an end marker")
    while stream.read(CHUNK):  # to the end, so that gzip compares its checksum
        pass
    if not files:
        raise CorruptArchiveError(archive, "it holds no files")


def _write(stream: _Forward, member: tarfile.TarInfo, target: Path) -> None:
    """Writes one file, which must not exist yet; the stream stands at its first byte."""
    with target.open("xb") as out:
        left = member.size
        while left:
            chunk = stream.read(min(CHUNK, left))
            if not chunk:
                raise EOFError(f"it ends within {member.name!r}, {left} bytes too early")
            out.write(chunk)
            left -= len(chunk)
