"""The cache: one folder per source, complete or absent, with a note of where it came from.

    <cache>/<sha256 of the source>/provenance.json     written last: without it the entry does not count
    <cache>/<sha256 of the source>/content/...         the module's folder, or its one file
    <cache>/<sha256 of the source>.lock                held while an entry is being made
    <cache>/<sha256 of the source>.partial-*/          an entry in the making, moved into place in one step
    <cache>/<sha256 of the source>.tar.gz              put there by hand, for a machine without a network

Calls no scheme by name: it is given a function that fetches. Imports errors and its neighbours only.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.parse import urlsplit

import platformdirs

from thaw.errors import CacheError, CorruptArchiveError, DownloadError, OfflineError, ThawError
from thaw.handles import archive
from thaw.handles.lock import held
from thaw.handles.progress import Meter
from thaw.handles.scheme import MODEL_SUFFIXES

PROVENANCE = "provenance.json"
CONTENT = "content"

# What a full, protected or failing disk says; anything else that has no file name came from the network.
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EFBIG}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the content of an entry came from, and what it must hold to count as complete."""

    source: str
    time: str
    """UTC, ISO 8601."""
    sha256: str
    """Of the archive or file as it was fetched; of a folder, of the list of its files' names and sums."""
    bytes: int
    """Of the archive, file or folder as it was fetched."""
    files: int
    """Number of files in the content."""
    content_bytes: int
    result: str
    """The module's folder or file, relative to the entry."""


def root(argument: str | os.PathLike[str] | None = None) -> Path:
    """The cache folder: environment, else argument, else the user's cache folder of this system.

    THAW_CACHE_DIR comes first; TFHUB_CACHE_DIR, which tensorflow_hub reads, is honoured where it is not set.
    """
    named = os.environ.get("THAW_CACHE_DIR") or os.environ.get("TFHUB_CACHE_DIR") or argument
    return Path(named).expanduser().absolute() if named else platformdirs.user_cache_path("thaw", appauthor=False)


def key_of(source: str) -> str:
    """The name of a source's entry."""
    return hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()


def by_hand_place(folder: Path, source: str) -> Path:
    """Where a user may put what `source` names, when this machine cannot fetch it."""
    suffix = PurePosixPath(urlsplit(source).path).suffix
    return folder / f"{key_of(source)}{suffix if suffix in MODEL_SUFFIXES else '.tar.gz'}"


def provenance(entry: Path) -> Provenance | None:
    """The note of a complete entry; None where the entry is absent, half-written or was damaged."""
    try:
        note = Provenance(**json.loads((entry / PROVENANCE).read_text(encoding="utf-8")))
        intact = (note.files, note.content_bytes) == _measure(entry / CONTENT) and (entry / note.result).exists()
    except (OSError, ValueError, TypeError):
        return None
    return note if intact else None


def present(folder: Path, key: str) -> Path | None:
    """The module of a complete entry, or None."""
    note = provenance(folder / key)
    return None if note is None else folder / key / note.result


def present_from_tensorflow_hub(folder: Path, source: str) -> Path | None:
    """What tensorflow_hub left for `source`, where both use one cache folder; or None."""
    name = hashlib.sha1(source.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    module = folder / name
    finished = (folder / f"{name}.descriptor.txt").is_file()
    return module if finished and (module / "saved_model.pb").is_file() else None


def obtain(
    source: str,
    fetch: Callable[[Path, Meter], Path],
    *,
    folder: Path,
    key: str | None = None,
    progress: bool = True,
) -> Path:
    """The module of `source`: from the cache `folder`, or fetched into it, once however many ask at the same time.

    Args:
        source: What is fetched, as messages and the provenance call it (without credentials).
        fetch: Given an empty folder and a meter, returns the file or folder that it obtained.
        folder: The cache folder.
        key: The entry's name; by default from `source`.
        progress: Whether to show a bar, where stderr is a terminal.

    Raises:
        OfflineError: the module is not in the cache and its server cannot be reached.
        DownloadError: fetching failed otherwise.
        CorruptArchiveError: what was fetched is no archive and no model, or is damaged.
        UnsafeArchiveError: the archive must not be unpacked.
        CacheError: the cache folder cannot be used.
    """
    key = key or key_of(source)
    found = present(folder, key) or present_from_tensorflow_hub(folder, source)
    if found is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partials = f"{key}.partial-*"
        with held(folder / f"{key}.lock", watch=lambda: sum(_measure(p)[1] for p in folder.glob(partials))) as alone:
            found = present(folder, key)
            if found is not None:
                return found
            if alone:  # then whatever lies about was left by someone who died
                for stale in folder.glob(partials):
                    shutil.rmtree(stale, ignore_errors=True)
            return _make(source, fetch, folder=folder, key=key, progress=progress)
    except ThawError:
        raise
    except OSError as error:
        raise CacheError(folder, error.strerror or str(error)) from error


def _make(source: str, fetch: Callable[[Path, Meter], Path], *, folder: Path, key: str, progress: bool) -> Path:
    """Makes an entry in a folder of its own and moves it into place."""
    partial = folder / f"{key}.partial-{uuid.uuid4().hex}"
    try:
        fetched = partial / "fetched"
        fetched.mkdir(parents=True)
        place = by_hand_place(folder, source)
        with Meter(show=progress) as meter:
            if place.is_file():
                obtained = place
            else:
                logger.info("fetching %s", source)
                obtained = _fetch(source, fetch, fetched, meter, place)
            size, sha256 = _digest(obtained)
            result = _lay_out(source, obtained, partial / CONTENT, meter, owned=obtained.is_relative_to(fetched))
        shutil.rmtree(fetched, ignore_errors=True)  # gone already where the folder itself was the module
        files, content_bytes = _measure(partial / CONTENT)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        note = Provenance(source, now, sha256, size, files, content_bytes, result.relative_to(partial).as_posix())
        (partial / PROVENANCE).write_text(json.dumps(asdict(note), indent=2) + "\n", encoding="utf-8")
        return _publish(partial, folder, key)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fetch(source: str, fetch: Callable[[Path, Meter], Path], folder: Path, meter: Meter, place: Path) -> Path:
    """Calls `fetch`; whatever the library behind it raises becomes one of our errors."""
    try:
        return fetch(folder, meter)
    except ThawError:
        raise
    except HTTPError as error:
        with error:
            raise DownloadError(source, f"HTTP {error.code} {error.reason}", place) from error
    except OSError as error:
        if error.filename is not None or error.errno in DISK_ERRORS:
            raise
        # The server did answer: the first is how requests and httpx say so, the others how storage drivers do.
        if getattr(error, "response", None) is not None or isinstance(error, FileNotFoundError | PermissionError):
            raise DownloadError(source, str(error), place) from error
        reason = getattr(error, "reason", None) or error
        raise OfflineError(source, str(reason) or type(error).__name__, place) from error
    except HTTPException as error:
        raise DownloadError(source, str(error) or type(error).__name__, place) from error
    except Exception as error:  # an optional library's own
        raise DownloadError(source, f"{type(error).__name__}: {error}", place) from error


def _lay_out(source: str, obtained: Path, content: Path, meter: Meter, *, owned: bool) -> Path:
    """Puts what was fetched under `content`, read-only; returns the module in it."""
    if obtained.is_dir():
        if owned:
            obtained.rename(content)
        else:
            shutil.copytree(obtained, content)
    else:
        content.mkdir()
        if archive.is_archive(obtained):
            archive.unpack(obtained, content, meter, source=source if owned else obtained)
        elif obtained.suffix in MODEL_SUFFIXES:
            target = content / obtained.name
            if owned:
                obtained.rename(target)
            else:
                shutil.copyfile(obtained, target)
        else:
            with obtained.open("rb") as file:
                head = file.read(16)
            raise CorruptArchiveError(source, f"it begins with {head!r}, as neither a gzip nor a tar file does")
    for path in content.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    return _module(content)


def _module(folder: Path) -> Path:
    """The module in an unpacked folder: below wrapping folders, or its one model file."""
    while True:
        entries = list(folder.iterdir())
        if len(entries) != 1:
            return folder
        only = entries[0]
        if only.is_dir():
            folder = only
        elif only.suffix in MODEL_SUFFIXES and only.stem not in ("saved_model", "tfhub_module"):
            return only
        else:
            return folder


def _publish(partial: Path, folder: Path, key: str) -> Path:
    """Moves a finished entry into place; where another finished first, theirs stays."""
    entry = folder / key
    found = present(folder, key)
    if found is None and entry.exists():  # empty, half-written or damaged
        entry.rename(partial / "replaced")
    if found is None:
        try:
            partial.rename(entry)
        except OSError:
            found = present(folder, key)
            if found is None:
                raise
        else:
            found = present(folder, key)
            shutil.rmtree(entry / "replaced", ignore_errors=True)
    if found is None:
        raise CacheError(folder, f"the entry {key} vanished while it was being made")
    return found


def _measure(folder: Path) -> tuple[int, int]:
    """Number and bytes of all files below a folder, also while someone writes or removes them."""
    count = size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                size += (Path(parent) / name).lstat().st_size
            except FileNotFoundError:
                continue
            count += 1
    return count, size


def sha256_of(file: Path) -> str:
    """The sum of one file's bytes, as hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _digest(path: Path) -> tuple[int, str]:
    """Bytes and sha256 of a file, or of a folder's sorted list of names and sums."""
    if path.is_file():
        return path.stat().st_size, sha256_of(path)
    lines, size = [], 0
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        size += file.stat().st_size
        lines.append(f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n")
    return size, hashlib.sha256("".join(lines).encode()).hexdigest()
