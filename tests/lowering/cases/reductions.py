"""Reductions and running sums."""

import ml_dtypes
import numpy as np

from lowering.case import Case

R = np.random.default_rng(6)
NAN = float("nan")


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def i(*values, dtype="int32"):
    return np.array(values, dtype=dtype)


NO_AXES = np.zeros(0, "int32")
TIES = np.array([[1, 3, 3], [2, 2, 0]], "float32")
C = np.array([[True, False, True], [True, True, True]])
SUMS = ("Sum", "Mean", "Prod", "Max", "Min", "EuclideanNorm")

CASES = [
    *[Case(op, "last-axis", (f(2, 3), np.int32(-1))) for op in SUMS],
    *[Case(op, "two-axes-kept", (f(2, 3, 4), i(0, 2)), {"keep_dims": True}) for op in SUMS],
    *[Case(op, "no-axes", (f(2, 3), NO_AXES)) for op in ("Sum", "Max")],
    *[Case(op, "all-axes", (f(2, 3), i(0, 1))) for op in ("Sum", "Mean")],
    *[Case(op, "empty", (f(2, 0), i(1)), gradient=False) for op in ("Sum", "Mean", "Prod", "Max", "Min")],
    *[Case(op, "float16", (f(2, 3, dtype="float16"), i(1))) for op in ("Sum", "Mean", "Max")],
    Case("Sum", "bfloat16", (f(2, 3).astype(ml_dtypes.bfloat16), i(1))),
    Case("Sum", "float64", (f(2, 3, dtype="float64"), i(1))),
    Case("Sum", "int32", (np.arange(6, dtype="int32").reshape(2, 3), i(1)), gradient=False),
    Case("Mean", "int32-towards-zero", (np.array([[1, 2, 2], [-1, -2, -2]], "int32"), i(1)), gradient=False),
    Case("Prod", "int32", (np.arange(6, dtype="int32").reshape(2, 3), i(1)), gradient=False),
    Case("Prod", "one-zero", (np.array([[0, 2, 3], [4, 5, 6]], "float32"), i(1))),
    Case("Max", "ties-share-the-gradient", (TIES, i(1))),
    Case("Min", "ties-share-the-gradient", (TIES, i(1))),
    Case("Max", "nan", (np.array([[1, NAN, 2]], "float32"), i(1)), gradient=False),
    Case("Max", "int64", (np.array([[1, 5]], "int64"), i(1)), gradient=False),
    Case("All", "last-axis", (C, i(1)), gradient=False),
    Case("All", "all-axes-kept", (C, i(0, 1)), {"keep_dims": True}, gradient=False),
    Case("Any", "last-axis", (~C, i(1)), gradient=False),
    Case("L2Loss", "float32", (f(2, 3),)),
    Case("ArgMax", "ties-the-first", (TIES, np.int32(1)), gradient=False),
    Case("ArgMax", "int32-output-first-axis", (TIES, np.int32(0)), {"output_type": "int32"}, gradient=False),
    Case("ArgMin", "last-axis", (TIES, np.int32(-1)), gradient=False),
    Case("ArgMax", "bool", (C, np.int32(1)), gradient=False),
    *[Case(op, "plain", (f(2, 3), np.int32(1))) for op in ("Cumsum", "Cumprod", "CumulativeLogsumexp")],
    *[Case(op, "exclusive", (f(2, 3), np.int32(0)), {"exclusive": True}) for op in ("Cumsum", "Cumprod")],
    *[Case(op, "reverse", (f(2, 3), np.int32(-1)), {"reverse": True}) for op in ("Cumsum", "Cumprod", "CumulativeLogsumexp")],
    Case("Cumsum", "exclusive-reverse", (f(2, 3), np.int32(1)), {"exclusive": True, "reverse": True}),
    Case("CumulativeLogsumexp", "exclusive", (f(2, 3), np.int32(1)), {"exclusive": True}, gradient=False),
    Case("Cumsum", "int32", (np.arange(6, dtype="int32").reshape(2, 3), np.int32(1)), gradient=False),
]
