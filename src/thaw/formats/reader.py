"""The registry of format readers, and `read`, which picks the one whose files these are.

Imports errors, registry, files and text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from thaw.errors import MissingFileError, UnknownFormatError
from thaw.formats.files import DirectoryFiles, Files
from thaw.formats.text import with_binary_graph
from thaw.graph.artifact import Artifact
from thaw.registry import Registry
from thaw.wire.strangers import nature_of


@dataclass(frozen=True, slots=True)
class Reader:
    """One format.

    Attributes:
        name: of the format.
        looks_for: what its files are called, for messages.
        detect: whether these are its files, by names and first bytes only.
        read: reads them.
    """

    name: str
    looks_for: str
    detect: Callable[[Files], bool]
    read: Callable[[Files], Artifact]


READERS: Registry[Reader] = Registry("format reader")


def reader(
    name: str, *, looks_for: str, detect: Callable[[Files], bool]
) -> Callable[[Callable[[Files], Artifact]], Callable[[Files], Artifact]]:
    """Registers the decorated function as the reader of a format; see `Reader` for the arguments."""

    def register(function: Callable[[Files], Artifact]) -> Callable[[Files], Artifact]:
        READERS.add(name, Reader(name, looks_for, detect, function))
        return function

    return register


def read(source: str | PathLike[str] | Files) -> Artifact:
    """The artifact in a folder, in a file, or among given files.

    Args:
        source: a folder, a model file (`saved_model.pb` or `.pbtxt` stands for its folder), or `Files`.

    Raises:
        UnknownFormatError: no reader knows these files.
        FormatError: the one that knows them cannot read them.
    """
    files = with_binary_graph(_files(source) if isinstance(source, (str, PathLike)) else source)
    for candidate in READERS.values():
        if candidate.detect(files):
            return candidate.read(files)
    looked = [f"{r.name}: {r.looks_for}" for r in READERS.values()]
    looked.append("a Keras file (HDF5, or a zip with config.json in it), which `thaw.load_model` opens")
    names = files.list()
    nature = nature_of(bytes(files.map(names[0])[:512])) if len(names) == 1 else ""
    raise UnknownFormatError(files.origin, looked, names, nature)


def _files(source: str | PathLike[str]) -> Files:
    path = Path(source)
    if not path.exists():
        raise MissingFileError(path.parent, path.name)
    return DirectoryFiles(path.parent if path.name in {"saved_model.pb", "saved_model.pbtxt", "tfhub_module.pb"} else path)


def small_files(files: Files, *names: str) -> Mapping[str, bytes]:
    """The contents of `names` that exist, and of everything in the folders of assets."""
    wanted = [n for n in names if files.exists(n)]
    wanted += [n for n in files.list() if n.startswith(("assets/", "assets.extra/"))]
    return {name: files.read(name) for name in wanted}
