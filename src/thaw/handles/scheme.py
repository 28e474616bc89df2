"""The registry of handle schemes: what stands before `://` in a handle, and the function that fetches it.

A scheme only brings bytes into a folder. The cache, its lock, unpacking and provenance are the business of cache.py.
Imports errors and registry only.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol, TypeVar

from thaw.errors import MissingLibraryError
from thaw.handles.progress import Meter
from thaw.registry import Registry

MODEL_SUFFIXES = (".pb", ".pbtxt", ".h5", ".hdf5", ".keras")
"""Endings of files that are a whole model by themselves."""


class Fetch(Protocol):
    """Brings what a handle names to this machine.

    Returns the path of the file (a model or an archive) or folder obtained: below the given empty folder, or wherever
    the file already was. What the library in use raises is left to rise: the cache turns it into our errors.
    """

    def __call__(self, handle: str, folder: Path, meter: Meter, /) -> Path:
        """Fetches `handle`, below `folder` if it makes files; counts bytes on `meter` where it can."""
        ...


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of handle."""

    name: str
    example: str
    """A handle of this kind, as a user would type it."""
    fetch: Fetch


SCHEMES: Registry[Scheme] = Registry("handle scheme")

F = TypeVar("F", bound=Fetch)


def scheme(name: str, *, example: str) -> Callable[[F], F]:
    """Registers the decorated fetch function for handles that begin with `name://`."""

    def register(fetch: F) -> F:
        SCHEMES.add(name, Scheme(name, example, fetch))
        return fetch

    return register


def library(name: str, *, extra: str, handle: str) -> ModuleType:
    """The optional library of that name, imported on first use.

    Raises:
        MissingLibraryError: it is not installed; the message has the pip line for `extra`.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingLibraryError(name, handle, extra) from error
