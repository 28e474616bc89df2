"""The layers inside Keras' own compound layers, and how to build layers without drawing random weights that a file replaces.

Knows Keras' layers by their public names; initializers are found by the names of their attributes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from thaw.errors import CorruptFileError

__all__ = ["parts", "without_random_weights"]

_ATTRIBUTES = ("cell", "forward_layer", "backward_layer", "layer", "query_dense", "key_dense", "value_dense", "output_dense")


class _Zeros(keras.initializers.Initializer):  # type: ignore[misc]
    """Zeros made by numpy: nothing to compile, which takes JAX a second for every new shape of random numbers.

    Every weight must be in the file, so none may be larger than all that the file holds.
    """

    def __init__(self, most: int | None = None, shown: object = "") -> None:
        self.most = most
        self.shown = shown

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        size = math.prod(shape)
        if self.most is not None and size > self.most:
            problem = f"a layer declares a weight of the shape {list(shape)}, and the file holds {self.most} numbers"
            raise CorruptFileError(self.shown, problem)
        kind = keras.backend.standardize_dtype(dtype)
        return keras.ops.zeros(shape, kind) if kind == "bfloat16" else np.zeros(shape, kind)

    def get_config(self) -> dict[str, Any]:
        return {"most": self.most, "shown": self.shown}


def parts(layer: Any) -> list[Any]:
    """The layers that `layer` is made of: cells, wrapped layers, an attention's projections."""
    found = [getattr(layer, name, None) for name in _ATTRIBUTES] + list(getattr(layer, "cells", None) or ())
    return [part for part in found if isinstance(part, keras.layers.Layer) and part is not layer]


@contextmanager
def without_random_weights(layer: Any, most: int | None, shown: object) -> Iterator[None]:
    """Weights that `layer` and its parts make meanwhile are zeros; their initializers are as before when it is over.

    Args:
        layer: A layer that is about to be built.
        most: The numbers that the file holds.
        shown: The file's name, for errors.
    """
    kept: list[tuple[Any, str, Any]] = []
    for item in [] if getattr(layer, "built", False) else _all_parts(layer):
        for name, value in list(vars(item).items()):
            if name.endswith("initializer") and isinstance(value, keras.initializers.Initializer):
                kept.append((item, name, value))
                setattr(item, name, _Zeros(most, shown))
    try:
        yield
    finally:
        for item, name, value in kept:
            setattr(item, name, value)
            # An attention hands copies of its own initializers to the projections that it makes while it is built.
            for part in parts(item) if name.startswith("_") else ():
                if isinstance(getattr(part, name[1:], None), _Zeros):
                    setattr(part, name[1:], type(value).from_config(value.get_config()))


def _all_parts(layer: Any) -> list[Any]:
    return [layer, *(inner for part in parts(layer) for inner in _all_parts(part))]
