"""Handles that are paths on this machine: a folder, a model file, or an archive to unpack into the cache.

Folders and model files are used where they lie; nothing is copied and nothing is written beside them.
"""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from thaw.errors import listed, nearest
from thaw.handles.archive import is_archive
from thaw.handles.progress import Meter
from thaw.handles.scheme import scheme

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")
# Files that are one part of a folder: naming them means the folder.
PARTS_OF_A_FOLDER = ("saved_model.pb", "saved_model.pbtxt", "tfhub_module.pb")


def path_of(handle: str) -> Path:
    """The absolute path that a handle without a scheme, or with `file://`, names."""
    plain = unquote(urlsplit(handle).path) if handle.startswith("file://") else handle
    return Path(os.path.abspath(Path(plain).expanduser()))  # noqa: PTH100  (keeps symbolic links, drops `..`)


def in_place(path: Path) -> Path | None:
    """The folder or model file at `path`, to be used where it lies; None where there is none, or an archive."""
    if path.is_dir():
        return path
    if not path.is_file() or path.name.endswith(ARCHIVE_SUFFIXES) or is_archive(path):
        return None
    return path.parent if path.name in PARTS_OF_A_FOLDER else path


def tried(path: Path) -> list[str]:
    """What looking for `path` found, one line each: what is there instead, nearest names first."""
    lines = [f"the local path {str(path)!r}, which does not exist"]
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    if parent != path.parent:
        lines.append(f"its folder {str(path.parent)!r}, which does not exist either")
    try:
        names = [entry.name for entry in parent.iterdir()]
    except OSError as error:
        lines.append(f"listing {str(parent)!r}: {error.strerror}")
    else:
        missing = path.relative_to(parent).parts[0]
        lines.append(f"the names in {str(parent)!r}: {listed(nearest(missing, names))}")
    return lines


@scheme("file", example="./module_folder or ./module.tar.gz or ./frozen_graph.pb")
def fetch(handle: str, folder: Path, meter: Meter, /) -> Path:
    """The archive, where it lies."""
    return path_of(handle)
