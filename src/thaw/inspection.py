"""`thaw.inspect(handle)`: what an artifact offers, what it is made of, and whether it can be fine-tuned.

Reads; runs nothing and makes no Keras layer, so that it also serves for artifacts that cannot run. Imports load and below.
"""

import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from thaw import load
from thaw.errors import HubArgumentError, NoSignatureError
from thaw.graph.artifact import Artifact, MetaGraph, VariableSource
from thaw.graph.ir import Graph
from thaw.graph.moving_statistics import statistic_keys
from thaw.graph.partial import tappable
from thaw.graph.program import Program, describe, leaves
from thaw.inner import Scope, scopes
from thaw.lowering.run import PLACES, missing_ops, order

UNTAPPED = frozenset({"Const", "NoOp", "VarHandleOp", "ReadVariableOp", "VariableV2", "HashTableV2", *PLACES})
"""Ops whose outputs are weights, handles or inputs: nothing that a feature extractor would return."""

BACKENDS = ("jax", "torch", "tensorflow")


@dataclass(frozen=True)
class SignatureInfo:
    """A signature or callable: its name, what it takes and gives in words, by name, and whether it has a training variant."""

    name: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    training: bool


@dataclass(frozen=True)
class LayerInfo:
    """An inner layer: the publisher's path, its weights (name, dtype, shape, trainable), parameters below, and layers below."""

    path: str
    weights: tuple[tuple[str, str, tuple[int, ...], bool], ...]
    parameters: int
    trainable_parameters: int
    layers: tuple["LayerInfo", ...]


@dataclass(frozen=True)
class Inspection:
    """What `thaw.inspect` gives; prints as text through `thaw.report.inspection`.

    Attributes:
        handle: as given.
        format: of the artifact.
        tags: of each metagraph.
        signatures: signatures and callables.
        root: the tree of inner layers.
        ops: op type -> how many nodes of it the chosen entry point has, training variant included.
        missing: ops without a lowering: (op, count, one node's name).
        assets: file names.
        attachments: keys of attached messages.
        verdict: "yes", "with care" or "no": can it be fine-tuned.
        reasons: what is in the way, or to be known.
        provenance: what is known of its making.
    """

    handle: str
    format: str
    tags: tuple[tuple[str, ...], ...]
    signatures: tuple[SignatureInfo, ...]
    root: LayerInfo
    ops: Mapping[str, int]
    missing: tuple[tuple[str, int, str], ...]
    assets: tuple[str, ...]
    attachments: tuple[str, ...]
    verdict: str
    reasons: tuple[str, ...]
    provenance: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON's own types."""
        return {
            "handle": self.handle,
            "format": self.format,
            "tags": [list(t) for t in self.tags],
            "signatures": [
                {"name": s.name, "inputs": dict(s.inputs), "outputs": dict(s.outputs), "training_variant": s.training}
                for s in self.signatures
            ],
            "layers": _layer_json(self.root),
            "ops": dict(self.ops),
            "missing_ops": [{"op": op, "count": count, "node": node} for op, count, node in self.missing],
            "assets": list(self.assets),
            "attachments": list(self.attachments),
            "verdict": self.verdict,
            "backends": list(BACKENDS) if not self.missing else [],
            "reasons": list(self.reasons),
            "provenance": dict(self.provenance),
        }


def inspect(handle: str | os.PathLike[str], *, tags: Collection[str] | None = None, signature: str | None = None) -> Inspection:
    """What the artifact behind `handle` is made of, and whether it can be fine-tuned.

    Args:
        handle: of the artifact.
        tags: of the metagraph to look at; None for the one that serves.
        signature: whose ops to count; None for `__call__` or the default.

    Raises:
        ThawError: it is not there or cannot be read.
    """
    return inspect_artifact(load.load(handle), os.fspath(handle), tags=tags, signature=signature)


def inspect_artifact(
    artifact: Artifact, handle: str, *, tags: Collection[str] | None = None, signature: str | None = None
) -> Inspection:
    """As `inspect`, for an artifact that was read before; `handle` is what it is called."""
    metagraph = load.choose_metagraph(artifact, tags)
    programs = {name: load.program(artifact, metagraph, name) for name in metagraph.signatures}
    programs = {name: load.program(artifact, metagraph, name) for name in (*metagraph.inner, *metagraph.callables)} | programs
    chosen, choice = _chosen(artifact, metagraph, signature)
    programs.setdefault(chosen.name, chosen)
    ops, missing, statistics = _ops(chosen, metagraph.library)
    unset = load.without_values(artifact, chosen)
    reasons = choice + _reasons(artifact, chosen, missing, statistics, unset)
    return Inspection(
        handle=handle,
        format=artifact.format,
        tags=tuple(tuple(sorted(m.tags)) for m in artifact.metagraphs),
        signatures=tuple(_signature(program) for program in programs.values()),
        root=_layer_info(scopes([s for s in artifact.variables.values() if s.dtype != "string"]), statistics),
        ops=ops,
        missing=tuple(missing),
        assets=tuple(metagraph.assets),
        attachments=tuple(metagraph.attachments),
        verdict=_verdict(artifact, missing or unset, statistics),
        reasons=tuple(reasons),
        provenance=artifact.provenance,
    )


def list_tensors(
    handle: str | os.PathLike[str], *, tags: Collection[str] | None = None, signature: str | None = None
) -> list[tuple[str, str]]:
    """(name, op) of every node that `KerasLayer(outputs=..., inputs=...)` can name, in the order in which they run.

    Args:
        handle: of the artifact.
        tags: of the metagraph; None for the one that serves.
        signature: or callable; None for `__call__` or the default.

    Raises:
        ThawError: it is not there or cannot be read.
    """
    artifact = load.load(handle)
    metagraph = load.choose_metagraph(artifact, tags)
    program = load.program(artifact, metagraph, load.choose_signature(metagraph, signature, in_pieces=True))
    return [(node.name, node.op) for node in tappable(program) if node.op not in UNTAPPED]


def _chosen(artifact: Artifact, metagraph: MetaGraph, signature: str | None) -> tuple[Program, list[str]]:
    """The entry point that is looked at, and what is to be said of the choice: without a default, the first stands for all."""
    try:
        return load.program(artifact, metagraph, load.choose_signature(metagraph, signature)), []
    except (HubArgumentError, NoSignatureError):
        points = load.entry_points(metagraph)
        if signature is not None or not points:
            raise
        first = load.program(artifact, metagraph, points[0])
        if metagraph.whole is not None and points == [metagraph.whole.name]:
            how = "there is no signature: outputs= chooses among its tensors (thaw.list_tensors names them)"
        else:
            how = f"there is no default: signature= chooses among {', '.join(points)}; the ops are those of {points[0]}"
        return first, [how]


def _signature(program: Program) -> SignatureInfo:
    trace = program.variants[0].trace
    inputs = {n: describe(s) for n, s in program.bound(trace).items() if any(True for _ in leaves(s))}
    outputs = trace.outputs
    named = {k: describe(v) for k, v in outputs.items()} if isinstance(outputs, dict) else {"output": describe(outputs)}
    return SignatureInfo(program.name, inputs, named, program.has_training_variant)


def _ops(program: Program, library: Mapping[str, Graph]) -> tuple[dict[str, int], list[tuple[str, int, str]], set[str]]:
    """Ops of all variants of a program, those without a lowering, and keys of its moving statistics."""
    counted: Counter[str] = Counter()
    missing: dict[str, tuple[str, int, str]] = {}
    statistics: set[str] = set()
    for variant in (*program.variants, *program.training_variants):
        statistics |= {u.key for u in variant.updates} | statistic_keys(variant.inference)
        graph = variant.training
        counted |= Counter(n.op for n in order(graph) if n.op not in PLACES)
        for row in missing_ops([graph], variant.library):
            missing.setdefault(row[0], row)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0]))), list(missing.values()), statistics


def _reasons(artifact: Artifact, program: Program, missing: list[Any], statistics: set[str], unset: list[str]) -> list[str]:
    floats = [s for s in artifact.variables.values() if s.dtype.startswith(("float", "bfloat")) and s.key not in statistics]
    advised = [s for s in floats if s.trainable]
    reasons = []
    if missing:
        reasons.append(f"{len(missing)} kinds of op have no lowering: {', '.join(op for op, _, _ in missing)}")
    if unset:
        some = ", ".join(unset[:3]) + (" ..." if len(unset) > 3 else "")
        reasons.append(
            f"{len(unset)} variables have no values here ({some}): the graph was not frozen, its weights lie in a checkpoint"
        )
    elif not floats:
        reasons.append(
            "there is no float variable: the weights are baked in as constants, or there are none (lift_constants=True)"
        )
    elif not advised:
        reasons.append('the publisher left nothing to train; thaw it by name: thaw.unfreeze(layer, "*")')
    elif len(advised) < len(floats):
        reasons.append(f"the publisher advises {len(advised)} of {len(floats)} float variables; the others thaw by name")
    if not program.has_training_variant and any(
        n.op.startswith("FusedBatchNorm") for v in program.variants for n in v.inference.nodes.values()
    ):
        reasons.append("there is no training variant: batch normalization keeps its statistics, dropout is absent")
    ungraded = sorted({
        n.op
        for v in program.variants
        for n in v.inference.nodes.values()
        if n.op in {"ArgMax", "ArgMin", "Round", "Rint", "StopGradient", "PreventGradient", "Floor", "Sign"}
    })
    if ungraded:
        reasons.append(f"no gradient passes through {', '.join(ungraded)}")
    return reasons


def _verdict(artifact: Artifact, missing: list[Any], statistics: set[str]) -> str:
    if missing:
        return "no"
    floats = [s for s in artifact.variables.values() if s.dtype.startswith(("float", "bfloat")) and s.key not in statistics]
    if not floats:
        return "with care"
    return "yes" if any(s.trainable for s in floats) else "with care"


def _layer_info(scope: Scope, statistics: set[str]) -> LayerInfo:
    below = tuple(_layer_info(child, statistics) for child in scope.below.values())
    weights = tuple((leaf, s.dtype, s.shape, _can_train(s, statistics)) for leaf, s in scope.sources)
    parameters = sum(_size(s) for _, s in scope.sources) + sum(b.parameters for b in below)
    trainable = sum(_size(s) for _, s in scope.sources if _can_train(s, statistics)) + sum(b.trainable_parameters for b in below)
    return LayerInfo(scope.path, weights, parameters, trainable, below)


def _can_train(source: VariableSource, statistics: set[str]) -> bool:
    return source.trainable and source.key not in statistics and source.dtype.startswith(("float", "bfloat"))


def _size(source: VariableSource) -> int:
    total = 1
    for n in source.shape:
        total *= n
    return total


def _layer_json(info: LayerInfo) -> dict[str, Any]:
    return {
        "path": info.path,
        "parameters": info.parameters,
        "trainable_parameters": info.trainable_parameters,
        "weights": [{"name": n, "dtype": d, "shape": list(s), "trainable": t} for n, d, s, t in info.weights],
        "layers": [_layer_json(child) for child in info.layers],
    }
