"""Handles: from what a user types to a local, complete, verified folder or file that nobody writes to.

`resolve` is the whole of it for the rooms above. A kind of handle is one file with one `@scheme` function; importing it
here registers it. This room knows nothing of what a model is. Imports errors and registry only.
"""

import os
from pathlib import Path

from thaw.errors import UnknownHandleError
from thaw.handles import buckets as buckets
from thaw.handles import cache, local, web
from thaw.handles import huggingface as huggingface
from thaw.handles import kaggle as kaggle
from thaw.handles.progress import Meter
from thaw.handles.scheme import SCHEMES

__all__ = ["resolve"]


def resolve(handle: str | os.PathLike[str], *, cache_dir: str | os.PathLike[str] | None = None, progress: bool = True) -> Path:
    """The local folder or file that a handle names: complete, verified, and to be read only.

    A folder or model file on this machine is used where it lies. An archive is unpacked into the cache. Anything else is
    downloaded into the cache once, and found there ever after, also without a network.

    Args:
        handle: A local path; an https:// address; or another form that `thaw.errors.UnknownHandleError` lists.
        cache_dir: The cache folder, unless the environment variable THAW_CACHE_DIR (or TFHUB_CACHE_DIR) names one.
        progress: Whether to show a progress bar, on stderr and where that is a terminal.

    Raises:
        HandleError: one of its subclasses, each of which says what to do.

    Example:
        ```python
        folder = thaw.resolve("https://tfhub.dev/google/elmo/3")
        ```
    """
    try:
        text = os.fspath(handle)
    except TypeError:
        raise UnknownHandleError(handle, [f"a path or address, but this is of type {type(handle).__name__}"], _forms()) from None
    text = os.fsdecode(text)
    name, separator, rest = text.partition("://")
    if not separator or name == "file":
        return _resolve_path(text, cache_dir, progress)
    scheme = SCHEMES.get(name.lower())
    if scheme is None or not rest:
        why = "is not one that thaw knows" if scheme is None else "has nothing behind it"
        raise UnknownHandleError(text, [f"the scheme {name + '://'!r}, which {why}"], _forms())
    source = web.without_credentials(text) if name.lower() in ("http", "https") else text
    return cache.obtain(
        source, lambda folder, meter: scheme.fetch(text, folder, meter), folder=cache.root(cache_dir), progress=progress
    )


def _resolve_path(text: str, cache_dir: str | os.PathLike[str] | None, progress: bool) -> Path:
    """A folder or file on this machine; archives go through the cache, by the sum of their bytes."""
    if not text or "\0" in text:
        raise UnknownHandleError(text, ["a path, but this cannot be one"], _forms())
    path = local.path_of(text)
    try:
        found = local.in_place(path)
        if found is not None:
            return found
        if not path.is_file():
            raise UnknownHandleError(text, local.tried(path), _forms())
        key = cache.sha256_of(path)
    except PermissionError as error:
        raise UnknownHandleError(text, [f"the local path {str(path)!r}: {error.strerror}"], _forms()) from error

    def fetch(folder: Path, meter: Meter) -> Path:
        return SCHEMES["file"].fetch(text, folder, meter)

    return cache.obtain(str(path), fetch, folder=cache.root(cache_dir), key=key, progress=progress)


def _forms() -> list[tuple[str, str]]:
    """Every kind of handle with its example, those that need no account or library first."""
    entries = sorted(SCHEMES.values(), key=lambda scheme: (scheme.name not in ("file", "https"), scheme.name))
    return [(scheme.name, scheme.example) for scheme in entries]
