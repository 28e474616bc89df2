"""Builds Keras 3 models from `LayerSpec`s: Keras' own layers, wired as the file says, weights still to come.

Uses the public names of Keras only. Before a layer allocates, its weights' size is compared with what the file holds, so
that a config cannot ask for more memory than its file backs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import keras

from thaw.errors import ConfigNotNativeError, CorruptFileError, ThawError
from thaw.formats.keras_file.masks import OldMasks
from thaw.formats.keras_file.operation_names import name_operations
from thaw.formats.keras_file.parts import without_random_weights
from thaw.formats.keras_file.spec import Call, LayerSpec, Ref, new_name, walk
from thaw.formats.keras_file.tf_calls import run_call
from thaw.formats.keras_file.vocabulary import CustomObjects

__all__ = ["Built", "build_model"]

_RECURRENT = frozenset({
    "LSTM",
    "GRU",
    "SimpleRNN",
    "RNN",
    "CuDNNLSTM",
    "CuDNNGRU",
    "Bidirectional",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
})
_MOST_INPUT = 2**31
_MOST_UNROLLED = 4096
_MOST_FEATURES = 2**20


class Built:
    """A model and the objects that its specs became.

    Attributes:
        model: The Keras model.
        spec: What it was built from.
        layers: The built layer of every spec of kind layer, functional or sequential, by `id(spec)`.
    """

    def __init__(self, model: keras.Model, spec: LayerSpec, layers: dict[int, Any]) -> None:
        self.model = model
        self.spec = spec
        self.layers = layers

    def children(self, spec: LayerSpec) -> list[tuple[LayerSpec, Any]]:
        """The layers of a model's spec in the file's order, each with what it became; calls and inputs are left out."""
        return [(child, self.layers[id(child)]) for child in spec.children if id(child) in self.layers]


def build_model(spec: LayerSpec, *, version: int, elements: int | None, custom_objects: CustomObjects, shown: object) -> Built:
    """The Keras model of `spec`, with fresh weights.

    Args:
        spec: Read by `config.read_config`.
        version: Major version of the Keras that wrote it.
        elements: Numbers stored in the file, all weights together; None where that is not known.
        custom_objects: The user's classes and functions.
        shown: The file's name, for errors.

    Raises:
        ConfigNotNativeError: Keras 3 refuses what the config asks of a layer.
        CorruptFileError: The config is malformed or asks for more weights than the file has.
    """
    builder = _Builder(OldMasks() if version < 3 else None, elements, custom_objects, shown)
    with keras.saving.custom_object_scope(dict(custom_objects)):
        model = builder.make(spec)
    if not isinstance(model, keras.Model):
        raise CorruptFileError(shown, f"its config describes a {type(model).__name__}, not a model")
    return Built(model, spec, builder.layers)


class _Builder:
    def __init__(self, masks: OldMasks | None, elements: int | None, custom_objects: CustomObjects, shown: object) -> None:
        self.masks = masks
        self.elements = elements
        self.custom_objects = dict(custom_objects)
        self.shown = shown
        self.layers: dict[int, Any] = {}
        self.shared: dict[tuple[int, str], Any] = {}

    def make(self, spec: LayerSpec) -> Any:
        """The layer or model of `spec`; one object for all mentions of a shared layer."""
        key = (spec.shared_id, spec.name) if spec.shared_id is not None else None
        if key is not None and key in self.shared:
            layer = self.shared[key]
        elif spec.kind == "functional":
            layer = self._functional(spec)
        elif spec.kind == "sequential":
            layer = self._sequential(spec)
        else:
            layer = self._layer(spec)
        if key is not None:
            self.shared[key] = layer
        self.layers[id(spec)] = layer
        return layer

    def _layer(self, spec: LayerSpec) -> Any:
        if spec.kind == "wrapper":
            inner = self.make(spec.children[0])
            with self._explained(spec):
                return keras.layers.TimeDistributed(inner, **spec.config)
        if isinstance(spec.make, keras.layers.Layer):
            return spec.make
        if isinstance(spec.make, type):
            return spec.make(name=new_name(spec.name))
        if callable(spec.make):
            return keras.layers.Lambda(spec.make, name=new_name(spec.name))
        with self._explained(spec):
            layer = keras.saving.deserialize_keras_object(dict(spec.make), custom_objects=self.custom_objects, safe_mode=True)
        if spec.kind == "operation" and not isinstance(layer, keras.Operation):
            raise ConfigNotNativeError(self.shown, unknown={spec.class_name: [spec.name]})
        if not spec.trainable:
            layer.trainable = False
        return layer

    def _input(self, spec: LayerSpec) -> Any:
        shape = spec.input_shape
        if shape is None:
            raise CorruptFileError(self.shown, f"the input {spec.name!r} has no shape in its model config")
        size = 1
        for length in shape[1:]:
            size *= length or 1
        if not 0 <= size <= _MOST_INPUT or any(length is not None and length < 0 for length in shape):
            raise CorruptFileError(self.shown, f"the input {spec.name!r} has the shape {shape} in its model config")
        if spec.config.get("dtype") == "string" and keras.backend.backend() != "tensorflow":
            reason = f"The input {spec.name!r} takes strings, which Keras 3's own layers run on the TensorFlow backend only."
            raise ConfigNotNativeError(self.shown, reason=reason)
        optional = {"optional": True} if spec.config.get("optional") else {}
        sparse = bool(spec.config.get("sparse"))
        with self._explained(spec):
            return keras.Input(
                batch_shape=shape, dtype=spec.config.get("dtype") or "float32", sparse=sparse, name=spec.name, **optional
            )

    def _sequential(self, spec: LayerSpec) -> Any:
        model = keras.Sequential(name=new_name(spec.name))
        shape, dtype = None, "float32"
        if spec.children and spec.children[0].kind != "input":
            first = spec.children[0]
            shape = first.input_shape or _inner_shape(first) or spec.input_shape
            dtype = "int32" if first.class_name == "Embedding" else first.input_dtype or "float32"
            if shape is not None:
                own = LayerSpec(f"{first.name}_input", "input", "InputLayer", {"dtype": dtype}, input_shape=shape)
                if first.kind in ("layer", "wrapper"):
                    with self._explained(first):
                        model.add(self._input(own))
        for child in spec.children:
            if child.kind == "input":
                with self._explained(child):
                    model.add(self._input(child))
                continue
            if child.kind not in ("layer", "functional", "sequential", "wrapper"):
                raise ConfigNotNativeError(self.shown, reason=f"The {child.class_name} {child.name!r} stands in a Sequential.")
            layer = self.make(child)
            if child.kind in ("layer", "wrapper"):
                self._check_size(child, model.outputs[0].shape if model.built and model.layers else shape or ())
            with self._explained(child), without_random_weights(layer, self.elements, self.shown):
                model.add(layer)
                if child.behind is not None:
                    model.add(self._behind(child.behind))
        if not model.built and shape is not None and spec.children and spec.children[0].kind not in ("layer", "wrapper"):
            with self._explained(spec):
                model.build(shape)
        if not spec.trainable:
            model.trainable = False
        return model

    def _functional(self, spec: LayerSpec) -> Any:
        graph = _Graph(self, spec)
        inputs, outputs = graph.run()
        with self._explained(spec):
            model = keras.Model(inputs=inputs, outputs=outputs, name=new_name(spec.name))
        if not spec.trainable:
            model.trainable = False
        return model

    def _check_size(self, spec: LayerSpec, shape: Any) -> None:
        """Refuses what costs memory or time beyond the weights, which are measured as they are made."""
        name = f"the {spec.class_name} {spec.name!r}"
        if spec.config.get("unroll") and len(shape) > 1 and (shape[1] or 0) > _MOST_UNROLLED:
            raise CorruptFileError(self.shown, f"{name} unrolls {shape[1]} steps in its model config")
        if spec.class_name == "Normalization" and self.elements is not None:
            axes, features = spec.config.get("axis"), 1
            for axis in axes if isinstance(axes, list | tuple) else [axes]:
                features *= shape[axis] or 1 if isinstance(axis, int) and -len(shape) <= axis < len(shape) else 1
            given = spec.config.get("mean") is not None  # then they are in the config, one for each feature or one for all
            if features > max(self.elements, _MOST_FEATURES if given else 1):
                raise CorruptFileError(self.shown, f"{name} declares statistics of {features} features")

    def call(self, spec: LayerSpec, layer: Any, call: Call, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """The output of one use of a layer on symbolic tensors."""
        if spec.class_name in _RECURRENT and args and isinstance(args[0], list | tuple) and len(args[0]) > 1:
            args, kwargs = _split_states(spec, args, kwargs)
        if spec.extra.get("causal"):
            kwargs = {**kwargs, "use_causal_mask": True}
        if args and spec.kind == "layer" and hasattr(args[0], "shape"):
            self._check_size(spec, args[0].shape)
        with self._explained(spec), without_random_weights(layer, self.elements, self.shown):
            result = self.masks.call(layer, args, kwargs) if self.masks else layer(*args, **kwargs)
            return result if spec.behind is None else self._behind(spec.behind)(result)

    def _behind(self, spec: LayerSpec) -> Any:
        """The layer that follows every use of another: one object."""
        return self.layers[id(spec)] if id(spec) in self.layers else self.make(spec)

    def run_operation(self, spec: LayerSpec, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """A TensorFlow call, as operations of Keras that bear its name where they can."""
        with self._explained(spec):
            result = run_call(spec.config, args, kwargs)
            name_operations([args, kwargs], result, spec.name.replace("/", "_"))
        return result

    def _explained(self, spec: LayerSpec) -> _Explained:
        return _Explained(self, spec)


class _Explained:
    """Turns what Keras raises while it makes or calls one layer into an error that names the layer."""

    def __init__(self, builder: _Builder, spec: LayerSpec) -> None:
        self.builder = builder
        self.spec = spec

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or not isinstance(error, Exception):
            return
        cause: BaseException | None = error
        first: BaseException = error
        while cause is not None:
            # Keras puts what is raised inside a layer, or by its class, into an error of its own.
            if isinstance(cause, ThawError):
                raise cause
            first, cause = cause, cause.__context__
        reason = f"Keras refused the {self.spec.class_name} {self.spec.name!r}: {str(first)[:400]}"
        raise ConfigNotNativeError(self.builder.shown, reason=reason) from error


class _Graph:
    """One functional model while it is wired: every use of a layer runs as soon as its inputs are there."""

    def __init__(self, builder: _Builder, spec: LayerSpec) -> None:
        self.builder = builder
        self.spec = spec
        self.specs = {child.name: child for child in spec.children}
        self.outputs: dict[tuple[str, int], list[Any]] = {}
        self.structured: dict[tuple[str, int], Any] = {}
        self.first = self._first_nodes()

    def run(self) -> tuple[Any, Any]:
        """The model's inputs and outputs, structures of symbolic tensors."""
        wanted = self._reachable()
        pending: dict[str, list[Call]] = {}
        layers: dict[str, Any] = {}
        for child in self.spec.children:
            if child.name not in wanted:
                continue
            if child.kind == "input":
                self.outputs[child.name, 0] = [self.builder._input(child)]
                continue
            if child.kind in ("layer", "functional", "sequential", "wrapper", "operation"):
                layers[child.name] = self.builder.make(child)
            pending[child.name] = list(child.calls)
        done: dict[str, int] = defaultdict(int)
        while any(pending.values()):
            moved = False
            for name, calls in pending.items():
                while calls and self._ready(calls[0]):
                    self._run(name, layers.get(name), calls.pop(0), done[name])
                    done[name] += 1
                    moved = True
            if not moved:
                stuck = [name for name, calls in pending.items() if calls]
                raise CorruptFileError(
                    self.builder.shown, f"the graph of {self.spec.name!r} has a loop or loose ends at {stuck[:5]}"
                )
        return self._resolve(self.spec.inputs), self._resolve(self.spec.outputs)

    def _run(self, name: str, layer: Any, call: Call, number: int) -> None:
        spec = self.specs[name]
        args = [self._resolve(arg) for arg in call.args]
        kwargs = {key: self._resolve(value) for key, value in call.kwargs.items()}
        if spec.kind == "passing":
            result = args[0]
        elif spec.kind == "call":
            result = self.builder.run_operation(spec, args, kwargs)
        else:
            result = self.builder.call(spec, layer, call, args, kwargs)
        self.outputs[name, number] = walk(result)

    def _first_nodes(self) -> dict[str, int]:
        """The number of each layer's first use in the file: 1 for models that were a graph before they were used, else 0."""
        highest: dict[str, int] = defaultdict(int)
        for ref in self._all_references():
            if ref.layer not in self.specs:
                raise CorruptFileError(
                    self.builder.shown, f"its model config refers to the layer {ref.layer!r}, which it does not have"
                )
            highest[ref.layer] = max(highest[ref.layer], ref.node)
        return {name: int(bool(spec.calls) and highest[name] >= len(spec.calls)) for name, spec in self.specs.items()}

    def _all_references(self) -> Iterator[Ref]:
        for child in self.spec.children:
            for call in child.calls:
                yield from _references([call.args, call.kwargs])
        yield from _references([self.spec.inputs, self.spec.outputs])

    def _reachable(self) -> set[str]:
        """The layers on a way from inputs to outputs; calls that only served a loss are not built."""
        pending = [ref.layer for ref in _references([self.spec.inputs, self.spec.outputs])]
        found: set[str] = set()
        while pending:
            name = pending.pop()
            if name in found:
                continue
            found.add(name)
            for call in self.specs[name].calls:
                pending += [ref.layer for ref in _references([call.args, call.kwargs])]
        return found

    def _key(self, ref: Ref) -> tuple[str, int]:
        return ref.layer, ref.node - self.first[ref.layer]

    def _ready(self, call: Call) -> bool:
        return all(self._key(ref) in self.outputs for ref in _references([call.args, call.kwargs]))

    def _resolve(self, structure: Any) -> Any:
        if isinstance(structure, Ref):
            tensors = self.outputs.get(self._key(structure), [])
            if structure.tensor >= len(tensors):
                raise CorruptFileError(
                    self.builder.shown, f"its model config asks for output {structure.tensor} of {structure.layer!r}"
                )
            return tensors[structure.tensor]
        if isinstance(structure, dict):
            return {key: self._resolve(value) for key, value in structure.items()}
        if isinstance(structure, tuple):
            return tuple(self._resolve(value) for value in structure)
        if isinstance(structure, list):
            return [self._resolve(value) for value in structure]
        return structure


def _references(structure: Any) -> list[Ref]:
    return [leaf for leaf in walk(structure) if isinstance(leaf, Ref)]


def _inner_shape(spec: LayerSpec) -> tuple[Any, ...] | None:
    """The input shape of a model that stands first in another one, from its own first layers."""
    while spec.kind == "sequential" and spec.children:
        if spec.children[0].input_shape is not None:
            return spec.children[0].input_shape
        spec = spec.children[0]
    if spec.kind == "functional":
        inputs = [child for child in spec.children if child.kind == "input"]
        return inputs[0].input_shape if len(inputs) == 1 else None
    return None


def _split_states(spec: LayerSpec, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Old Keras passed initial states and constants in one list with the sequence."""
    sequence, *states = args[0]
    constants = int(spec.extra.get("num_constants") or 0)
    kwargs = dict(kwargs)
    if constants:
        kwargs["constants"], states = states[-constants:], states[:-constants]
    if states:
        kwargs["initial_state"] = states
    return [sequence, *args[1:]], kwargs
