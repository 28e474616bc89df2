"""The forms that many TensorFlow functions share (one tensor, two, a reduction), filled with functions of `keras.ops`.

Parameters have TensorFlow's names, since configs give arguments by name. Imports Keras' public names only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

__all__ = [
    "Function", "Sizes", "binary", "dtype_name", "flipped", "numbers", "only_last", "pooler", "reducer", "reshaped", "unary",
]  # fmt: skip

Function = Callable[..., Any]


class Sizes:
    """What `tf.shape` gives while a model is built: the sizes that are known, None for the others; not a tensor."""

    def __init__(self, sizes: Any) -> None:
        self.sizes = list(sizes)

    def part(self, item: Any) -> Any:
        """One size, or some of them."""
        found = self.sizes[item]
        return Sizes(found) if isinstance(found, list) else found


def numbers(value: Any) -> Any:
    """A list of plain numbers as a tuple, which `keras.ops` takes for axes and shapes."""
    if isinstance(value, Sizes):
        return tuple(value.sizes)
    if isinstance(value, list | tuple):
        return tuple(numbers(item) for item in value)
    if hasattr(value, "tolist"):
        return numbers(value.tolist())
    return value


def dtype_name(value: Any) -> str:
    """The name of a dtype in any of the ways that configs write one: an object, a number's name, `DT_FLOAT`."""
    if isinstance(value, Mapping):
        value = value.get("config", {}).get("name") or value.get("config") or value.get("name")
    name = str(value).removeprefix("<dtype: '").removesuffix("'>")
    if not name.startswith("DT_"):
        return name
    return {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}.get(name, name.removeprefix("DT_").lower())


def unary(function: Function) -> Function:
    """A function of one tensor, whatever TensorFlow calls it: x, features, input, a."""

    def applied(x: Any = None, **other: Any) -> Any:
        return function(x if x is not None else next(iter(other.values())))

    return applied


def binary(function: Function) -> Function:
    """A function of x and y."""

    def applied(x: Any, y: Any) -> Any:
        found = function(x, y)
        # What is worked out of sizes stays a number, as what becomes a shape must be.
        sizes = isinstance(x, int | float) and isinstance(y, int | float)
        return ops.convert_to_numpy(found).item() if sizes else found

    return applied


def flipped(function: Function) -> Function:
    """A function of two tensors that are given in the other order, as Python's reflected operators do."""
    in_order = binary(function)

    def applied(y: Any, x: Any) -> Any:
        return in_order(x, y)

    return applied


def reducer(reduce: Function) -> Function:
    """A reduction over axes."""

    def reduced(input_tensor: Any, axis: Any = None, keepdims: Any = False, keep_dims: Any = False) -> Any:
        return reduce(input_tensor, axis=numbers(axis), keepdims=bool(keepdims or keep_dims))

    return reduced


def only_last(data_format: str) -> None:
    """Refuses tensors whose channels are not last."""
    if data_format != "NHWC":
        raise ValueError(f"data_format={data_format!r} has no counterpart, only 'NHWC'")


def pooler(pool: Function) -> Function:
    """A pool over space, whose sizes are one number, two, or four with those of batch and channels."""

    def pooled(input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NHWC") -> Any:
        only_last(data_format)
        sides = [numbers(value) for value in (ksize, strides)]
        sides = [value[1:3] if isinstance(value, tuple) and len(value) == 4 else value for value in sides]
        # One number where it says all: a saved operation gets tuples back as lists, which JAX does not take.
        sides = [value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value for value in sides]
        return pool(input, sides[0], strides=sides[1], padding=padding.lower())

    return pooled


def reshaped(tensor: Any, shape: Any) -> Any:
    """`tensor` in another shape; a size that is not known takes the place of the -1, whose own size is then worked out."""
    sizes = list(numbers(shape))
    if None in sizes and -1 in sizes:
        inner = tensor.shape[1:]
        known = [size for size in sizes if size not in (None, -1)]
        if sizes[0] is not None or sizes.count(None) > 1 or None in inner:
            raise ValueError(f"tf.reshape to {sizes} of a tensor of the shape {tuple(tensor.shape)} has no counterpart")
        sizes[sizes.index(-1)] = math.prod(inner) // max(math.prod(known), 1)
    return ops.reshape(tensor, tuple(-1 if size is None else size for size in sizes))
