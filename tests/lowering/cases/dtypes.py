"""Casts and bitcasts."""

import ml_dtypes
import numpy as np

from lowering.case import Case

X = np.array([-2.7, -0.5, 0, 0.5, 2.7, 200], dtype="float32")
WHOLE = np.array([-2, 0, 3], dtype="int32")


def cast(id, x, to, gradient=False, **more):
    return Case("Cast", id, (x,), {"DstT": to, **more}, gradient=gradient)


CASES = [
    cast("float32-to-int32-towards-zero", X, "int32"),
    cast("float32-to-bool", X, "bool"),
    cast("float32-to-float16", X, "float16", gradient=True),
    cast("float32-to-bfloat16", X, "bfloat16", gradient=True),
    cast("float32-to-float64", X, "float64", gradient=True),
    cast("float64-to-float32", X.astype("float64"), "float32", gradient=True),
    cast("bfloat16-to-float32", X.astype(ml_dtypes.bfloat16), "float32", gradient=True),
    cast("int32-to-float32", WHOLE, "float32"),
    cast("int32-to-uint8-wraps", WHOLE, "uint8"),
    cast("int32-to-int64", WHOLE, "int64"),
    cast("bool-to-float32", np.array([True, False]), "float32"),
    cast("bool-to-int64", np.array([True, False]), "int64"),
    cast("complex-to-float32", np.array([1 + 2j, -1j], dtype="complex64"), "float32", gradient=True),
    cast("float32-to-complex", X, "complex64", gradient=True),
    cast("same", X, "float32", gradient=True),
    Case("Bitcast", "float32-to-int32", (X,), {"type": "int32"}, gradient=False),
    Case("Bitcast", "int32-to-uint8-new-axis", (WHOLE,), {"type": "uint8"}, gradient=False),
    Case("Bitcast", "uint8-to-int32-axis-goes", (np.arange(8, dtype="uint8").reshape(2, 4),), {"type": "int32"}, gradient=False),
]
