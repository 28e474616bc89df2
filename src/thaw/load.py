"""From a handle to an artifact, and from an artifact to a program: the one module that knows handles, formats and graph.

Handles and formats are imported when something is loaded: with protobuf they would be half of what `import thaw` costs.
"""

import base64
import gc
import os
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from thaw.errors import HubArgumentError, NoSignatureError, listed
from thaw.graph.artifact import Artifact, MetaGraph
from thaw.graph.moving_statistics import HANDLES
from thaw.graph.program import Program, program_of

TRAIN_TAG = "train"
"""By convention, the tag of the metagraph for training in a TF1 Hub module."""


@contextmanager
def uncollected() -> Iterator[None]:
    """While it lasts, Python does not look for garbage in cycles: there is none, and every new node would be looked at again.

    A third of the time that a graph of 100,000 nodes takes to load.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def resolve(handle: str | os.PathLike[str]) -> Path:
    """The local folder or file behind `handle`: complete, verified, read-only; downloaded into the cache where it must be.

    Raises:
        HandleError: nothing is there; says what was tried.
    """
    from thaw import handles

    return handles.resolve(handle)


def load(handle: str | os.PathLike[str]) -> Artifact:
    """What the artifact behind `handle` holds, as plain data; weights stay on disk until they are asked for.

    Raises:
        HandleError: nothing is there.
        FormatError: what is there cannot be read.
    """
    from thaw import formats

    return formats.read(resolve(handle))


def embed(artifact: Artifact) -> dict[str, str]:
    """The artifact's small files as text, for a config: enough to make its layer again, weights aside.

    Constants that became variables are weights, too: they are kept with those, and not twice.
    """
    from thaw import formats

    files = formats.emptied(artifact)
    return {name: base64.b64encode(zlib.compress(data, 6)).decode("ascii") for name, data in files.items()}


def open_again(handle: str, embedded: Mapping[str, str] | None) -> tuple[Artifact, bool]:
    """The artifact from its handle where that is still there, else from what `embed` gave; and whether its weights are missing.

    Missing weights are those of a saved Keras model, which loads them afterwards.
    """
    if embedded is None or Path(handle).exists():
        return load(handle), False
    from thaw import formats

    return formats.read(formats.MemoryFiles({n: zlib.decompress(base64.b64decode(text)) for n, text in embedded.items()})), True


def choose_metagraph(artifact: Artifact, tags: Collection[str] | None) -> MetaGraph:
    """The metagraph with exactly those tags; with None the one for serving: no tags in a TF1 Hub module, else the first.

    Raises:
        HubArgumentError: there is none with those tags.
    """
    if tags is None:
        untagged = [m for m in artifact.metagraphs if not m.tags]
        serving = [m for m in artifact.metagraphs if "serve" in m.tags]
        return (untagged or serving or list(artifact.metagraphs))[0]
    for metagraph in artifact.metagraphs:
        if metagraph.tags == frozenset(tags):
            return metagraph
    raise HubArgumentError(
        f"There is no metagraph with the tags {sorted(tags)}",
        f"one of {listed(sorted(m.tags) for m in artifact.metagraphs)}",
        "Leave `tags` out to take the one for serving",
    )


def entry_points(metagraph: MetaGraph) -> list[str]:
    """The names that `signature=` can choose: signatures and callables, in their absence inner objects and the whole graph."""
    named = [*metagraph.signatures, *(name for name in metagraph.callables if name != "__call__")]
    if not named and "__call__" not in metagraph.callables:
        named = [*metagraph.inner, *([metagraph.whole.name] if metagraph.whole is not None else [])]
    return list(dict.fromkeys(named))


def choose_signature(metagraph: MetaGraph, signature: str | None, *, in_pieces: bool = False) -> str | None:
    """The name of the signature (or other callable) to use, or None for `__call__`.

    Without a choice: `__call__` where the artifact has one, else "default", "serving_default" or its only signature or callable.
    A graph without any is taken whole where it is to be run `in_pieces`; an inner object that can be called, by its path.

    Raises:
        HubArgumentError: there is no such signature.
        NoSignatureError: there is none at all; says what can be chosen besides.
    """
    if not metagraph.signatures and not metagraph.callables:
        if metagraph.whole is not None and in_pieces and signature is None:
            return metagraph.whole.name
        if signature is not None and signature in metagraph.inner:
            return signature
        trace = metagraph.whole.traces[0] if metagraph.whole is not None else None
        outputs = list(trace.outputs) if trace is not None and isinstance(trace.outputs, dict) else []
        placeholders = trace.kwargs if trace is not None else ()
        raise NoSignatureError(None, metagraph.tags, inner=metagraph.inner, placeholders=placeholders, outputs=outputs)
    known = entry_points(metagraph)
    if signature is None:
        if "__call__" in metagraph.callables:
            return None
        named = [n for n in ("default", "serving_default", "frozen") if n in known] or (known if len(known) == 1 else [])
        if named:
            return named[0]
        raise HubArgumentError(
            "The artifact has no `__call__` and no default signature", f"a choice among {listed(known)}", "Pass `signature=`"
        )
    if signature not in known:
        raise HubArgumentError(
            f"There is no signature {signature!r}", f"one of {listed(known)}", "Pass one of these, or none for `__call__`"
        )
    return signature


def program(artifact: Artifact, metagraph: MetaGraph, signature: str | None) -> Program:
    """The program of a signature or callable (None: of `__call__`), with its twin from the metagraph tagged {"train"}."""
    if signature is None or signature not in metagraph.signatures:
        whole = {metagraph.whole.name: metagraph.whole} if metagraph.whole is not None else {}
        functions = {**whole, **metagraph.inner, **metagraph.callables}
        return program_of(functions["__call__" if signature is None else signature], metagraph.library)
    function = metagraph.signatures[signature]
    for other in artifact.metagraphs:
        if other is not metagraph and other.tags == metagraph.tags | {TRAIN_TAG} and signature in other.signatures:
            return program_of(function, metagraph.library, (other.signatures[signature], other.library, other.update_ops))
    if TRAIN_TAG in metagraph.tags:
        return program_of(function, metagraph.library, (function, metagraph.library, metagraph.update_ops))
    return program_of(function, metagraph.library)


def without_values(artifact: Artifact, program: Program) -> list[str]:
    """Names of the variables that the program reads and of which a GraphDef, which was not frozen, holds no value."""
    if artifact.format != "frozen_graph":
        return []
    nodes = [n for v in program.variants for n in v.inference.nodes.values() if n.op in HANDLES]
    return [n.name for n in nodes if str(n.attrs.get("shared_name") or n.name) not in artifact.variables]


def regularization(artifact: Artifact, metagraph: MetaGraph) -> MetaGraph | None:
    """The metagraph whose regularization losses count: the one for training where it has any, else the one in use."""
    for other in artifact.metagraphs:
        if other.tags == metagraph.tags | {TRAIN_TAG} and other.regularization_losses is not None:
            return other
    return metagraph if metagraph.regularization_losses is not None else None
