"""One model on the running backend: reads, runs, output, gradient, trains, saved; each a cell of the scoreboard.

A cell begins with "yes" (equal; how, in brackets), "-" (there is nothing to do; why, in brackets) or "no" (why).
"""

import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

import thaw
from corpus.goldens import (
    DEEP,
    TOLERANCE,
    Golden,
    as_numpy,
    compare_drawn,
    compare_outputs,
    cotangents,
    goldens_of,
    is_float,
    off,
    summed,
)
from corpus.layouts import KERAS_FILES, artifact_of
from corpus.made_up import candidates
from gradients import vjp
from thaw.errors import ThawError
from thaw.graph.ir import Graph
from thaw.load import choose_metagraph, choose_signature, load

STAGES = ("reads", "runs", "output", "gradient", "trains", "saved")
DRAWS = 12
DRAWN = 1e-2
"""Two calls on the same inputs that differ by more than this differ by more than rounding."""
BLURRED = 0.1
"""TensorFlow's own rounding excuses differences up to here."""
Report = Callable[[dict[str, Any], str], None]


def reason(error: BaseException) -> str:
    return f"no: {type(error).__name__}: {str(error)[:600]}"


# A layer, its inputs, its outputs by name


@dataclass
class Case:
    """One way to call the model: how to open its layer, what to feed, and what TensorFlow answered, if that is known."""

    path: Path
    options: dict[str, Any]
    golden: Golden | None = None
    inputs: Any = None

    @property
    def training(self) -> bool:
        return self.golden is not None and self.golden.trains

    def layer(self, **more: Any) -> Any:
        """The layer, everything thawed."""
        layer = thaw.KerasLayer(self.path, **{**self.options, **more})
        layer._set_leaves(True, follow_advice=False)
        if layer.dtype_policy.name == "float64":  # under JAX the variables are made as float32 whatever they say
            for variable in layer.variables:
                if variable.dtype == "float64":
                    variable.assign(as_numpy(variable).astype("float64"))
        return layer

    def call(self, layer: Any) -> dict[str, Any]:
        """The outputs by the goldens' names; updates of a training call are thrown away."""
        if not self.training:
            return self.named(layer(self.inputs, training=False))
        with keras.StatelessScope():
            return self.named(layer(self.inputs, training=True))

    def drawn_again(self, layer: Any) -> dict[str, Any]:
        """The outputs of another call, whose random numbers are the next ones; its updates stay."""
        return self.named(layer(self.inputs, training=self.training))

    def named(self, outputs: Any) -> dict[str, Any]:
        """Outputs by the goldens' names: positions where a callable was recorded."""
        if self.golden is not None and "__call__" in self.golden.variant:
            return by_position(outputs)
        return by_name(outputs)


def case_of(path: Path, golden: Golden) -> Case:
    """The case that a golden recorded."""
    tags, _, name = golden.variant.rpartition("/")
    options: dict[str, Any] = {"tags": tags.split("+")} if tags else {}
    if not name.startswith("__call__"):
        options |= {"signature": name, "signature_outputs_as_dict": True}
    if name == "frozen":
        options["lift_constants"] = True
    return Case(path, options, golden)


def default_case(path: Path) -> Case:
    """The case of a model without goldens: its `__call__`, its serving signature, or the first that it has."""
    artifact = load(path)
    metagraph = choose_metagraph(artifact, None)
    known = [*metagraph.signatures, *metagraph.callables]
    try:
        name = choose_signature(metagraph, None)
    except ThawError:
        if not known:
            raise
        name = known[0]
    options: dict[str, Any] = {"lift_constants": True} if artifact.format == "frozen_graph" else {}
    if name is not None:
        options["signature"] = name
        if name in metagraph.signatures:
            options["signature_outputs_as_dict"] = True
    return Case(path, options)


def recorded_inputs(layer: Any, golden: Golden) -> Any:
    """The recorded inputs as the layer takes them."""
    fed = {name: value.astype(object) if value.dtype.kind in "SU" else value for name, value in golden["in"].items()}
    program = layer.program
    if program.is_signature:
        return fed
    values = list(fed.values())
    first = program.bound(program.variants[0].trace)[program.parameters[0].name]
    if isinstance(first, dict):
        return fed
    return values if isinstance(first, (list, tuple)) else values[0]


def by_name(outputs: Any) -> dict[str, Any]:
    """Outputs by name where they have one, as a signature's do; else by position."""
    if isinstance(outputs, dict) and all(not isinstance(v, (dict, list, tuple)) for v in outputs.values()):
        return outputs
    return by_position(outputs)


def by_position(outputs: Any) -> dict[str, Any]:
    """Outputs by their positions in the flattened result."""
    return {str(i): value for i, value in enumerate(keras.tree.flatten(outputs))}


def float64_allowed() -> AbstractContextManager[Any]:
    """Where float64 is float64, also under JAX."""
    if keras.backend.backend() != "jax":
        return nullcontext()
    import jax

    return jax.enable_x64(True)


# Gradients


@dataclass
class Gradients:
    """The gradient of each float variable by name (None: not connected), and variables as a training call left them."""

    by_name: dict[str, np.ndarray | None]
    after: dict[str, Any] = field(default_factory=dict)


def gradients_of(layer: Any, case: Case, outputs: dict[str, Any], weights: list[np.ndarray | None] | None = None) -> Gradients:
    """The gradients of the outputs weighted by `weights`; None: by the recorded cotangents."""
    variables = [(n, v) for n, v in layer.source_variables.items() if keras.backend.is_float_dtype(v.dtype)]
    after: dict[str, Any] = {}
    weights = weights or cotangents(outputs, case.golden)
    names = list(outputs)

    def run(*values: Any) -> list[Any]:
        with keras.StatelessScope(state_mapping=[(v, x) for (_, v), x in zip(variables, values, strict=True)]) as scope:
            result = case.named(layer(case.inputs, training=case.training))
        if keras.backend.backend() != "jax":
            for name, v in variables:
                after[name] = scope.get_current_value(v)
        return [result[name] for name in names]

    values = [as_numpy(v) for _, v in variables]
    try:
        _, found = vjp(run, values, weights, jit=True)
    except Exception:  # what a traced step cannot do, an eager one may
        _, found = vjp(run, values, weights)
    return Gradients({name: g for (name, _), g in zip(variables, found, strict=True)}, after)


def compare_gradients(found: Gradients, golden: Golden) -> tuple[float, str]:
    """(worst difference, what differs) over all variables that TensorFlow has a gradient for."""
    worst, where = 0.0, ""
    largest = max((np.abs(g).max(initial=0.0) for g in golden["grad"].values()), default=0.0)
    missing = [n for n in golden["gradsum"] if n not in found.by_name]
    if missing:
        return float("inf"), f"no variables named {missing[:4]} ({len(missing)}); there are {list(found.by_name)[:4]}"
    for name in golden["gradsum"]:
        ours, theirs = found.by_name[name], golden["grad"].get(name)
        if ours is None:
            return float("inf"), f"no gradient reaches {name}"
        difference = off(ours, theirs, largest) if theirs is not None else off(summed(ours), golden["gradsum"][name])
        if difference > worst:
            worst, where = difference, f"{name}: off by {difference:.1e}"
    for name, theirs in golden["aftersum"].items():
        value = found.after.get(name)
        difference = 0.0 if value is None else off(summed(as_numpy(value)), theirs)
        if difference > worst:
            worst, where = difference, f"{name} after the step: off by {difference:.1e}"
    return worst, where


def finite_difference_error(case: Case, *, only: str = "", step: float = 1e-5) -> tuple[float, int]:
    """How far the gradient of the variables named like `only` is from central differences in float64, and how many they are.

    Along one random direction over all of them, the scalar that the cotangents make of the outputs is differenced; the error is
    relative to the norm of gradient times direction, variable by variable summed.
    """
    with float64_allowed():
        layer = case.layer(dtype="float64")
        outputs = case.call(layer)
        gradients = gradients_of(layer, case, outputs).by_name
        weights = [None if c is None else c.astype("float64") for c in cotangents(outputs, case.golden)]
        chosen = {n: layer.source_variables[n] for n, g in gradients.items() if g is not None and only in n}
        random = np.random.default_rng(0)
        kept = {n: as_numpy(v).copy() for n, v in chosen.items()}
        directions = {n: random.standard_normal(a.shape) * max(float(np.abs(a).max(initial=0.0)), 1e-2) for n, a in kept.items()}

        def scalar(amount: float) -> float:
            for n, variable in chosen.items():
                variable.assign(kept[n] + amount * directions[n])
            values = case.call(layer).values()
            return float(sum((as_numpy(v) * c).sum() for v, c in zip(values, weights, strict=True) if c is not None))

        measured = (scalar(step) - scalar(-step)) / (2 * step)
        parts = [float((np.asarray(gradients[n], "float64") * directions[n]).sum()) for n in chosen]
    scale = max(float(np.linalg.norm(parts)), 1e-9)
    return abs(measured - sum(parts)) / scale, len(chosen)


# Training and saving


def logits_behind(layer: Any) -> str | None:
    """The name of the float tensor of which an argmax is the output: what to train by where the outputs are classes."""
    graph: Graph = layer.program.serving_variants[0].inference
    seen, queue = set(), [t.node for t in graph.outputs]
    while queue:
        node = graph.nodes.get(queue.pop(0))
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op in {"ArgMax", "TopKV2", "CTCGreedyDecoder", "CTCBeamSearchDecoder"}:
            return f"{node.inputs[0].node}:{node.inputs[0].output}"
        queue.extend(t.node for t in node.inputs)
    return None


def trains(case: Case) -> str:
    """One SGD step with everything thawed moves what has a gradient and leaves the rest alone."""
    layer = case.layer()
    outputs = by_name(layer(case.inputs))
    through = ""
    if not any(is_float(as_numpy(v)) for v in outputs.values()):
        tensor = logits_behind(layer)
        if tensor is None:
            return "- (no float output)"
        chosen = {k: v for k, v in case.options.items() if k != "signature_outputs_as_dict"}
        layer = Case(case.path, chosen).layer(outputs=tensor)
        through = f" (through the logits {tensor})"
        outputs = by_name(layer(case.inputs))
    floats = [n for n, v in outputs.items() if is_float(as_numpy(v))]
    values = list(layer.trainable_variables)
    if not values:
        return "- (it has no weights)"
    if not any(as_numpy(outputs[n]).size for n in floats):
        return "- (the outputs are empty for these inputs)"
    before = {n: as_numpy(v).copy() for n, v in layer.source_variables.items()}

    def run(*given: Any) -> list[Any]:
        with keras.StatelessScope(state_mapping=list(zip(values, given, strict=True))):
            result = by_name(layer(case.inputs, training=True))
        return [keras.ops.mean(keras.ops.square(result[n])) for n in floats]

    _, gradients = vjp(run, [as_numpy(v) for v in values], [np.ones((), "float32")] * len(floats))
    pairs = [(g, v) for g, v in zip(gradients, values, strict=True) if g is not None]
    if not pairs:
        return "no: no gradient reaches any variable"
    optimizer = keras.optimizers.SGD(1e-3)
    optimizer.build([v for _, v in pairs])
    optimizer.apply([keras.ops.convert_to_tensor(g, dtype=v.dtype) for g, v in pairs], [v for _, v in pairs])
    moved = {v.path: g for g, v in pairs}
    for name, variable in layer.source_variables.items():
        stayed = np.array_equal(before[name], as_numpy(variable), equal_nan=as_numpy(variable).dtype.kind == "f")
        if variable.path not in moved and not stayed:
            return f"no: {name} moved without having been selected"
        if variable.path in moved and stayed and np.isfinite(moved[variable.path]).all():
            scale = max(np.abs(before[name]).max(initial=0.0), 1e-30)
            if 1e-3 * np.abs(moved[variable.path]).max(initial=0.0) > 1e-6 * scale:
                return f"no: {name} did not move"
    return f"yes{through}"


def saves(layer: Any, inputs: Any, outputs: dict[str, Any], *, drawn: bool, named: Callable[[Any], Any] = by_name) -> str:
    """Saved as .keras and loaded, the model has the same weights and answers the same (where it draws: has the same weights).

    `named` gives outputs the names that they have in `outputs`.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        layer.save(file)
        again = keras.saving.load_model(file)
    for ours, theirs in zip(again.variables, layer.variables, strict=True):
        if "seed" not in theirs.path and off(as_numpy(ours), as_numpy(theirs)) > 0:
            return f"no: {theirs.path} is another"
    for name, value in named(again(inputs, training=False)).items():
        difference = off(as_numpy(value), as_numpy(outputs[name]))
        if difference > 1e-6 and not drawn:
            return f"no: output {name!r} is off by {difference:.1e}"
    return "yes (weights; the outputs are drawn)" if drawn else "yes"


# One model, all stages


class Scored:
    """The row of one model while it is being made."""

    def __init__(self, wanted: tuple[str, ...], report: Report) -> None:
        self.row: dict[str, Any] = dict.fromkeys(STAGES, "-")
        self.wanted = wanted
        self.report = report
        self.stage = "reads"

    def begin(self, stage: str) -> None:
        self.stage = stage
        self.report(self.row, stage)

    def settle(self, stage: str, cell: str) -> None:
        """Keeps the worst of several variants: "no" over "yes (...)" over "yes" over "-"."""

        def rank(text: str) -> int:
            return 3 if text.startswith("no") else 2 if text.startswith("yes (") else 1 if text == "yes" else 0

        if rank(cell) > rank(self.row[stage]) or self.row[stage] == "-":
            self.row[stage] = cell

    def open(self, stage: str) -> bool:
        """Whether the stage is wanted and has not been settled by another variant."""
        return stage in self.wanted and self.row[stage] == "-"


def score(path: Path, stages: tuple[str, ...] = STAGES, report: Report = lambda row, stage: None) -> dict[str, Any]:
    """What works of the model at `path` on the running backend: a cell a stage, beside seconds.

    `report` is told the row and the stage at the beginning of each stage, so that what was found is known if this one kills us.
    """
    scored, started = Scored(stages, report), time.perf_counter()
    scored.begin("reads")
    try:
        artifact, goldens = artifact_of(path), goldens_of(path if path.is_dir() else path.parent)
        if artifact is None:
            scored.row["reads"] = "no: there is no SavedModel, .pb, .h5 or .keras file in it"
        elif artifact.suffix in KERAS_FILES:
            _score_native(artifact, goldens, scored)
        else:
            for case in [case_of(artifact, golden) for golden in goldens] or [default_case(artifact)]:
                _score_case(case, scored)
    except Exception as error:  # whatever it is, it is the row's reason
        if os.environ.get("CORPUS_DEBUG"):
            traceback.print_exc()
        scored.row[scored.stage] = reason(error)
    return {**scored.row, "seconds": round(time.perf_counter() - started, 1)}


def _score_case(case: Case, scored: Scored) -> None:
    scored.begin("reads")
    layer = case.layer()
    scored.settle("reads", "yes")
    scored.begin("runs")
    golden = case.golden
    if golden is not None:
        case.inputs = recorded_inputs(layer, golden)
        outputs = case.call(layer)
        scored.settle("runs", "yes")
    else:
        outputs = _first_that_runs(layer, case)
        scored.settle("runs", f"yes (made-up inputs; {len(outputs)} outputs)")
    drawn = _is_drawn(case, layer, outputs)
    floats = any(is_float(as_numpy(v)) for v in outputs.values())
    if golden is not None and "output" in scored.wanted:
        scored.begin("output")
        scored.settle("output", _output_cell(case, layer, outputs, golden, drawn=drawn))
    if "gradient" in scored.wanted and floats and not drawn:
        scored.begin("gradient")
        scored.settle("gradient", _gradient_cell(case, layer, outputs))
    if not case.training and scored.open("saved"):
        scored.begin("saved")
        scored.row["saved"] = saves(layer, case.inputs, outputs, drawn=drawn, named=case.named)
    if not case.training and scored.open("trains"):
        scored.begin("trains")
        scored.row["trains"] = trains(case)


def _first_that_runs(layer: Any, case: Case) -> dict[str, Any]:
    """The outputs for the first made-up inputs that the model takes, which stay in `case`; else raises what the first raised."""
    first: Exception | None = None
    for case.inputs in _inputs(layer):
        try:
            return case.call(layer)
        except Exception as error:
            first = first or error
    raise first or ValueError("it takes no inputs that could be made up")


def _inputs(layer: Any) -> Iterator[Any]:
    return candidates(layer.program)


def _is_drawn(case: Case, layer: Any, outputs: dict[str, Any]) -> bool:
    """Whether the outputs are random: TensorFlow's were, or some calls on the same inputs differ (dropout may drop little)."""
    if case.golden is not None and (case.golden.stochastic or compare_outputs(outputs, case.golden)[0] <= DEEP):
        return case.golden.stochastic
    return any(
        off(as_numpy(v), as_numpy(outputs[n])) > DRAWN
        for _ in range(DRAWS if case.training else 1)
        for n, v in case.drawn_again(layer).items()
    )


def _output_cell(case: Case, layer: Any, outputs: dict[str, Any], golden: Golden, *, drawn: bool) -> str:
    if drawn:
        draws = [case.drawn_again(layer) for _ in range(DRAWS)]
        worst, where = compare_drawn(draws, golden)
        return f"yes ({where})" if worst == 0 else f"no: {golden.variant}: {where}"
    worst, where = compare_outputs(outputs, golden)
    if DEEP < worst < float("inf"):
        with float64_allowed():
            exact, _ = compare_outputs(case.call(case.layer(dtype="float64")), golden)
        return _judged(golden, worst, where, exact)
    return _judged(golden, worst, where)


def _gradient_cell(case: Case, layer: Any, outputs: dict[str, Any]) -> str:
    golden = case.golden
    if golden is not None and golden["gradsum"]:
        worst, where = compare_gradients(gradients_of(layer, case, outputs), golden)
        if DEEP < worst < float("inf"):
            with float64_allowed():
                exact_layer = case.layer(dtype="float64")
                found = gradients_of(exact_layer, case, case.call(exact_layer))
            return _judged(golden, worst, where, compare_gradients(found, golden)[0])
        return _judged(golden, worst, where)
    if golden is not None and any(g["gradsum"] for g in goldens_of(case.path)):
        return "-"
    for step in (1e-5, 1e-7):  # the shorter one where the longer crosses a jump, as where boxes that compete change places
        error, count = finite_difference_error(case, step=step)
        if not count:
            return "- (no gradient reaches a weight)"
        if error < 1e-2:
            break
    return f"yes (finite differences: {error:.0e})" if error < 1e-2 else f"no: off from finite differences by {error:.1e}"


def _judged(golden: Golden, worst: float, where: str, exact: float = 0.0) -> str:
    """The cell for a difference; `exact` is how far TensorFlow's float32 answer is from ours computed in float64.

    Batch statistics of a handful of examples and logarithms near zero magnify rounding: a difference of that size is no error.
    """
    if worst <= TOLERANCE:
        return "yes"
    if worst <= DEEP:
        return f"yes ({worst:.0e})"
    if worst <= 4 * min(exact, BLURRED):
        return f"yes (within TensorFlow's own rounding, {exact:.0e})"
    rounding = f" (TensorFlow's own rounding: {exact:.1e})" if exact else ""
    return f"no: {golden.variant}: {where}{rounding}"


def _score_native(path: Path, goldens: list[Golden], scored: Scored) -> None:
    """A legacy Keras file: opened as a native model."""
    model = thaw.load_model(path)
    scored.row["reads"] = "yes"
    scored.begin("runs")
    golden = next((g for g in goldens if g.variant.endswith("/keras")), None)
    if golden is not None:
        fed = [value.astype(object) if value.dtype.kind in "SU" else value for value in golden["in"].values()]
    else:
        fed = [np.random.default_rng(0).random([2, *(n or 32 for n in x.shape[1:])]).astype("float32") for x in model.inputs]
    inputs: Any = fed if len(fed) > 1 else fed[0]
    outputs = by_name(model(inputs, training=False))
    scored.row["runs"] = "yes" if golden is not None else f"yes (made-up inputs; {len(outputs)} outputs)"
    if golden is not None:
        names = list(golden["out"])
        renamed = dict(zip(names, outputs.values(), strict=False)) if not set(names) <= set(outputs) else outputs
        scored.begin("output")
        scored.row["output"] = _judged(golden, *compare_outputs(renamed, golden))
    if scored.open("saved"):
        scored.begin("saved")
        scored.row["saved"] = saves(model, inputs, outputs, drawn=False)
    if scored.open("trains"):
        scored.begin("trains")
        scored.row["trains"] = _trains_natively(model, inputs, outputs)


def _scaled(scale: float, x: np.ndarray) -> np.ndarray:
    return (x * scale).astype(x.dtype) if x.dtype.kind == "f" else x


def _trains_natively(model: Any, inputs: Any, outputs: dict[str, Any]) -> str:
    """One step of `fit` moves weights; where the recorded inputs saturate the net, inputs near zero do."""
    before = [as_numpy(v).copy() for v in model.trainable_variables]
    model.compile("sgd", "mse", metrics=[])  # without a list, Keras keeps the metrics that the file compiled it with
    for scale in (1, 0.01):
        model.fit(
            keras.tree.map_structure(partial(_scaled, scale), inputs), [as_numpy(v) + 1 for v in outputs.values()], verbose=0
        )
        if any(not np.array_equal(b, as_numpy(v)) for b, v in zip(before, model.trainable_variables, strict=True)):
            return "yes"
    return "no: no weight moved" if before else "- (it has no weights)"
