"""Every exception of thaw. Each builds its own message, so that the text of all errors lives in this file.

A message is one sentence of what happened (with the values), one of what was expected, one of what to do.

    ThawError
    ├── DuplicateRegistrationError     two entries of one name in a registry
    ├── HandleError                    a handle cannot become a local folder
    │   ├── UnknownHandleError         nothing lies there, or no scheme knows its form
    │   ├── MissingExtraError          the library for that kind of handle is not installed
    │   ├── UnsafeAddressError         an address, or a redirect, that is not followed
    │   ├── DownloadError              the other side answered, but not with the module
    │   │   └── OfflineError           the other side cannot be reached
    │   ├── CorruptArchiveError        an archive that is damaged or is none
    │   ├── UnsafeArchiveError         an archive that would write elsewhere, or without end
    │   └── CacheError                 the cache folder cannot be used
    ├── FormatError                    what lies there cannot be read
    │   ├── UnknownFormatError
    │   └── CorruptFileError
    ├── GraphError                     the graph read is not one that can run
    │   ├── UnsupportedOpsError
    │   ├── UnhandledAttributeError
    │   ├── UnhandledValueError
    │   ├── StaticInputError
    │   └── LoweringError
    ├── InputError                     a call's inputs do not fit the signature
    ├── SelectionError                 a name, index or pattern picks nothing
    ├── TrainabilityError              the optimizer or model cannot obey a change of flags
    └── DataError                      the data for fine-tuning cannot be used
"""

import difflib
from collections.abc import Iterable, Sequence


def nearest(name: str, choices: Iterable[str], most: int = 8) -> list[str]:
    """`choices` ordered by likeness to `name`, at most `most` of them."""
    pool = sorted(set(choices))
    best = difflib.get_close_matches(name, pool, n=most, cutoff=0.3)
    return best + [c for c in pool if c not in best][: most - len(best)]


def listed(items: Iterable[object], most: int = 12) -> str:
    """`items` as one line: their reprs joined by commas, cut with a count where there are more than `most`."""
    every = [repr(item) for item in items]
    shown = ", ".join(every[:most]) or "none"
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"


def by_hand(place: object) -> str:
    """How to put a module into the cache without this machine's network."""
    return f"download it elsewhere and put it at {str(place)!r}: the next call takes it from there."


class ThawError(Exception):
    """Root of all errors that thaw raises on purpose."""


class DuplicateRegistrationError(ThawError):
    """Two entries were registered under one name."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"A {kind} named {name!r} is registered already. Choose another name, or remove one of the two.")


class HandleError(ThawError):
    """A handle cannot be turned into a local, complete, verified folder."""


class UnknownHandleError(HandleError, FileNotFoundError):
    """A handle names nothing that exists, in no form that is known."""

    def __init__(self, handle: object, tried: Iterable[str], forms: Iterable[tuple[str, str]]) -> None:
        attempts = "".join(f"\n  {attempt}" for attempt in tried)
        accepted = "".join(f"\n  {name:<9} {example}" for name, example in forms)
        super().__init__(
            f"No model found for the handle {handle!r}. Tried:{attempts}\n"
            f"Expected one of these forms:{accepted}\n"
            "Check the spelling; a relative path starts from the current folder."
        )


class MissingExtraError(HandleError, ImportError):
    """The library that fetches a kind of handle is not installed."""

    def __init__(self, handle: str, library: str, extra: str) -> None:
        super().__init__(
            f"{handle} is fetched by the library {library!r}, which is not installed. "
            f"Expected keras-thaw with its extra {extra!r}. Run: pip install 'keras-thaw[{extra}]'"
        )


class UnsafeAddressError(HandleError):
    """An address that is not opened, whether given by the user or by a redirect."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"{address} is not opened: {reason}. Expected an https:// address that leads to https:// addresses "
            "(http:// is for this machine's own loopback only). Use the https:// address of the publisher or of a "
            "mirror that you trust, or download the file and give its local path."
        )


class DownloadError(HandleError):
    """What a handle names could not be downloaded, though its server was reached."""

    def __init__(self, handle: str, reason: str, place: object) -> None:
        super().__init__(
            f"{handle} could not be downloaded: {reason}. Expected the module as a .tar.gz archive, or one model file. "
            f"Check the handle, its version and your access rights to it; or {by_hand(place)}"
        )


class OfflineError(DownloadError):
    """The server of a handle cannot be reached, and the module is not in the cache."""

    def __init__(self, handle: str, reason: str, place: object) -> None:
        HandleError.__init__(
            self,
            f"{handle} is not in the cache, and its server cannot be reached: {reason}. "
            f"Expected a network, or the module in the cache. Try again when online; or {by_hand(place)}",
        )


class CorruptArchiveError(HandleError):
    """An archive is truncated, damaged, empty, or no archive."""

    def __init__(self, archive: object, reason: str) -> None:
        super().__init__(
            f"The archive {str(archive)!r} cannot be unpacked: {reason}. Expected a complete .tar.gz or .tar of the "
            "module's folder. Download or pack it again; nothing of it was kept in the cache."
        )


class UnsafeArchiveError(HandleError):
    """An archive holds what must not be unpacked."""

    def __init__(self, archive: object, member: str, reason: str) -> None:
        super().__init__(
            f"The archive {str(archive)!r} is refused at its member {member!r}: {reason}. Expected plain files and "
            "folders, by relative names, within bounds. If you trust the source, unpack it yourself and give the "
            "folder as the handle; nothing of it was kept in the cache."
        )


class CacheError(HandleError, OSError):
    """The cache folder cannot be made, written or locked."""

    def __init__(self, folder: object, reason: str) -> None:
        super().__init__(
            f"The cache folder {str(folder)!r} cannot be used: {reason}. Expected a folder that can be written, with "
            "room for the module. Name another by the environment variable THAW_CACHE_DIR, or by `cache_dir=`."
        )


class FormatError(ThawError):
    """The files of an artifact cannot be read."""


class GraphError(ThawError):
    """A graph is malformed or asks for what cannot be done."""


class InputError(ThawError, ValueError):
    """The inputs of a call do not fit the signature. A ValueError too, since that is what hub.KerasLayer raises."""


class SelectionError(ThawError, ValueError):
    """A name, index, pattern or predicate picks nothing."""


class TrainabilityError(ThawError):
    """A change of what trains cannot be carried out."""


class DataError(ThawError):
    """The user's data cannot be used."""


class UnsupportedOpsError(GraphError):
    """Ops of a graph have no lowering; all of them are named at once."""

    def __init__(self, missing: Sequence[tuple[str, int, str]]) -> None:
        rows = "".join(f"\n  {op}  ({count} nodes, e.g. {node!r})" for op, count, node in missing)
        super().__init__(
            f"{len(missing)} kinds of op in this graph have no lowering:{rows}\n"
            "Only ops of the table in docs/ops.md run. Choose another signature or inner output (`outputs=`) "
            "that does without them, or add a lowering (CONTRIBUTING.md, 'An op')."
        )
        self.missing = tuple(missing)


class UnhandledAttributeError(GraphError):
    """A node carries an attribute that its lowering does not know."""

    def __init__(self, op: str, node: str, attribute: str, value: object, known: Iterable[str]) -> None:
        super().__init__(
            f"Node {node!r} ({op}) carries the attribute {attribute}={value!r}, which its lowering does not handle. "
            f"Handled: {listed(sorted(known))}. Running on would give a wrong answer silently; "
            "extend the lowering (CONTRIBUTING.md, 'An op')."
        )


class UnhandledValueError(GraphError):
    """An attribute has a value that the lowering does not support."""

    def __init__(self, op: str, attribute: str, value: object, supported: Iterable[object]) -> None:
        super().__init__(
            f"{op} with {attribute}={value!r} is not supported. Supported: {listed(supported)}. "
            "Choose another signature or inner output, or extend the lowering (CONTRIBUTING.md, 'An op')."
        )


class StaticInputError(GraphError):
    """An input that must be known while tracing depends on data."""

    def __init__(self, op: str, node: str, argument: str) -> None:
        super().__init__(
            f"Node {node!r} ({op}) needs its input {argument!r} while the step is being traced, but it depends on "
            "the data of the batch. Expected a constant or a value computed from shapes. Run this model without jit "
            "(`compile(jit_compile=False)`, or call it eagerly), or on PyTorch."
        )


class LoweringError(GraphError):
    """An op could not be computed on the values that reached it."""

    def __init__(self, op: str, node: str, inputs: Sequence[object], attributes: object, cause: Exception) -> None:
        shapes = ", ".join(f"{getattr(v, 'dtype', type(v).__name__)}{list(getattr(v, 'shape', ()))}" for v in inputs)
        super().__init__(
            f"Node {node!r} ({op}) failed on inputs ({shapes}) with attributes {attributes}: {type(cause).__name__}: {cause}. "
            "Expected inputs that fit the published graph; check the shapes and dtypes of what you feed "
            "(`thaw inspect` prints the signature)."
        )
