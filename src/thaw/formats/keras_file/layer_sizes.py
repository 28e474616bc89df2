"""How many weights a layer's config asks for, so that it can be compared with a file before memory is taken.

A lower bound: only kernels, and only of the layers whose size a config chooses. Plain arithmetic, imports nothing of thaw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["declared_elements"]

_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1, "LSTMCell": 4, "GRUCell": 3, "SimpleRNNCell": 1}
_WRAPPERS = ("Bidirectional", "TimeDistributed", "SpectralNormalization")


def declared_elements(class_name: str, config: Mapping[str, Any], shape: Any) -> int:
    """The elements of the kernels of a layer of `class_name` on an input of `shape`; 0 where the config does not tell."""
    inner = config.get("layer")
    if class_name in _WRAPPERS and isinstance(inner, Mapping):
        shape = (*shape[:1], *shape[2:]) if class_name == "TimeDistributed" else shape
        return declared_elements(str(inner.get("class_name")), inner.get("config") or {}, shape)
    if class_name in ("RNN", "StackedRNNCells"):
        cells = config.get("cells", config.get("cell"))
        cells = cells if isinstance(cells, list | tuple) else [cells]
        # Only the first cell sees the input; the others are bounded by their own units.
        return sum(declared_elements(str(cell["class_name"]), cell["config"], shape[:1]) for cell in cells if isinstance(cell, Mapping))
    first = config.get("data_format") == "channels_first"
    channels = _number(shape[1 if first else -1]) if len(shape) > 1 else 1
    kernel = _product(config.get("kernel_size"))
    if class_name == "Dense":
        return channels * _number(config.get("units"))
    if class_name == "Embedding":
        return _number(config.get("input_dim")) * _number(config.get("output_dim"))
    if class_name in _GATES:
        units = _number(config.get("units"))
        return _GATES[class_name] * units * ((_number(shape[-1]) if len(shape) > 1 else 0) + units)
    if class_name.startswith("Depthwise"):
        return kernel * channels * _number(config.get("depth_multiplier", 1))
    if class_name.startswith("Separable"):
        return channels * _number(config.get("depth_multiplier", 1)) * max(kernel, _number(config.get("filters")))
    if class_name.startswith("ConvLSTM"):
        return 4 * kernel * channels * _number(config.get("filters"))
    if class_name.startswith("Conv"):
        return kernel * (channels // max(1, _number(config.get("groups", 1)))) * _number(config.get("filters"))
    if class_name == "MultiHeadAttention":
        return channels * _number(config.get("num_heads")) * _number(config.get("key_dim"))
    if class_name == "EinsumDense":
        sizes = config.get("output_shape")
        return max(map(_number, sizes), default=1) if isinstance(sizes, list | tuple) else _number(sizes)
    if class_name == "PReLU":
        shared = config.get("shared_axes") or ()
        return math.prod(_number(size) for axis, size in enumerate(shape) if axis and axis not in shared)
    if class_name == "GroupQueryAttention":
        return channels * _number(config.get("head_dim")) * _number(config.get("num_query_heads"))
    if class_name in ("BatchNormalization", "GroupNormalization"):
        return channels
    return 0


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else 1


def _product(value: Any) -> int:
    if isinstance(value, list | tuple):
        return math.prod(_number(item) for item in value)
    return _number(value)
