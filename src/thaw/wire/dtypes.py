"""TensorFlow's dtypes: number on the wire, name in the IR, numpy type in memory. Imports numpy and ml_dtypes.

Source: tensorflow/core/framework/types.proto.
"""

from typing import Any

import ml_dtypes
import numpy as np

from thaw.errors import CorruptFileError

NAMES = {
    0: "invalid", 1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64",
    9: "int64", 10: "bool", 11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 15: "qint16", 16: "quint16",
    17: "uint16", 18: "complex128", 19: "float16", 20: "resource", 21: "variant", 22: "uint32", 23: "uint64",
    24: "float8_e5m2", 25: "float8_e4m3fn", 26: "float8_e4m3fnuz", 27: "float8_e4m3b11fnuz", 28: "float8_e5m2fnuz",
    29: "int4", 30: "uint4", 31: "int2", 32: "uint2", 33: "float4_e2m1fn",
}  # fmt: skip

NUMBERS = {name: number for number, name in NAMES.items()}

_NUMPY: dict[str, np.dtype[Any]] = {
    "string": np.dtype(object),
    "qint8": np.dtype(np.int8),
    "quint8": np.dtype(np.uint8),
    "qint16": np.dtype(np.int16),
    "quint16": np.dtype(np.uint16),
    "qint32": np.dtype(np.int32),
}
for _name in NAMES.values():
    if _name not in _NUMPY and hasattr(ml_dtypes, _name):
        _NUMPY[_name] = np.dtype(getattr(ml_dtypes, _name))
    elif _name not in {*_NUMPY, "invalid", "resource", "variant"}:
        _NUMPY[_name] = np.dtype(_name)


def name_of(number: int) -> str:
    """The name of the dtype of that number; a reference type has the name of what it refers to."""
    return NAMES.get(number - 100 if number > 100 else number, f"dtype{number}")


def numpy_type(name: str, origin: str) -> np.dtype[Any]:
    """The numpy type in which values of that dtype are held; strings are objects (bytes).

    Raises:
        CorruptFileError: values of that dtype cannot be stored in a file.
    """
    if name not in _NUMPY:
        raise CorruptFileError(origin, f"it holds values of the dtype {name!r}, which has none that a file could hold")
    return _NUMPY[name]
