"""`thaw.profile`: where the time of a model goes, layer by layer, forward and backward, and to which op.

Each op is run on the values that a real batch gives it, compiled by itself as the backend compiles, and timed; its gradients
likewise. Ops that are equal (same kind, attributes, shapes) are timed once. Within a whole compiled step the backend fuses
neighbouring ops, so the sum says where time goes and not how long a step takes. Imports layer and below.
"""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from thaw.errors import HubArgumentError, StaticInputError, ThawError
from thaw.graph.ir import TensorSpec
from thaw.graph.program import input_structures, tensors
from thaw.inner import InnerLayer
from thaw.layer import KerasLayer
from thaw.lowering import timing_kernels
from thaw.lowering.run import Context, Plan, Step
from thaw.lowering.values import Handle, Value, cast, is_host

REPEATS = 5
SIDE = 224
"""Pixels of an image, where the model leaves them open."""
LENGTH = 32
"""Of any other axis that is open."""
OUTSIDE = "(no inner layer)"
TEXT = "the quick brown fox jumps over the lazy dog"


@dataclass
class Row:
    """One layer.

    Attributes:
        path: of an inner layer, the publisher's; of a Keras layer, its name; in brackets, a scope of the graph without weights.
        forward: seconds.
        backward: seconds; zero where no gradient passes.
        ops: how many of each kind.
        by_op: seconds by kind of op, forward and backward.
        share: of the whole, in percent.
    """

    path: str
    forward: float = 0.0
    backward: float = 0.0
    ops: Counter[str] = field(default_factory=Counter)
    by_op: dict[str, float] = field(default_factory=dict)
    share: float = 0.0

    @property
    def total(self) -> float:
        """Seconds, forward and backward."""
        return self.forward + self.backward

    @property
    def dominating(self) -> str:
        """The kind of op that takes most of the time."""
        return max(self.by_op, key=lambda op: self.by_op[op])

    def add(self, op: str, forward: float, backward: float) -> None:
        """One op."""
        self.forward += forward
        self.backward += backward
        self.ops[op] += 1
        self.by_op[op] = self.by_op.get(op, 0.0) + forward + backward


@dataclass(frozen=True)
class Profile:
    """Where the time of a model goes.

    Attributes:
        name: of the model.
        rows: in the order of the graph; only layers that have ops.
        method: how it was measured.
        batch: examples in the batch.
        inputs: shapes of what was fed.
    """

    name: str
    rows: tuple[Row, ...]
    method: str
    batch: int
    inputs: tuple[tuple[int, ...], ...]

    @property
    def forward(self) -> float:
        """Seconds."""
        return sum(row.forward for row in self.rows)

    @property
    def backward(self) -> float:
        """Seconds."""
        return sum(row.backward for row in self.rows)

    @property
    def by_op(self) -> dict[str, float]:
        """Seconds by kind of op, the most first."""
        total: dict[str, float] = {}
        for row in self.rows:
            for op, spent in row.by_op.items():
                total[op] = total.get(op, 0.0) + spent
        return dict(sorted(total.items(), key=lambda item: -item[1]))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "method": self.method,
            "batch": self.batch,
            "inputs": [list(shape) for shape in self.inputs],
            "forward": self.forward,
            "backward": self.backward,
            "by_op": self.by_op,
            "layers": [vars(row) | {"ops": dict(row.ops), "dominating": row.dominating} for row in self.rows],
        }


def profile(
    model: keras.Layer | str | os.PathLike[str],
    inputs: Any = None,
    *,
    batch: int = 8,
    size: int | None = None,
    repeats: int = REPEATS,
) -> Profile:
    """Where the time of a training step of a model goes: by layer, forward and backward, and by op.

    Args:
        model: a `thaw.KerasLayer`, a Functional or Sequential model (in which thaw layers are looked into), or a handle, which is
            opened with everything training.
        inputs: a batch; None: one is made up, random numbers of the right shapes.
        batch: examples in a batch that is made up.
        size: length of open axes in a batch that is made up: pixels of images, length of a series.
        repeats: times that each op is timed; the shortest counts.

    Raises:
        ThawError: a handle that cannot be opened; inputs that do not fit.
        HubArgumentError: a model whose layers do not say what they take.

    Example:
        thaw.profile("path/to/module", batch=32).rows
    """
    if isinstance(model, str | os.PathLike):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = KerasLayer(model, trainable=True)
    if batch < 1 or repeats < 1 or (size is not None and size < 1):
        raise HubArgumentError(f"batch={batch}, size={size}, repeats={repeats}", "numbers from 1", "Pass such numbers")
    rows: dict[str, Row] = {}
    if isinstance(model, KerasLayer):
        if inputs is None:
            inputs = _made_for_layer(model, batch, size)
        _Clock(model, rows, repeats).run(inputs)
    else:
        if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
            raise HubArgumentError(
                f"{model!r} does not say what its layers take",
                "a thaw.KerasLayer, or a Functional or Sequential model that is built",
                "Call it on a keras.Input and make a keras.Model of that",
            )
        if inputs is None:
            made = [_made(tuple(t.shape), str(t.dtype), batch, size) for t in model.inputs]
            inputs = made[0] if len(made) == 1 else made
        _profile_model(model, inputs, rows, repeats)
    whole = sum(row.total for row in rows.values()) or 1.0
    for row in rows.values():
        row.share = 100.0 * row.total / whole
    shapes = tuple(tuple(int(n) for n in np.shape(v)) for v in keras.tree.flatten(inputs) if hasattr(v, "shape"))
    method = f"each op {timing_kernels.METHODS[keras.backend.backend()]}, on the values of one batch, best of {repeats}"
    return Profile(model.name, tuple(rows.values()), method, shapes[0][0] if shapes and shapes[0] else 1, shapes)


def _made(shape: Sequence[int | None], dtype: str, batch: int, size: int | None) -> Any:
    """A batch of random numbers (whole ones: of ones, which are an index everywhere; strings: of one sentence)."""
    image = len(shape) == 4
    lengths = [batch if i == 0 and n is None else n or size or (SIDE if image else LENGTH) for i, n in enumerate(shape)]
    if dtype == "string":
        return np.full(lengths, TEXT.encode(), dtype=object)
    if dtype.startswith(("float", "bfloat")):
        random = np.random.default_rng(0).random(lengths, "float32")
        return random if dtype == "float32" else keras.ops.cast(random, dtype)
    return np.ones(lengths, dtype)


def _made_for_layer(layer: KerasLayer, batch: int, size: int | None) -> Any:
    """A batch for the layer's entry point."""
    program = layer.program
    variant = program.serving_variants[0]
    structures = list(input_structures(program, variant))
    found = [spec for s in structures for spec in tensors(s)]
    for spec in found:
        if spec.shape is None:
            raise HubArgumentError(
                f"The artifact does not say how many axes its input {spec.name!r} has",
                "inputs",
                "Call thaw.profile(layer, inputs)",
            )

    def make(spec: TensorSpec) -> Any:
        return _made(spec.shape or (), spec.dtype, batch, size)

    given = {k: v for k, v in program.bound(variant.trace).items() if k not in layer.arguments}
    if not program.is_signature:
        return keras.tree.map_structure(
            lambda s: make(s) if isinstance(s, TensorSpec) else s, given[program.parameters[0].name], none_is_leaf=False
        )
    values = {name: make(spec) for name, spec in given.items() if isinstance(spec, TensorSpec)}
    return next(iter(values.values())) if len(values) == 1 else values


def _profile_model(model: keras.Model, inputs: Any, rows: dict[str, Row], repeats: int) -> None:
    """Layer by layer of a Functional or Sequential model, each on what it takes there."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    flat = [inputs[t.name] for t in model.inputs] if isinstance(inputs, dict) else keras.tree.flatten(inputs)
    trains = False
    for layer in layers:
        try:
            taken = keras.Model(model.inputs, layer.input)(flat)
        except (AttributeError, ValueError) as error:
            raise HubArgumentError(
                f"The layer {layer.name!r} of {model.name!r} is used in several places, or in none",
                "layers that are used once",
                "Profile the layers one by one: thaw.profile(layer, inputs)",
            ) from error
        if isinstance(layer, KerasLayer):
            _Clock(layer, rows, repeats, inputs_train=trains).run(taken)
        else:
            _time_native(layer, taken, rows, repeats, trains)
        trains = trains or bool(layer.trainable_variables)


def _time_native(layer: keras.Layer, taken: Any, rows: dict[str, Row], repeats: int, inputs_train: bool) -> None:
    """A layer of Keras' own, as one op of its kind."""
    flat = [keras.ops.convert_to_tensor(v) for v in keras.tree.flatten(taken)]
    floats = [i for i, v in enumerate(flat) if inputs_train and _is_float(v)]
    still = [v.value for v in layer.non_trainable_variables]
    weights = [v.value for v in layer.trainable_variables]
    places = [*floats, *(i for i in range(len(flat)) if i not in floats)]

    def run(values: list[Value]) -> list[Value]:
        own, rest = values[: len(weights)], values[len(weights) :]
        found = [rest[places.index(i)] for i in range(len(flat))]
        outputs, _ = layer.stateless_call(own, still, keras.tree.pack_sequence_as(taken, found))
        return [t for t in keras.tree.flatten(outputs) if t is not None]

    wanted = [*weights, *(flat[i] for i in floats)]
    others = [flat[i] for i in places[len(floats) :]]
    spent = timing_kernels.forward_and_backward(run, wanted, others, repeats)
    rows.setdefault(layer.name, Row(layer.name)).add(type(layer).__name__, *spent)


def _is_float(value: Value) -> bool:
    return bool(keras.ops.is_tensor(value) and keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype)))


class _Clock:
    """Runs the program of one layer op by op, and times each."""

    def __init__(self, layer: KerasLayer, rows: dict[str, Row], repeats: int, *, inputs_train: bool = False) -> None:
        self.layer, self.rows, self.repeats, self.inputs_train = layer, rows, repeats, inputs_train
        self.runtime = layer._runtime
        self.paths = {key: _path(owner) for key, owner in self.runtime.owners.items()}
        self.scopes = sorted({p for p in self.paths.values() if p}, key=len, reverse=True)
        self.times: dict[Any, tuple[float, float]] = {}

    def run(self, inputs: Any) -> None:
        """One batch, as a training step takes it where anything of the layer trains."""
        training = bool(self.layer.trainable)
        _, graph, feeds, texts = self.layer.prepared(inputs, training)
        resources = self.runtime.resources
        if texts:
            text = self.runtime.text_program(graph, texts)
            spent = timing_kernels.seconds(lambda: text.preprocess(feeds), self.repeats)
            self.rows.setdefault("(text, on the host)", Row("(text, on the host)")).add("strings", spent, 0.0)
            boundary = [cast(v, self.layer.compute_dtype) if v.dtype == np.float32 else v for v in text.preprocess(feeds)]
            feeds = [*(feeds[i] for i in text.split.device_inputs), *boundary]
            graph = text.split.device
        plan = resources.plan(graph, self.layer.compute_dtype)
        values = {key: v.value for key, v in resources.variables.items()}
        if self.layer.compute_dtype != "float32":
            values = {k: cast(v, self.layer.compute_dtype) if _is_float(v) else v for k, v in values.items()}
        context = Context(
            resources,
            training=training,
            compute_dtype=self.layer.compute_dtype,
            seed_generator=keras.random.SeedGenerator(0),
            writes=dict(values),
            max_iterations=self.layer.max_iterations,
        )
        self._walk(plan, context, feeds)

    def _walk(self, plan: Plan, context: Context, feeds: list[Value]) -> None:
        values: list[Value] = [None] * plan.size
        for number, value in (*zip(plan.inputs, feeds, strict=True), *plan.constants):
            values[number] = value
        moving = {n for n in plan.inputs if self.inputs_train and _is_float(values[n])}  # what gradients are asked of
        keys: dict[int, str] = {}  # slot -> the variable that it is the value or handle of
        for index, step in enumerate(plan.steps):
            outputs = [number for _, number in plan.targets[index]]
            before = [values[n] for n in step.inputs]
            key = next((keys[n] for n in step.inputs if n in keys), None)
            plan.advance(index, context, values)
            handles = [values[n].key for n in outputs if isinstance(values[n], Handle)]
            passes = step.node.op in {"ReadVariableOp", "Identity", "Cast"} or bool(handles)
            if handles or (passes and key):
                keys.update((n, handles[0] if handles else str(key)) for n in outputs)
                trains = any(getattr(context.resources.variables.get(k), "trainable", False) for k in (*handles, key) if k)
                moving.update(n for n in outputs if trains)
                continue  # naming and reading a variable takes no time of its own
            if any(n in moving for n in step.inputs) and step.lowering.gradient != "none":
                moving.update(n for n in outputs if _is_float(values[n]))
            if all(is_host(v) or v is None for v in (*before, *(values[n] for n in outputs))):
                continue  # known before anything runs
            asked = [n in moving for n in step.inputs]
            self._row(step, key).add(step.node.op, *self._time(plan, step, context, before, asked))

    def _row(self, step: Step, key: str | None) -> Row:
        """The inner layer that a step is of: that whose weight it takes, else the one whose scope it stands in."""
        path = self.paths.get(key or "")
        if not path:
            name = f"/{step.node.name}/"
            path = next((p for p in self.scopes if f"/{p}/" in name), None)
        if not path:
            scope = step.node.name.rpartition("/")[0].rpartition("/")[2]
            path = f"({scope})" if scope else OUTSIDE
        return self.rows.setdefault(path, Row(path))

    def _time(self, plan: Plan, step: Step, context: Context, before: list[Value], asked: list[bool]) -> tuple[float, float]:
        """Seconds of one op on these inputs, forward and backward."""
        wanted = [i for i, v in enumerate(before) if asked[i] and _is_float(v)]
        held = {i for i, _ in step.static}
        others = [i for i, v in enumerate(before) if i not in wanted and i not in held and keras.ops.is_tensor(v)]
        alike = (
            step.node.op,
            repr({k: v for k, v in step.attributes.items() if not isinstance(v, np.ndarray)}),
            tuple((tuple(v.shape), str(v.dtype)) if hasattr(v, "shape") else id(v) for v in before),
            tuple(bytes(np.ascontiguousarray(v)) if is_host(v) and v.size < 64 and v.dtype != object else None for v in before),
            tuple(wanted),
        )
        if step.lowering.context or alike not in self.times:

            def run(values: list[Value]) -> list[Value]:
                arguments = list(before)
                for i, value in zip((*wanted, *others), values, strict=True):
                    arguments[i] = value
                child = context.child(writes=dict(context.writes or {}))
                result = plan._apply(step, child, arguments)
                return [v for v in keras.tree.flatten(result) if keras.ops.is_tensor(v)]

            try:
                self.times[alike] = timing_kernels.forward_and_backward(
                    run, [before[i] for i in wanted], [before[i] for i in others], self.repeats
                )
            except ThawError as error:
                if not isinstance(error, StaticInputError) and not isinstance(error.__cause__, Exception):
                    raise
                # It needs to know values that a compiled function cannot know: as it is run, then, and forward only.
                self.times[alike] = (
                    timing_kernels.seconds(lambda: run([before[i] for i in (*wanted, *others)]), self.repeats),
                    0.0,
                )
        return self.times[alike]


def _path(owner: Any) -> str:
    """The publisher's name of the scope that holds a weight; empty at the root."""
    return owner.source_path if isinstance(owner, InnerLayer) else ""
