"""Fits data to a module and a head to the data: sizes, dtypes and value range come from what the module takes.

Imports the layer and its program; knows no files and no command line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from thaw.errors import DataMismatchError
from thaw.finetune.data import Examples, Images
from thaw.graph.ir import Graph, Tensor, TensorSpec
from thaw.graph.program import describe, tensors
from thaw.layer import KerasLayer

DEFAULT_SIZE = 224
"""Side of images for a module that leaves it open, pixels."""


@dataclass(frozen=True)
class Wanted:
    """What a module takes.

    Attributes:
        kind: "images", "texts" or "numbers".
        specs: its inputs by name; one, except for tables of named columns.
        range: lowest and highest pixel value (images).
        size: height and width (images).
    """

    kind: str
    specs: Mapping[str, TensorSpec]
    range: tuple[float, float] = (0.0, 1.0)
    size: tuple[int, int] = (0, 0)

    @property
    def spec(self) -> TensorSpec:
        """The first input."""
        return next(iter(self.specs.values()))


def input_specs(layer: KerasLayer) -> dict[str, TensorSpec]:
    """The dense inputs of the layer's program by name, those that `arguments` fill left out."""
    program = layer.program
    bound = program.bound(program.variants[0].trace)
    specs: dict[str, TensorSpec] = {}
    for name, structure in bound.items():
        parts = list(tensors(structure))
        if name in layer.arguments or name == "training" or not parts:
            continue
        specs.update({name: parts[0]} if len(parts) == 1 else {part.name: part for part in parts})
    return specs


def wanted(layer: KerasLayer, *, image_size: int | None = None, value_range: tuple[float, float] | None = None) -> Wanted:
    """What `layer` takes, with the size and range of images where the user or the module says so.

    Raises:
        DataMismatchError: its inputs are neither images nor texts nor numbers.
    """
    specs = input_specs(layer)
    first = next(iter(specs.values()), None)
    if first is not None and len(specs) == 1:
        if first.dtype == "string":
            return Wanted("texts", specs)
        if first.shape is not None and len(first.shape) == 4 and first.shape[3] in {1, 3}:
            declared = (first.shape[1] or image_size or DEFAULT_SIZE, first.shape[2] or image_size or DEFAULT_SIZE)
            if image_size is not None and {first.shape[1], first.shape[2]} - {None, image_size}:
                raise DataMismatchError(
                    f"Images of {image_size} pixels were asked for", describe(first), "Leave --image-size out"
                )
            graph = layer.program.variants[0].inference
            found = value_range or ((0.0, 255.0) if first.dtype == "uint8" else pixel_range(graph))
            return Wanted("images", specs, found, declared)
    if specs and all(s.dtype != "string" for s in specs.values()) and all(len(s.shape or ()) <= 2 for s in specs.values()):
        return Wanted("numbers", specs)
    raise DataMismatchError(
        "Fine-tuning from the command line feeds images, texts or numbers",
        ", ".join(f"{name}: {describe(spec)}" for name, spec in specs.items()) or "nothing",
        "Build the model in Python around thaw.KerasLayer, and choose another signature with `signature=` if there is one",
    )


def pixel_range(graph: Graph) -> tuple[float, float]:
    """The range of pixel values that an image graph was made for, read off its first arithmetic.

    TF-Hub's image modules take [0, 1]. A graph that begins by dividing by about 255 or 127.5 (or by subtracting a mean of about
    128, as Keras' `preprocess_input` does) takes [0, 255].
    """
    tensor, scale = graph.inputs[0], 1.0
    for _ in range(6):
        users = [n for n in graph.nodes.values() if tensor in n.inputs]
        if len(users) != 1:
            break
        node = users[0]
        constants = [_constant(graph, t) for t in node.inputs if t != tensor]
        values = [c for c in constants if c is not None and c.dtype.kind == "f" and c.size]
        if node.op in {"RealDiv", "Div"} and values:
            scale *= float(np.mean(values[0]))
        elif node.op == "Mul" and values:
            scale /= float(np.mean(values[0])) or 1.0
        elif node.op in {"Sub", "AddV2", "Add"} and values and float(np.abs(values[0]).mean()) > 20:
            return (0.0, 255.0)
        elif node.op not in {"Identity", "Cast", "Sub", "AddV2", "Add", "Pad", "Placeholder"}:
            break
        if scale > 50:
            return (0.0, 255.0)
        tensor = Tensor(node.name)
    return (0.0, 1.0)


def _constant(graph: Graph, tensor: Tensor) -> np.ndarray | None:
    node = graph.nodes.get(tensor.node)
    while node is not None and node.op in {"Identity", "Cast", "Reshape"} and node.inputs:
        node = graph.nodes.get(node.inputs[0].node)
    value = node.attrs.get("value") if node is not None and node.op == "Const" else None
    return value if isinstance(value, np.ndarray) else None


def make_inputs(want: Wanted, examples: Examples, layer: KerasLayer) -> Callable[[Any], Any]:
    """What turns the inputs of a batch of such examples into what the model takes.

    Raises:
        DataMismatchError: the data are of another kind, or columns are missing.
    """
    if want.kind != examples.kind:
        takes = ", ".join(f"{name}: {describe(spec)}" for name, spec in want.specs.items())
        raise DataMismatchError(f"The data are {examples.kind}, which do not fit", takes, f"Give it {want.kind}")
    if want.kind == "images":
        assert want.spec.shape is not None
        return Images(want.size, int(want.spec.shape[3] or 3), *want.range, want.spec.dtype)
    if want.kind == "texts":
        preprocess: Callable[[Any], Any] = layer.preprocess
        return preprocess
    return _numbers(want, list(examples.inputs))


def _numbers(want: Wanted, columns: list[str]) -> Callable[[Any], Any]:
    names = list(want.specs)
    if len(names) == 1:
        shape = want.spec.shape or (None, None)
        width = shape[1] if len(shape) > 1 else 1
        if width is not None and width != len(columns):
            raise DataMismatchError(
                f"The table has {len(columns)} numeric columns ({', '.join(columns[:8])})",
                describe(want.spec),
                f"Give it {width} numeric columns beside the label",
            )
        rank = len(shape)
        return lambda batch: (
            np.stack([batch[c] for c in columns], axis=-1).astype(want.spec.dtype).reshape((-1, width or len(columns))[:rank])
        )
    missing = [n for n in names if n not in columns]
    if missing:
        raise DataMismatchError(
            f"The table lacks the columns {missing}", ", ".join(names), "Name the table's columns as the module names its inputs"
        )

    def named(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            n: batch[n].reshape((-1,) + (1,) * (len(want.specs[n].shape or (None,)) - 1)).astype(want.specs[n].dtype)
            for n in names
        }

    return named


def with_head(layer: KerasLayer, want: Wanted, classes: int, columns: int | None = None) -> keras.Model:
    """The module with a new linear head for that many classes; it gives logits (batch, classes).

    `columns` is how many the table has, for a module that takes any number of them.

    Feature maps are averaged over space; of several outputs the first float one of rank 2 (else of the highest rank) is used.
    """
    if want.kind == "images":
        assert want.spec.shape is not None
        inputs: Any = keras.Input((*want.size, want.spec.shape[3]), dtype=want.spec.dtype, name="image")
    elif want.kind == "texts":
        inputs = layer.preprocessed_input()
    elif len(want.specs) == 1:
        shape = want.spec.shape or (None, None)
        inputs = keras.Input(tuple(n or columns for n in shape[1:]), dtype=want.spec.dtype, name="numbers")
    else:
        inputs = {n: keras.Input(tuple((s.shape or (None,))[1:]), dtype=s.dtype, name=n) for n, s in want.specs.items()}
    features = _features(layer(inputs), want)
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    elif len(features.shape) == 3:
        features = keras.layers.GlobalAveragePooling1D(name="pool")(features)
    elif len(features.shape) > 4:
        features = keras.layers.Flatten(name="flatten")(features)
    return keras.Model(inputs, keras.layers.Dense(classes, name="head")(features), name="finetuned")


def _features(outputs: Any, want: Wanted) -> Any:
    """The output to put the head on."""
    found = [t for t in keras.tree.flatten(outputs) if keras.backend.is_float_dtype(t.dtype) and len(t.shape) >= 2]
    if not found:
        raise DataMismatchError(
            "The module's output has no float features a head could stand on",
            str(outputs),
            "Choose another output with --output-key",
        )
    flat = [t for t in found if len(t.shape) == 2]
    if isinstance(outputs, Mapping):
        for name in ("default", "pooled_output", "feature_vector", "embeddings"):
            if name in outputs and any(outputs[name] is t for t in found):
                return outputs[name]
    return (flat or sorted(found, key=lambda t: len(t.shape)))[0]
