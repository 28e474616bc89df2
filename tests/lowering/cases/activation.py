"""Activations: at their kinks, at infinities and NaN, in every float; biases in every format."""

import ml_dtypes
import numpy as np

from lowering.case import Case

R = np.random.default_rng(13)
KINKS = np.array([-np.inf, -30.0, -1.5, -0.0, 0.0, 0.5, 6.0, 6.5, 30.0], "float32")
NAN = np.array([1.0, np.nan, -1.0], "float32")


def f(*shape, dtype="float32"):
    return (3 * R.standard_normal(shape)).astype(dtype)


def unary(op, attrs=None, kinks=KINKS):
    attrs = attrs or {}
    return [
        Case(op, "odd-shape", (f(3, 1, 5),), attrs),
        Case(op, "kinks", (kinks,), attrs),
        Case(op, "half", (f(4, 3, dtype="float16"),), attrs),
        Case(op, "bfloat16", (f(4, 3, dtype=ml_dtypes.bfloat16),), attrs),
        Case(op, "double", (f(4, 3, dtype="float64"),), attrs),
        Case(op, "empty", (f(0, 3),), attrs),
        Case(op, "nan", (NAN,), attrs, gradient=False),
    ]


def gradient(op, attrs=None):
    return [
        Case(op, "odd-shape", (f(3, 1, 5), f(3, 1, 5)), attrs or {}),
        Case(op, "kinks", (f(*KINKS.shape), np.where(np.isfinite(KINKS), KINKS, -9).astype("float32")), attrs or {}),
    ]


CASES = [
    *unary("Relu"),
    *unary("Relu6"),
    *unary("LeakyRelu"),
    Case("LeakyRelu", "slope", (f(3, 4),), {"alpha": 0.3}),
    *unary("Elu"),
    *unary("Selu"),
    *unary("Softplus"),
    *unary("Softsign", kinks=KINKS[1:]),
    *[
        Case(op, name, (x,))
        for op in ("Softmax", "LogSoftmax")
        for name, x in {
            "matrix": f(3, 5),
            "vector": f(4),
            "three-axes": f(2, 3, 4),
            "one-class": f(3, 1),
            "large": 100 * f(3, 4),
            "half": f(3, 4, dtype="float16"),
            "double": f(3, 4, dtype="float64"),
            "empty": f(0, 4),
            "bfloat16": f(3, 4, dtype=ml_dtypes.bfloat16),
        }.items()
    ],
    Case("Softmax", "masked", (np.array([[1, -np.inf, 2]], "float32"),), gradient=False),
    *gradient("ReluGrad"),
    *gradient("Relu6Grad"),
    *gradient("LeakyReluGrad"),
    Case("LeakyReluGrad", "slope", (f(3, 4), f(3, 4)), {"alpha": 0.3}),
    *gradient("EluGrad"),
    *gradient("SeluGrad"),
    *gradient("SoftplusGrad"),
    Case("SoftsignGrad", "odd-shape", (f(3, 1, 5), f(3, 1, 5)), gradient=False),
    Case("BiasAdd", "matrix", (f(3, 4), f(4))),
    Case("BiasAdd", "image", (f(2, 3, 4, 5), f(5))),
    Case("BiasAdd", "image-nchw", (f(2, 5, 3, 4), f(5)), {"data_format": "NCHW"}),
    Case("BiasAdd", "volume-nchw", (f(2, 5, 3, 4, 2), f(5)), {"data_format": "NCHW"}),
    Case("BiasAdd", "sequence", (f(2, 3, 4), f(4))),
    Case("BiasAdd", "half", (f(3, 4, dtype="float16"), f(4, dtype="float16"))),
    Case("BiasAdd", "int32", (np.arange(6, dtype="int32").reshape(2, 3), np.arange(3, dtype="int32")), gradient=False),
    Case("BiasAdd", "empty", (f(0, 4), f(4))),
    Case("BiasAddV1", "matrix", (f(3, 4), f(4))),
    Case("BiasAddGrad", "image", (f(2, 3, 4, 5),)),
    Case("BiasAddGrad", "image-nchw", (f(2, 5, 3, 4),), {"data_format": "NCHW"}),
    Case("BiasAddGrad", "half", (f(7, 4, dtype="float16"),)),
]
