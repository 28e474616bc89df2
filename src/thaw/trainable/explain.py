"""Why each weight of a model trains or not: the arguments that hold for any Keras model.

In this order: what it is (integer, statistic, left out by its maker), what the flags say, whether a gradient can reach it through
the graph of layers, whether the optimizer has it, and at what rate. What only a thaw layer knows of its weights
comes in as `Known`. May import this package.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from thaw.trainable import hooks
from thaw.trainable.account import PATH, Cause, Row
from thaw.trainable.memory import memory_of
from thaw.trainable.select import Leaf, Map, survey
from thaw.trainable.watch import bursts_late, is_watched

GRADIENT, CONNECTED = 2, 1
"""How well an operation is connected to the loss: by a way for gradients; by ways that all pass an op without one."""

HARD_OPS = frozenset({
    "Argmax", "Argmin", "Argsort", "Ceil", "Digitize", "Equal", "Floor", "FloorDivide", "Greater", "GreaterEqual",
    "Isfinite", "Isinf", "Isnan", "Less", "LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr", "NotEqual", "OneHot", "Round",
    "Rint", "Sign", "StopGradient", "Trunc", "Discretization", "Hashing", "StringLookup", "IntegerLookup", "CategoryEncoding",
    "HashedCrossing",
})  # fmt: skip
"""Operations of Keras that no gradient passes. So is every one whose output is not of a float dtype."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a layer of thaw says of itself.

    Attributes:
        causes: why weights do not train whatever the flags say, by id of the variable.
        advice: why a weight that is frozen is not among those that the layer's flag thaws, by id.
        blocked: by id, why no gradient reaches a weight from the layer's outputs.
        passes: whether gradients go from the outputs to the layer's inputs; the op in the way, if not.
        rows: rows for what is no variable: constants, tables.
        notes: what holds for the whole layer.
    """

    causes: Mapping[int, Cause] = field(default_factory=dict)
    advice: Mapping[int, Cause] = field(default_factory=dict)
    blocked: Mapping[int, Cause] = field(default_factory=dict)
    passes: str = ""
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()


def explain_rows(
    model: keras.Layer,
    *,
    outputs: Sequence[int | str] | None = None,
    known: Mapping[int, Known] | None = None,
    zero: Sequence[keras.Variable] = (),
    name: str = "model",
) -> tuple[list[Row], list[str]]:
    """A row for each weight of `model`, in graph order, and notes.

    Args:
        model: any Keras model or layer.
        outputs: names or positions of the outputs that the loss is made of; None for all that have one.
        known: by id of a layer, what it says of itself.
        zero: variables whose gradient was exactly zero on a probe.
        name: what the mends call the model.
    """
    known = known or {}
    found = survey(model)
    argument = _Argument(model, found, known, name)
    reach = connectivity(model, outputs, lambda layer: known[id(layer)].passes if id(layer) in known else "")
    dead = {id(v) for v in zero}
    rows = []
    for leaf in found.leaves:
        cause = argument.cause(leaf, reach)
        if cause is None and id(leaf.variable) in dead:
            cause = _zero(leaf, argument)
        value = leaf.variable
        shape = tuple(int(n) for n in value.shape) if value.shape is not None else None
        size = int(np.prod(shape)) if shape is not None else 0
        rows.append(Row(leaf.path, size, cause is None, cause, 1, shape, str(keras.backend.standardize_dtype(value.dtype))))
    extra = [row for k in known.values() for row in k.rows]
    return rows + extra, [note for k in known.values() for note in k.notes] + argument.notes


class _Argument:
    """What is the same for all weights of one model: its flags, its optimizer, and the layers that know more."""

    def __init__(self, model: keras.Layer, found: Map, known: Mapping[int, Known], name: str) -> None:
        self.model = model
        self.name = name
        self.known = known
        self.above = _ancestors(found)
        self.paths = {id(place.layer): place.path for place in found.places}
        self.flagged = {id(v) for v in model.trainable_variables}
        self.optimizer = getattr(model, "optimizer", None)
        unbuilt = [str(layer.name) for layer in hooks.all_layers(model) if not layer.built]
        self.notes: list[str] = []
        if unbuilt:
            self.notes.append(f"{len(unbuilt)} layers are not built yet ({unbuilt[0]!r}, ...): call the model on a batch first")
        self.built = self._built()
        self.holders = {
            id(inner): k for place in found.places if (k := known.get(id(place.layer))) for inner in hooks.all_layers(place.layer)
        }
        if self.built is not None:
            late = [
                leaf.path for leaf in found.leaves if id(leaf.variable) in self.built and id(leaf.variable) not in self.flagged
            ]
            if late:
                self.notes.append(
                    f"{len(late)} weights were frozen after the optimizer was built ({late[0]!r}, ...): plain Keras goes on "
                    f"training them, raises, or loses them, by backend. Mend: thaw.recompile({name})"
                )

        frozen = [
            leaf.path for leaf in found.leaves if hooks.could_train(leaf.variable) and id(leaf.variable) not in self.flagged
        ]
        if frozen and isinstance(model, keras.Model) and bursts_late(model):
            self.notes.append(
                f"the optimizer is under way: by its step count, what is thawed now ({frozen[0]!r}, ...) would move up to 6.6 "
                "learning rates a step in its first dozen steps, and the loss jump. Mend (own step counts for what is fresh): "
                f"thaw.watch({name})"
            )

    def _built(self) -> set[int] | None:
        """Ids of the variables that the optimizer was built on, where changes of flags do not reach it by themselves."""
        if self.optimizer is None or not self.optimizer.built or is_watched(self.model):
            return None
        if isinstance(self.model, keras.Model) and hooks.holds_live_layer(self.model):
            return None
        return {id(v) for leaf in hooks.leaf_optimizers(self.optimizer) for v in hooks.built_on(leaf)}

    def cause(self, leaf: Leaf, reach: "Reach | None") -> Cause | None:
        """Why the weight does not train; None where it does."""
        key, knows = id(leaf.variable), self.holders.get(id(leaf.owner), Known())
        if key in knows.causes:
            return knows.causes[key]
        cause = self._nature(leaf)
        if cause is None and key not in self.flagged:
            cause = knows.advice.get(key) if not self._frozen_whole(leaf, knows) else None
            cause = cause or self._frozen(leaf)
        if cause is None and reach is not None:
            cause = self._connection(leaf, reach)
        if cause is None:
            cause = knows.blocked.get(key)
        return cause or self._optimizing(leaf)

    def _frozen_whole(self, leaf: Leaf, knows: Known) -> bool:
        """Whether the weight is one that its layer's flag would thaw."""
        return id(leaf.variable) not in knows.advice

    def _nature(self, leaf: Leaf) -> Cause | None:
        variable, dtype = leaf.variable, str(keras.backend.standardize_dtype(leaf.variable.dtype))
        quantization = getattr(leaf.owner, "quantization_mode", None)
        if quantization and dtype in {"int8", "uint8", "float8_e4m3fn"} | {"int4", "uint4"}:
            lora = f"{self.expression(leaf.owner)}.enable_lora(4)" if hasattr(leaf.owner, "enable_lora") else ""
            return Cause("E12", f"quantized to {quantization} ({dtype}); train an adapter beside it", str(leaf.owner.name), lora)
        if not hooks.is_float(variable):
            return Cause("E5", f"its dtype is {dtype}: no gradient is defined for it", dtype)
        if leaf.may_train:
            return None
        if hooks.could_train(variable):
            if id(variable) in self.flagged:
                return None
            mend = f"thaw.unfreeze({self.name}, {PATH}, left_out=True)"
            return Cause("E2", f"the layer {leaf.owner.name!r} made it with trainable=False", str(leaf.owner.name), mend)
        moves = "moves" if leaf.owner.trainable else "stands still"
        return Cause("E4", f"a statistic, updated in training steps and not by gradients; it {moves} now", str(leaf.owner.name))

    def _frozen(self, leaf: Leaf) -> Cause:
        """Frozen by a flag: the variable's, its layer's, or that of the outermost frozen container."""
        mend = f"thaw.unfreeze({self.name}, {PATH})"
        base = hooks.lora_base(leaf.owner)
        if base is leaf.variable:
            return Cause("E1", "LoRA trains in its place", str(leaf.owner.name))
        for container in self.above.get(id(leaf.owner), [leaf.owner]):
            if not container.trainable:
                what = "model" if container is self.model else "layer"
                if leaf.variable.trainable:
                    text = f"its own flag is True, but the {what} {container.name!r} around it has trainable=False"
                else:
                    text = f"frozen by the {what} {container.name!r} (trainable=False)"
                return Cause("E1", text, str(container.name), mend)
        return Cause("E1", "its own flag is trainable=False", leaf.path, mend)

    def _connection(self, leaf: Leaf, reach: "Reach") -> Cause | None:
        level, culprit = reach.of(leaf.owner)
        if level == GRADIENT:
            return None
        if level == CONNECTED:
            return Cause("E7", f"the only way to the loss passes {culprit}, which has no gradient", culprit)
        return Cause(
            "E6", "it is not connected to the output that the loss is made of", str(leaf.owner.name), reach.mend(self.name)
        )

    def _optimizing(self, leaf: Leaf) -> Cause | None:
        key = id(leaf.variable)
        if self.built is not None and key not in self.built:
            mend = f"thaw.recompile({self.name})"
            if getattr(self.model, "train_function", None) is not None:
                text = "its flag was set after the optimizer was built, and plain Keras does not look again"
                return Cause("E8", text, f"{self.name}.compile", mend)
            name = str(getattr(self.optimizer, "name", ""))
            return Cause("E9", f"the optimizer {name!r} was built on {len(self.built)} other variables", name, mend)
        if self.optimizer is None:
            return None
        for inner in hooks.leaf_optimizers(self.optimizer):
            if memory_of(inner).rates.get(key) == 0.0:
                mend = f"thaw.multiply_rates({self.name}, {{{PATH}: 1.0}})"
                return Cause("E13", "its multiplier of the learning rate is 0", "thaw.multiply_rates", mend)
        if _rate(self.optimizer) == 0.0:
            mend = f"{self.name}.optimizer.learning_rate = 1e-3"
            return Cause("E13", "the optimizer's learning rate is 0", f"{self.name}.optimizer.learning_rate", mend)
        return None

    def expression(self, layer: keras.Layer) -> str:
        """Code that gives the layer, from the name that mends use for the model."""
        if layer is self.model:
            return self.name
        chain = [part for part in reversed(self.above.get(id(layer), [])) if part is not self.model]
        return self.name + "".join(f".get_layer({part.name!r})" for part in reversed(chain))


def _zero(leaf: Leaf, argument: _Argument) -> Cause:
    """A gradient that is exactly zero on the probe: most often a unit that is dead or saturated."""
    activation = getattr(getattr(leaf.owner, "activation", None), "__name__", "")
    guess = {"relu": "dead ReLU", "softmax": "saturated softmax", "sigmoid": "saturated sigmoid", "tanh": "saturated tanh"}
    reason = guess.get(activation, "dead or saturated units, or a mask")
    mend = ""
    owner = argument.expression(leaf.owner)
    if "initializer" in vars(leaf.owner) or hasattr(leaf.owner, "kernel_initializer"):
        mend = f"{owner}.set_weights([keras.random.normal(w.shape, stddev=0.05) for w in {owner}.weights])"
    return Cause("E10", f"its gradient is exactly zero on this batch ({reason})", str(leaf.owner.name), mend)


def _rate(optimizer: keras.Optimizer) -> float | None:
    """The present learning rate; None where it cannot be read."""
    try:
        return float(np.asarray(keras.ops.convert_to_numpy(hooks.leaf_optimizers(optimizer)[0].learning_rate)))
    except (TypeError, ValueError, AttributeError, IndexError):
        return None


def _ancestors(found: Map) -> dict[int, list[keras.Layer]]:
    """By id of a layer: the layers around it from the outermost one, and itself last."""
    by_path = {place.path: place.layer for place in found.places}
    result: dict[int, list[keras.Layer]] = {}
    for place in found.places:
        parts = place.path.split("/") if place.path else []
        around = [found.root] + [by_path[p] for i in range(1, len(parts)) if (p := "/".join(parts[:i])) in by_path]
        result[id(place.layer)] = [*around, place.layer] if place.path else [found.root]
    return result


# The graph of layers


@dataclass
class Reach:
    """How the layers of a functional model are connected to the chosen outputs.

    Attributes:
        levels: by id of a layer: (level, culprit).
        spare: names of outputs that the loss leaves out.
    """

    levels: dict[int, tuple[int, str]] = field(default_factory=dict)
    spare: tuple[str, ...] = ()

    def of(self, layer: keras.Layer) -> tuple[int, str]:
        """(GRADIENT, CONNECTED or 0, the operation in the way)."""
        return self.levels.get(id(layer), (0, ""))

    def note(self, layer: Any, level: int, culprit: str) -> bool:
        """Notes a connection; whether it is better than what was known."""
        better = self.levels.get(id(layer), (0, ""))[0] < level
        if better:
            self.levels[id(layer)] = (level, culprit)
        return better

    def mend(self, name: str) -> str:
        """How to connect what hangs on outputs that the loss leaves out."""
        if not self.spare:
            return ""
        return f'{name}.compile({name}.optimizer, loss={{output: "mse" for output in {name}.output_names}})'


def connectivity(model: keras.Layer, outputs: Sequence[int | str] | None, passes: Callable[[Any], str]) -> Reach | None:
    """How each layer is connected to the chosen outputs; None where the model is no graph of layers.

    Args:
        model: a Functional or Sequential model, or anything else.
        outputs: names or positions; None for those that the compiled loss uses, or all.
        passes: gives for a layer the op inside of it that no gradient passes; empty where gradients pass.
    """
    if not hooks.is_layer_graph(model):
        return None
    tensors, spare = _chosen(model, outputs)
    reach = Reach(spare=tuple(spare))
    reach.note(model, GRADIENT, "")
    _walk(model, [(t, GRADIENT, "") for t in tensors], reach, passes)
    return reach


def _chosen(model: keras.Model, outputs: Sequence[int | str] | None) -> tuple[list[Any], list[str]]:
    tensors = keras.tree.flatten(model.outputs)
    names = list(getattr(model, "output_names", [])) or [str(i) for i in range(len(tensors))]
    if outputs is None:
        loss = getattr(model, "loss", None)
        if isinstance(loss, Mapping):
            outputs = [n for n in names if loss.get(n) is not None]
        elif isinstance(loss, (list, tuple)) and len(loss) == len(tensors):
            outputs = [i for i, one in enumerate(loss) if one is not None]
        outputs = outputs or list(range(len(tensors)))
    picked = [names.index(o) if isinstance(o, str) else o for o in outputs]
    return [tensors[i] for i in picked], [n for i, n in enumerate(names) if i not in {p % len(tensors) for p in picked}]


def _walk(
    model: Any, seeds: list[tuple[Any, int, str]], reach: Reach, passes: Callable[[Any], str]
) -> dict[int, tuple[int, str]]:
    """Walks back from tensors; gives, by id of an input tensor of `model`, how it is connected."""
    stops = {id(t): (0, "") for t in keras.tree.flatten(model.inputs)}
    best: dict[int, int] = {}
    stack = list(seeds)
    while stack:
        tensor, level, culprit = stack.pop()
        if best.get(id(tensor), 0) >= level:
            continue
        best[id(tensor)] = level
        if id(tensor) in stops:
            stops[id(tensor)] = (level, culprit)
            continue
        operation, inputs, position = hooks.producer(tensor)
        if operation is None:
            continue
        if hooks.is_layer_graph(operation):
            reach.note(operation, level, culprit)
            outs = keras.tree.flatten(operation.outputs)
            inside = _walk(operation, [(outs[min(position, len(outs) - 1)], level, culprit)], reach, passes)
            for tensor_in, (inner_level, inner_culprit) in zip(inputs, inside.values(), strict=False):
                if inner_level:
                    stack.append((tensor_in, inner_level, inner_culprit))
            continue
        if level == GRADIENT and not _is_float(tensor):
            level, culprit = CONNECTED, f"{type(operation).__name__} {operation.name!r}"
        for layer in hooks.all_layers(operation) if isinstance(operation, keras.Layer) else ():
            reach.note(layer, level, culprit)
        if level == GRADIENT and type(operation).__name__ in HARD_OPS:
            level, culprit = CONNECTED, f"{type(operation).__name__} {operation.name!r}"
        elif level == GRADIENT and (inside_op := passes(operation)):
            level, culprit = CONNECTED, f"{inside_op} in {operation.name!r}"
        stack.extend((t, level, culprit) for t in inputs)
    return stops


def _is_float(tensor: Any) -> bool:
    dtype = str(keras.backend.standardize_dtype(tensor.dtype))
    return "float" in dtype or "complex" in dtype
