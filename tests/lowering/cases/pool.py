"""Pools: odd sizes, strides, SAME at the border, ties, formats, dtypes; their gradients as ops."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(12)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def ties(*shape):
    return R.integers(0, 3, shape).astype("float32")


def i(*values):
    return np.array(values, "int32")


def attrs(window, stride, padding="SAME", **more):
    axes = window if isinstance(window, tuple) else (window, window)
    steps = stride if isinstance(stride, tuple) else (stride,) * len(axes)
    return {"ksize": (1, *axes, 1), "strides": (1, *steps, 1), "padding": padding} | more


NCHW = {"ksize": (1, 1, 3, 2), "strides": (1, 1, 2, 1), "padding": "SAME", "data_format": "NCHW"}
CUBE = f(1, 4, 6, 4, 2)

CASES = [
    Case("MaxPool", "same-stride2-even", (f(2, 8, 6, 3),), attrs(2, 2)),
    Case("MaxPool", "same-stride2-odd", (f(2, 7, 5, 3),), attrs(3, 2)),
    Case("MaxPool", "same-stride1", (f(2, 4, 5, 3),), attrs(3, 1)),
    Case("MaxPool", "valid", (f(2, 7, 6, 3),), attrs((3, 2), 2, "VALID")),
    Case("MaxPool", "valid-stride-beyond-window", (f(1, 9, 9, 2),), attrs(2, 3, "VALID")),
    Case("MaxPool", "same-stride-beyond-window", (f(1, 9, 9, 2),), attrs(2, 3)),
    Case("MaxPool", "first-of-ties", (ties(2, 6, 6, 2),), attrs(3, 2)),
    Case("MaxPool", "first-of-ties-valid", (ties(2, 6, 6, 2),), attrs(2, 2, "VALID")),
    Case("MaxPool", "all-negative", (-np.abs(f(1, 5, 5, 2)) - 1,), attrs(3, 2)),
    Case("MaxPool", "nchw", (f(2, 3, 7, 6),), NCHW),
    Case(
        "MaxPool",
        "over-depth",
        (f(1, 2, 2, 6),),
        {"ksize": (1, 1, 1, 2), "strides": (1, 1, 1, 2), "padding": "VALID"},
        gradient=False,
    ),
    Case("MaxPool", "half", (f(2, 6, 6, 3, dtype="float16"),), attrs(2, 2)),
    Case("MaxPool", "double", (f(2, 6, 6, 3, dtype="float64"),), attrs(3, 2)),
    Case("MaxPool", "empty-batch", (f(0, 6, 6, 3),), attrs(3, 2)),
    Case("MaxPool", "explicit", (f(2, 6, 7, 3),), attrs(3, 2, "EXPLICIT", explicit_paddings=(0, 0, 1, 0, 1, 1, 0, 0))),
    Case("MaxPoolV2", "same", (f(2, 7, 5, 3), i(1, 3, 3, 1), i(1, 2, 2, 1)), {"padding": "SAME"}),
    Case("MaxPoolV2", "valid", (f(2, 7, 5, 3), i(1, 2, 2, 1), i(1, 2, 2, 1)), {"padding": "VALID"}),
    Case("MaxPool3D", "same", (f(1, 5, 6, 4, 2),), attrs((2, 3, 2), 2)),
    Case("MaxPool3D", "valid", (f(1, 5, 6, 4, 2),), attrs((2, 2, 2), (1, 2, 2), "VALID")),
    Case("MaxPoolWithArgmax", "same", (f(2, 5, 7, 3),), attrs(3, 2)),
    Case("MaxPoolWithArgmax", "valid-batch-in-index", (f(2, 6, 6, 3),), attrs(2, 2, "VALID", include_batch_in_index=True)),
    Case("AvgPool", "same-stride2-odd", (f(2, 7, 5, 3),), attrs(3, 2)),
    Case("AvgPool", "same-even-window", (f(2, 6, 5, 3),), attrs(2, 1)),
    Case("AvgPool", "valid", (f(2, 7, 6, 3),), attrs((3, 2), 2, "VALID")),
    Case("AvgPool", "whole-image", (f(2, 7, 7, 3),), attrs(7, 1, "VALID")),
    Case("AvgPool", "same-stride-beyond-window", (f(1, 9, 9, 2),), attrs(2, 3)),
    Case("AvgPool", "nchw", (f(2, 3, 7, 6),), NCHW),
    Case("AvgPool", "half", (f(2, 6, 6, 3, dtype="float16"),), attrs(3, 2)),
    Case("AvgPool", "empty-batch", (f(0, 6, 6, 3),), attrs(3, 2)),
    Case("AvgPool3D", "same", (f(1, 5, 6, 4, 2),), attrs((2, 3, 2), 2)),
    Case("AvgPool3D", "valid", (f(1, 5, 6, 4, 2),), attrs((2, 2, 2), 2, "VALID")),
    Case("MaxPoolGrad", "same", (f(2, 7, 5, 3), f(2, 4, 3, 3), f(2, 4, 3, 3)), attrs(3, 2), gradient=False),
    Case(
        "MaxPoolGrad", "first-of-ties", (ties(2, 6, 6, 2), ties(2, 5, 5, 2), f(2, 5, 5, 2)), attrs(2, 1, "VALID"), gradient=False
    ),
    Case(
        "MaxPool3DGrad",
        "valid",
        (CUBE, CUBE.reshape(1, 2, 2, 3, 2, 2, 2, 2).max((2, 4, 6)), f(1, 2, 3, 2, 2)),
        attrs((2, 2, 2), 2, "VALID"),
        gradient=False,
    ),
    Case("AvgPoolGrad", "same", (i(2, 7, 5, 3), f(2, 4, 3, 3)), attrs(3, 2)),
    Case("AvgPoolGrad", "valid", (i(2, 7, 6, 3), f(2, 3, 5, 3)), attrs((3, 2), (2, 1), "VALID")),
    Case("AvgPool3DGrad", "same", (i(1, 5, 6, 4, 2), f(1, 3, 3, 2, 2)), attrs((2, 3, 2), 2)),
]
