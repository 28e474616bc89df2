"""What crosses the boundary of a layer: strings and nests coming in, outputs going out, shapes as symbols.

Knows Keras and the IR's specs; knows no program and holds nothing.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from thaw.errors import HubArgumentError
from thaw.graph.ir import CompositeSpec, Shape, Structure, TensorSpec
from thaw.lowering.strings import strings
from thaw.lowering.values import on_device


def is_string_dtype(dtype: Any) -> bool:
    """Whether `dtype` means strings, in any of the forms that users of tensorflow_hub pass."""
    return dtype is not None and "string" in str(getattr(dtype, "name", dtype))


def numpy_strings(value: Any) -> Any:
    """Strings as object arrays of UTF-8 bytes; anything else as it is."""
    if isinstance(value, list) and value and all(isinstance(v, (str, bytes)) for v in value):
        value = np.array(value, dtype=object)
    if isinstance(value, (str, bytes)):
        return np.array(value.encode() if isinstance(value, str) else value, dtype=object)
    if isinstance(value, np.ndarray) and value.dtype.kind in "USO":
        return strings([v.encode() if isinstance(v, str) else v for v in value.ravel().tolist()], value.shape)
    if "string" in str(getattr(value, "dtype", "")) and hasattr(value, "numpy"):
        return numpy_strings(np.asarray(value.numpy(), dtype=object))
    return value


def surplus(names: list[str], inputs: Any) -> dict[str, Any]:
    """Inputs beyond those that have a name, under names that no signature has, so that the error lists them."""
    return {f"input_{i}": inputs[i] for i in range(len(names), len(inputs))}


def as_output(value: Any, shape: Shape) -> Any:
    """A value of the graph as an output: numbers on the device, strings numpy; in the declared shape where none is known."""
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind not in "OSU":
        return on_device(value)
    lost = getattr(getattr(value, "shape", None), "rank", 0) is None  # TensorFlow, traced
    if lost and shape is not None and sum(n is None for n in shape) <= 1:
        return keras.ops.reshape(value, tuple(-1 if n is None else n for n in shape))
    return value


def compose(spec: CompositeSpec, parts: list[Any]) -> Any:
    """A ragged or sparse value as the tuple of its dense parts."""
    return tuple(parts)


def declare(outputs: Any, shapes: Any, batch: int | None) -> Any:
    """Symbolic outputs with the shapes that the user declared, which leave the batch axis out."""
    if isinstance(outputs, Mapping):
        return {
            key: declare(value, shapes[key] if isinstance(shapes, Mapping) else shapes, batch) for key, value in outputs.items()
        }
    if isinstance(outputs, (list, tuple)):
        return type(outputs)(declare(value, shape, batch) for value, shape in zip(outputs, shapes, strict=True))
    return keras.KerasTensor((batch, *shapes), dtype=outputs.dtype)


def tuples(shapes: Any) -> Any:
    """Shapes that went through JSON, as tuples again."""
    if isinstance(shapes, list) and all(isinstance(n, int) or n is None for n in shapes):
        return tuple(shapes)
    if isinstance(shapes, list):
        return [tuples(s) for s in shapes]
    if isinstance(shapes, dict):
        return {key: tuples(value) for key, value in shapes.items()}
    return shapes


def shapes_to_symbols(shapes: Any, dtypes: Iterator[str]) -> Any:
    """Symbolic inputs of a nest of shapes, dtypes given in order."""
    if isinstance(shapes, Mapping):
        return {key: shapes_to_symbols(shapes[key], dtypes) for key in sorted(shapes)}
    if isinstance(shapes, (list, tuple)) and any(isinstance(s, (list, tuple, Mapping)) for s in shapes):
        return [shapes_to_symbols(s, dtypes) for s in shapes]
    return keras.KerasTensor(tuple(shapes), dtype=next(dtypes))


def symbolic_inputs(structure: Structure) -> Any:
    """Keras Inputs for a structure of specs, composites as tuples of their parts; what is no spec stays.

    Raises:
        HubArgumentError: a spec says no number of axes.
    """
    if isinstance(structure, TensorSpec):
        if structure.shape is None:
            raise HubArgumentError(
                f"The artifact does not say how many axes its input {structure.name!r} has",
                "a shape",
                "Call the layer on a `keras.Input` of the shape that you mean",
            )
        name = re.sub(r"\W+", "_", structure.name).strip("_") or "input"
        if not structure.shape:
            return keras.Input(batch_shape=(), dtype=structure.dtype, name=name)
        return keras.Input(batch_shape=structure.shape, dtype=structure.dtype, name=name)
    if isinstance(structure, CompositeSpec):
        return tuple(symbolic_inputs(part) for part in structure.components)
    if isinstance(structure, dict):
        return {key: symbolic_inputs(value) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)(symbolic_inputs(part) for part in structure)
    return structure


def with_lengths(inputs: Any, length: int) -> Any:
    """Symbolic inputs with `length` for every axis of a free length."""

    def one(tensor: Any) -> Any:
        if not isinstance(tensor, keras.KerasTensor):
            return tensor
        return keras.KerasTensor(tuple(length if n is None else n for n in tensor.shape), dtype=tensor.dtype)

    return keras.tree.map_structure(one, inputs)


def free_lengths(one: Any, other: Any) -> Any:
    """A symbolic output of which two examples are given: a free length wherever they differ."""
    if len(one.shape) != len(other.shape):
        return one
    return keras.KerasTensor(tuple(a if a == b else None for a, b in zip(one.shape, other.shape, strict=True)), dtype=one.dtype)
