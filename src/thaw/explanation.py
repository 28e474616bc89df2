"""`thaw.explain`: what trains, what does not, why, and the mend, for any Keras model, thaw layer, or handle of an artifact.

What holds for any model is argued in `thaw.trainable.explain`; this file adds what thaw layers know: the publisher's advice, the
ops on the way, constants and tables in the graph, whether there is a training variant. Imports layer and below.
"""

import math
import os
import warnings
from collections.abc import Sequence
from typing import Any

import keras

from thaw.gradient_paths import CONNECTED, GRADIENT, Ways, gradient_ways
from thaw.graph.artifact import Artifact, VariableSource
from thaw.graph.ir import Graph, TensorSpec
from thaw.graph.lift_constants import PREFIX, WEIGHTS, folded_batch_norms, lift_constants, unpacked
from thaw.graph.moving_statistics import FUSED
from thaw.graph.program import leaves
from thaw.graph.relax import RELAXABLE, relax
from thaw.inner import Weight
from thaw.layer import KerasLayer
from thaw.trainable.account import PATH, Cause, Report, Row
from thaw.trainable.explain import Known, explain_rows
from thaw.trainable.probe import zero_gradients
from thaw.trainable.select import survey

TABLES = ("HashTable", "MutableHashTable", "MutableDenseHashTable", "AnonymousHashTable", "AnonymousMutableHashTable")
QUANTIZED = ("Dequantize", "Quantized", "QuantizeV2")


def explain(
    model: keras.Layer | str | os.PathLike[str],
    inputs: Any = None,
    outputs: str | int | Sequence[str | int] | None = None,
    loss: Any = None,
) -> Report:
    """What of a model trains, what does not, why, and the mend as code that can be pasted.

    Args:
        model: any Keras model or layer, thaw's or not, compiled or not; or a handle of an artifact, which is then opened with
            `trainable=True`.
        inputs: a batch (or a pair of inputs and targets) to probe: weights whose gradient is exactly zero on it are found.
            Without it the graph and the flags are argued from.
        outputs: names or positions of the outputs that the loss is made of; None for all.
        loss: what `compile` takes as loss, for the probe; None for the model's own, or a random weighting of the outputs.

    Returns:
        The report: prints as a table, shows as one in a notebook; `.rows`, `.first_line`, `.to_json()`, `.markdown()`.

    Raises:
        ThawError: a handle that cannot be opened.

    Example:
        print(thaw.explain(model))
    """
    name = "model"
    if isinstance(model, str | os.PathLike):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* was set to train, but its publisher left nothing to train")
            model, name = KerasLayer(model, trainable=True), "layer"  # the report says so itself
    elif isinstance(model, KerasLayer):
        name = "layer"
    chosen = [outputs] if isinstance(outputs, str | int) else outputs
    known = {id(place.layer): _known(place.layer, place.path, chosen, model, name) for place in survey(model).places
             if isinstance(place.layer, KerasLayer)}  # fmt: skip
    zero: Sequence[keras.Variable] = ()
    if inputs is not None:
        x, y = inputs if isinstance(inputs, tuple) and len(inputs) == 2 else (inputs, None)
        loss = loss if loss is not None else getattr(model, "loss", None)
        zero = zero_gradients(model, x, y, loss if y is not None else None) or ()
    of_graph = None if isinstance(model, KerasLayer) else chosen
    rows, notes = explain_rows(model, outputs=of_graph, known=known, zero=zero, name=name)
    return Report(str(model.name), tuple(rows), tuple(notes))


def _known(layer: KerasLayer, path: str, outputs: Sequence[str | int] | None, root: keras.Layer, name: str) -> Known:
    """What a thaw layer knows of its weights; `path` is where it stands in `root`."""
    runtime = layer._runtime
    expression = name + "".join(f".get_layer({part!r})" for part in path.split("/") if part)
    graph, library = _training_graph(layer), runtime.resources.library
    if layer.relaxed:
        graph, _ = relax(graph, library, layer.relaxed)
    ways = gradient_ways(graph, library, _seeds(layer, graph, outputs if layer is root else None))
    trained = layer.program.has_training_variant or layer.batch_norm == "training"
    causes: dict[int, Cause] = {}
    advice: dict[int, Cause] = {}
    blocked: dict[int, Cause] = {}
    baked = _baked(layer)
    target = expression if expression.isidentifier() else "layer"
    lifted = f"{target} = thaw.KerasLayer({layer.handle!r}, trainable=True, lift_constants=True)"
    for key, weight in runtime.weights.items():
        own = id(weight.variable)
        if weight.statistic:
            causes[own] = _statistic(layer, weight, trained, expression)
            continue
        if key.startswith(PREFIX) and not layer.lift_constants:
            text = "baked into the graph as a constant" + ("" if baked else "; held as a variable that thaws by name")
            advice[own] = Cause("E3", text, weight.source.name, lifted if baked else f"thaw.unfreeze({name}, {PATH})")
        elif not weight.advised:
            text = f"the publisher of {layer.handle!r} left it out of its trainable variables"
            advice[own] = Cause("E2", text, layer.handle, f"thaw.unfreeze({name}, {PATH})")
        cause = _blocked(ways, key, weight, expression)
        if cause is not None:
            blocked[own] = cause
    way = max((w for t, w in ways.inputs.items()), key=lambda w: w.level, default=None)
    passes = "" if way is None or way.level == GRADIENT else f"{way.op} {way.node!r}"
    return Known(
        causes,
        advice,
        blocked,
        passes,
        tuple(_extra_rows(layer, graph, path, baked, lifted)),
        tuple(_notes(layer, trained, expression)),
    )


def _training_graph(layer: KerasLayer) -> Graph:
    """The graph of a training step."""
    program = layer.program
    if program.training_variants:
        return program.training_variants[0].training
    bound = [(program.bound(v.trace).get("training"), v) for v in program.variants]
    return next((v for flag, v in bound if flag is True), program.serving_variants[0]).inference


def _seeds(layer: KerasLayer, graph: Graph, outputs: Sequence[str | int] | None) -> list[Any] | None:
    """The tensors of the outputs that count: those asked for, else the one that the layer returns, else all floats."""
    specs = layer.program.serving_variants[0].trace.outputs
    flat = list(leaves(specs))
    if len(flat) != len(graph.outputs):
        return None
    names = sorted(specs) if isinstance(specs, dict) and len(specs) == len(flat) else [str(i) for i in range(len(flat))]
    picked: list[str | int] = list(outputs or ())
    if not picked and layer.output_key is not None:
        picked = [layer.output_key]
    if not picked and layer._runtime.artifact.format == "tf1_hub" and not layer.signature_outputs_as_dict and "default" in names:
        picked = ["default"]
    if not picked:
        return [t for t, spec in zip(graph.outputs, flat, strict=True) if not _never_float(spec)] or None
    return [graph.outputs[names.index(p) if isinstance(p, str) else p] for p in picked]


def _never_float(spec: Any) -> bool:
    return isinstance(spec, TensorSpec) and not spec.dtype.startswith(("float", "bfloat", "half", "complex", "variant"))


def _statistic(layer: KerasLayer, weight: Weight, trained: bool, expression: str) -> Cause:
    dtype = weight.source.dtype
    if dtype.startswith(("q", "int8", "uint8", "int4")):
        return Cause("E12", f"quantized or packed as {dtype}", weight.source.name)
    if not dtype.startswith(("float", "bfloat", "half")):
        return Cause("E5", f"its dtype is {dtype}: no gradient is defined for it", dtype)
    if trained:
        return Cause(
            "E4", "a moving statistic: training steps update it while its layer trains, no gradient does", weight.source.name
        )
    text = "a moving statistic, and the artifact has no training variant that would update it"
    return Cause("E11", text, layer.name, f'{expression}.batch_norm = "training"')


def _blocked(ways: Ways, key: str, weight: Weight, expression: str) -> Cause | None:
    way = ways.variable(key)
    if way.level == GRADIENT:
        return None
    if way.level == CONNECTED:
        what = f"{way.op} {way.node!r}"
        mend = ""
        if way.op in RELAXABLE:
            mend = f"thaw.relax({expression}, {way.node!r})"
        kind = "a lookup" if way.op.startswith("LookupTable") else "an op without a gradient"
        return Cause("E7", f"the only way to the loss passes {what}, {kind}", what, mend)
    return Cause("E6", "no chosen output is computed from it", weight.source.name)


def _extra_rows(layer: KerasLayer, graph: Graph, path: str, baked: Sequence[VariableSource], lifted: str) -> list[Row]:
    """Rows for what is no variable: constants that are weights, and tables."""
    rows = []
    above = f"{path}/" if path else ""
    inner = {child.name for child in layer.layers}
    for source in baked:
        first, _, rest = source.name.partition("/")  # a scope around everything is no layer
        name = rest if first not in inner and rest.partition("/")[0] in inner else source.name
        cause = Cause("E3", "baked into the graph as a constant", source.name, lifted)
        rows.append(Row(above + name, math.prod(source.shape), False, cause, 1, source.shape, source.dtype))
    for node in graph.nodes.values():
        if node.op.startswith(TABLES):
            rows.append(Row(above + node.name, 0, False, Cause("E5", "a lookup table", node.name), 1, None, "table"))
        elif node.op.startswith(QUANTIZED):
            mend = lifted if unpacked(graph, node) is not None else ""
            cause = Cause("E12", f"quantized: {node.op} {node.name!r} unpacks it", node.name, mend)
            rows.append(Row(above + node.name, 0, False, cause, 1, None, "quantized"))
    return rows


def _baked(layer: KerasLayer) -> list[VariableSource]:
    """The constants of the layer's own graph that are weights and were not lifted."""
    if layer.lift_constants:
        return []
    artifact: Artifact = layer._runtime.artifact
    lifted = lift_constants(artifact, everything=True)
    new = [s for k, s in lifted.variables.items() if k.startswith(PREFIX) and k not in artifact.variables]
    nodes = [n for v in layer.program.variants for n in v.inference.nodes.values()]
    names = {n.name.rpartition("/")[2] for n in nodes if n.op == "Const"}
    return [s for s in new if s.name.rpartition("/")[2] in names]


def _notes(layer: KerasLayer, trained: bool, expression: str) -> list[str]:
    notes = []
    graph = layer.program.serving_variants[0].inference
    if layer.program.lost:
        gone = ", ".join(map(repr, layer.program.lost))
        notes.append(f"{layer.name!r} is a piece that the publisher's training graph does not have: {gone} is not in it")
    learns = any(node.op in WEIGHTS and node.op not in {"Gather", "GatherV2", "ResourceGather"} for node in graph.nodes.values())
    if not trained and learns:
        normalizes = any(node.op in FUSED for node in graph.nodes.values())
        what = "dropout and batch statistics are" if normalizes else "dropout is"
        mend = (
            f'{expression}.batch_norm = "training"; {expression}.dropout = 0.2' if normalizes else f"{expression}.dropout = 0.2"
        )
        notes.append(f"{layer.name!r} has no training variant (E11): {what} absent from training steps. Mend: {mend}")
    folded = folded_batch_norms(graph)
    if folded:
        notes.append(
            f"{layer.name!r}: batch normalizations were folded into {len(folded)} weights ({folded[0]!r}, ...): their statistics "
            "are gone, the weights themselves train; use a small learning rate"
        )
    return notes
