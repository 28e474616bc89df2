"""Values while a graph runs: numpy on the host, tensors of the backend on the device.

What is known while tracing (constants, shapes, and all that follows from them) stays numpy; `xp` picks the namespace by
the inputs, so that one line serves both: `xp(x, y).maximum(x, y)`. numpy and `keras.ops` agree on most names. Strings are
object arrays of bytes, always on the host. Imports keras and numpy.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops

Value = Any
"""numpy array or scalar, backend tensor, or a host object (resource handle, tensor list, ...)."""


@dataclass(frozen=True, slots=True)
class Handle:
    """A variable as a value.

    Attributes:
        key: what the context knows it by (`shared_name`).
        reference: whether it is a TF1 reference variable, which ops that are not about variables take by value.
    """

    key: str
    reference: bool = False


def is_host(value: Value) -> bool:
    """Whether `value` is known now, as numpy."""
    return isinstance(value, (np.ndarray, np.generic))


def xp(*values: Value) -> Any:
    """The namespace that computes on `values`: numpy where all are numpy, `keras.ops` otherwise."""
    return np if all(isinstance(v, (np.ndarray, np.generic)) for v in values) else ops


def dtype_of(value: Value) -> str:
    """The dtype by name, of either kind of value; "string" for object arrays."""
    if is_host(value):
        return "string" if value.dtype.kind in "OSU" else value.dtype.name
    return _named(value.dtype)


@cache
def _named(dtype: Any) -> str:
    """The name of a backend's dtype; kept, since Keras searches for it in text each time (a sixth of an LSTM's prediction)."""
    return str(keras.backend.standardize_dtype(dtype))


def static_shape(value: Value) -> tuple[int | None, ...]:
    """The shape, None where the backend does not know an axis (TensorFlow only)."""
    return tuple(value.shape)


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype of a TensorFlow dtype's name (bfloat16 and the float8s by ml_dtypes; quantized as their integers)."""
    if name == "string":
        return np.dtype(object)
    if name in {"bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4"}:
        import ml_dtypes

        named: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return named
    quantized = {"qint8": "int8", "quint8": "uint8", "qint16": "int16", "quint16": "uint16", "qint32": "int32"}
    return np.dtype(quantized.get(name, name))


def held(dtype: str) -> str:
    """The dtype in which the backend holds `dtype`: Keras has no uint64 on PyTorch, and holds uint32 as int64 there too."""
    return "int64" if dtype == "uint64" and keras.backend.backend() == "torch" else dtype


def cast(value: Value, dtype: str) -> Value:
    """`value` as `dtype`, on the side where it is."""
    if is_host(value):
        return value.astype(numpy_dtype(dtype))
    return ops.cast(value, held(dtype))


def as_dtype(value: Value, dtype: str) -> Value:
    """`value` in that dtype."""
    return value if dtype_of(value) == dtype else cast(value, dtype)


def on_device(value: Value, dtype: str | None = None) -> Value:
    """`value` as a backend tensor."""
    if dtype is None and is_host(value):
        dtype = held(value.dtype.name) if value.dtype.name == "uint64" else None
    return ops.convert_to_tensor(value, dtype=None if dtype is None else held(dtype))


def sizes(value: Value) -> tuple[Any, ...]:
    """A static shape-like input as a tuple of ints (a vector of the backend is left as it is, for TensorFlow)."""
    return tuple(int(n) for n in np.atleast_1d(value))


class NotKnownError(Exception):
    """Internal: a value that had to be known while tracing is not. The runner turns it into a StaticInputError."""

    def __init__(self, argument: str) -> None:
        super().__init__(argument)
        self.argument = argument


def known(value: Value, argument: str) -> Value:
    """`value` as numpy, read back from the device where the backend holds it concretely.

    Under TensorFlow's own tracing a value that is not known is returned as the tensor it is: TensorFlow's ops take shapes
    as tensors.

    Raises:
        NotKnownError: `value` depends on the data of a traced step (JAX).
    """
    if is_host(value) or not keras.ops.is_tensor(value):
        return value
    try:
        return ops.convert_to_numpy(value)
    except Exception as error:
        if keras.backend.backend() == "tensorflow":
            return value
        raise NotKnownError(argument) from error
