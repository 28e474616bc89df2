"""How one layer's arrays lie in old files, and how Keras 3 wants them: CuDNN's layouts, Keras 1's, Theano's kernels.

Numpy in, numpy out; knows layers by their class and settings only.
Source: tf_keras/src/saving/legacy/hdf5_format.py, `preprocess_weights_for_loading` (what each format was, not its code).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Array", "converted", "stored_count"]

Array: TypeAlias = np.ndarray[Any, Any]
Arrays: TypeAlias = list[Array]

_CONVOLUTIONS = frozenset({"Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "ConvLSTM2D"})
# Keras 1 stored each gate of these apart: (arrays, order of the gates in today's kernel).
_SEPARATE_GATES = {"GRU": (9, (0, 1, 2)), "LSTM": (12, (0, 2, 1, 3)), "ConvLSTM2D": (12, (0, 2, 1, 3))}


def stored_count(layer: Any, version: int) -> int:
    """How many arrays a Keras of that major version stored for the layer."""
    kind = type(layer).__name__
    if version == 1:
        if kind in _SEPARATE_GATES:
            return _SEPARATE_GATES[kind][0]
        if kind == "Bidirectional":
            return stored_count(layer.forward_layer, 1) + stored_count(layer.backward_layer, 1)
        if kind == "TimeDistributed":
            return stored_count(layer.layer, 1)
    if kind == "Discretization":
        return int(layer.summary is not None)
    return len(layer.weights)


def converted(layer: Any, arrays: Arrays, *, version: int, backend: str) -> Arrays:
    """`arrays` of one layer as Keras 3's layer of today holds them.

    Args:
        layer: The built Keras 3 layer.
        arrays: In the file's order.
        version: Major version of the Keras that wrote them.
        backend: The backend that it ran on: Theano's convolutions flipped their kernels.
    """
    kind = type(layer).__name__
    if kind == "Bidirectional":
        half = len(arrays) // 2
        forward = converted(layer.forward_layer, arrays[:half], version=version, backend=backend)
        return forward + converted(layer.backward_layer, arrays[half:], version=version, backend=backend)
    if kind == "TimeDistributed":
        return converted(layer.layer, arrays, version=version, backend=backend)
    if version == 1:
        arrays = _of_keras1(layer, kind, arrays)
    if kind in _CONVOLUTIONS and arrays and backend == "theano":
        kernels = 2 if kind == "ConvLSTM2D" else 1
        arrays = [_flipped(array) if index < kernels else array for index, array in enumerate(arrays)]
    if kind in ("LSTM", "GRU") and len(arrays) == 3:
        arrays = _of_cudnn(kind, arrays)
    return arrays


def _of_keras1(layer: Any, kind: str, arrays: Arrays) -> Arrays:
    if kind in _SEPARATE_GATES and len(arrays) == _SEPARATE_GATES[kind][0]:
        order = _SEPARATE_GATES[kind][1]
        arrays = [np.concatenate([arrays[3 * gate + part] for gate in order], axis=-1) for part in range(3)]
    if not arrays:
        return arrays
    kernel, rest = arrays[0], arrays[1:]
    first = getattr(layer, "data_format", None) == "channels_first"
    if kind == "Conv1D" and kernel.ndim == 4:
        # (steps, 1, channels, filters), or before 1.1 (filters, channels, steps, 1)
        kernel = kernel if kernel.shape[1] == 1 and kernel.shape[3] == layer.filters else kernel.transpose(2, 3, 1, 0)
        kernel = kernel[:, 0]
    elif kind == "Conv2D" and first:
        kernel = kernel.transpose(2, 3, 1, 0)
    elif kind == "Conv2DTranspose" and kernel.ndim == 4:
        kernel = kernel.transpose(2, 3, 0, 1) if first else kernel.transpose(0, 1, 3, 2)
    elif kind == "Conv3D" and first:
        kernel = kernel.transpose(2, 3, 4, 1, 0)
    return [kernel, *rest]


def _flipped(kernel: Array) -> Array:
    spatial = tuple(range(kernel.ndim - 2))
    return np.flip(kernel, axis=spatial)


def _of_cudnn(kind: str, arrays: Arrays) -> Arrays:
    """CuDNN's layout has one bias per kernel, in one row; what has another shape is Keras' own already."""
    kernel, recurrent, bias = arrays
    gates = 4 if kind == "LSTM" else 3
    if bias.shape != (2 * gates * recurrent.shape[0],) or recurrent.shape[1] != gates * recurrent.shape[0]:
        return arrays
    kernel = _by_gate(kernel, gates, lambda gate: gate.T.reshape(gate.shape, order="F"))
    recurrent = _by_gate(recurrent, gates, lambda gate: gate.T)
    merged = bias.reshape(2, -1)
    return [kernel, recurrent, merged.sum(axis=0) if kind == "LSTM" else merged]


def _by_gate(kernel: Array, gates: int, change: Callable[[Array], Array]) -> Array:
    return np.hstack([change(gate) for gate in np.hsplit(kernel, gates)])
