"""Elementwise arithmetic: every op, broadcasting, ties, NaN, overflow, odd dtypes, empty tensors.

Shapes are shared between cases so that JAX, which compiles an operation once a shape, does not compile for each.
"""

import ml_dtypes
import numpy as np

from lowering.case import Case

R = np.random.default_rng(1)
NAN, INF = float("nan"), float("inf")


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def positive(*shape, dtype="float32"):
    return R.uniform(0.2, 3, shape).astype(dtype)


def inside(*shape, dtype="float32"):
    """Between -0.9 and 0.9."""
    return R.uniform(-0.9, 0.9, shape).astype(dtype)


def ints(*values, dtype="int32"):
    return np.array(values, dtype=dtype)


def floats(*values, dtype="float32"):
    return np.array(values, dtype=dtype)


def z(*shape):
    return (R.standard_normal(shape) + 1j * R.standard_normal(shape)).astype("complex64")


def unary(op, value, **more):
    return Case(op, "float32", (value,), **more)


CASES = [
    Case("AddV2", "broadcast", (f(2, 3), f(3))),
    Case("AddV2", "scalars", (f(), f())),
    Case("AddV2", "int8-wraps", (ints(100, -100, dtype="int8"), ints(100, -100, dtype="int8")), gradient=False),
    Case("AddV2", "empty", (f(0, 3), f(3))),
    Case("AddV2", "bfloat16", (f(2, 3).astype(ml_dtypes.bfloat16), f(2, 3).astype(ml_dtypes.bfloat16))),
    Case("Add", "float64", (f(2, 3, dtype="float64"), f(2, 1, dtype="float64"))),
    Case("Add", "float16", (f(2, 3, dtype="float16"), f(2, 3, dtype="float16"))),
    Case("Sub", "broadcast-both", (f(2, 1), f(1, 3))),
    Case("Sub", "uint8-wraps", (ints(3, 200, dtype="uint8"), ints(5, 100, dtype="uint8")), gradient=False),
    Case("Mul", "broadcast", (f(2, 3), f(2, 1))),
    Case("Mul", "float16", (f(2, 3, dtype="float16"), f(2, 3, dtype="float16"))),
    Case("Mul", "int32-wraps", (ints(2**30, -7), ints(4, 3)), gradient=False),
    Case("Mul", "int64", (ints(7, -7, dtype="int64"), ints(3, 3, dtype="int64")), gradient=False),
    Case("Mul", "complex", (z(2, 3), z(3))),
    Case("MulNoNan", "zero-beats-nan", (floats(1, NAN, INF, 2), floats(2, 0, 0, 0)), gradient=False),
    Case("MulNoNan", "gradient-at-zero", (floats(1, 2, 3, 4), floats(2, 0, 1, 0))),
    Case("RealDiv", "broadcast", (f(2, 3), positive(3))),
    Case("RealDiv", "by-zero", (floats(1, -1, 0), floats(0, 0, 0)), gradient=False),
    Case("Div", "float32", (f(2, 3), positive(3))),
    Case("Div", "int32-towards-zero", (ints(7, -7, 7, -7), ints(2, 2, -2, -2)), gradient=False),
    Case("TruncateDiv", "int32-towards-zero", (ints(7, -7, 7, -7), ints(2, 2, -2, -2)), gradient=False),
    Case("TruncateDiv", "uint8", (ints(200, 7, dtype="uint8"), ints(3, 2, dtype="uint8")), gradient=False),
    Case("FloorDiv", "int32-down", (ints(7, -7, 7, -7), ints(2, 2, -2, -2)), gradient=False),
    Case("FloorDiv", "float32", (floats(7, -7, 7.5, -7.5), floats(2, 2, -2, -2)), gradient=False),
    Case("FloorMod", "int32", (ints(7, -7, 7, -7), ints(3, 3, -3, -3)), gradient=False),
    Case("FloorMod", "float32", (floats(7, -7, 7.5, -7.5), floats(2, 2, -2, -2))),
    Case("Mod", "int32", (ints(7, -7, 7, -7), ints(3, 3, -3, -3)), gradient=False),
    Case("TruncateMod", "int32", (ints(7, -7, 7, -7), ints(3, 3, -3, -3)), gradient=False),
    Case("TruncateMod", "float32", (floats(7, -7, 7.5, -7.5), floats(2, 2, -2, -2)), gradient=False),
    Case("DivNoNan", "zero-below", (floats(1, -1, 0, 4), floats(0, 2, 0, 8))),
    Case("DivNoNan", "broadcast", (f(2, 3), floats(0, 1, 2))),
    Case("Xdivy", "zero-above", (floats(0, 1, 2), floats(0, 2, 4))),
    Case("Xlogy", "zero-first", (floats(0, 1, 2), floats(0, 2, 4))),
    Case("Xlog1py", "zero-first", (floats(0, 1, 2), floats(-1, 2, 4))),
    Case("Pow", "known-exponent", (f(2, 3), floats(2, 3, 2))),
    Case("Pow", "fractional", (positive(2, 3), f(2, 3))),
    Case("Pow", "negative-base-zero-gradient-for-exponent", (floats(-2, -1, 2), floats(2, 3, 2))),
    Case("Pow", "int32", (ints(2, -3, 0), ints(10, 3, 0)), gradient=False),
    Case("SquaredDifference", "broadcast", (f(2, 3), f(3))),
    Case("Maximum", "ties-go-to-the-first", (floats(1, 2, 3, -0.0), floats(1, 3, 2, 0))),
    Case("Maximum", "nan", (floats(NAN, 1, NAN), floats(1, NAN, NAN)), gradient=False),
    Case("Maximum", "broadcast-scalar", (f(2, 3), floats(0)[0])),
    Case("Maximum", "int64", (ints(3, -3, dtype="int64"), ints(0, 0, dtype="int64")), gradient=False),
    Case("Minimum", "ties-go-to-the-first", (floats(1, 2, 3, -0.0), floats(1, 3, 2, 0))),
    Case("Minimum", "nan", (floats(NAN, 1, NAN), floats(1, NAN, NAN)), gradient=False),
    Case("Minimum", "float16", (f(2, 3, dtype="float16"), f(2, 3, dtype="float16"))),
    Case("ClipByValue", "scalar-bounds", (f(2, 3), floats(-0.5)[0], floats(0.5)[0])),
    Case("ClipByValue", "int32", (ints(-5, 0, 5), ints(-1)[0], ints(2)[0]), gradient=False),
    Case("Atan2", "four-quadrants", (floats(1, 1, -1, -1), floats(1, -1, 1, -1))),
    Case("NextAfter", "up-and-down", (floats(1, 1, 0), floats(2, 0, 1)), gradient=False),
    Case("AddN", "three", (f(2, 3), f(2, 3), f(2, 3))),
    Case("AddN", "one", (f(2, 3),)),
    Case("AccumulateNV2", "two", (f(2, 3), f(2, 3)), {"shape": (2, 3)}),
    Case("Abs", "zero-gradient-at-zero", (floats(-1, 0, 2),)),
    Case("Abs", "int8-lowest-wraps", (ints(-128, -1, dtype="int8"),), gradient=False),
    unary("Neg", f(2, 3)),
    Case("Neg", "int32", (ints(1, -2),), gradient=False),
    Case("Sign", "float32", (floats(-2, 0, 3, NAN),), gradient=False),
    Case("Sign", "complex", (np.concatenate([z(2), np.zeros(1, "complex64")]),), gradient=False),
    unary("Reciprocal", positive(2, 3)),
    unary("Inv", positive(2, 3)),
    unary("Square", f(2, 3)),
    Case("Square", "int32", (ints(3, -4),), gradient=False),
    unary("Sqrt", positive(2, 3)),
    Case("Sqrt", "negative-is-nan", (floats(-1, 0, 4),), gradient=False),
    Case("Sqrt", "float16", (positive(2, 3, dtype="float16"),)),
    unary("Rsqrt", positive(2, 3)),
    Case("Rsqrt", "float64", (positive(2, 3, dtype="float64"),)),
    Case("Round", "halves-to-even", (floats(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.3),), gradient=False),
    Case("Rint", "halves-to-even", (floats(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.3),), gradient=False),
    Case("Floor", "float32", (floats(-2.5, -0.0, 0.5, 3),), gradient=False),
    Case("Ceil", "float32", (floats(-2.5, -0.0, 0.5, 3),), gradient=False),
    Case("TanhGrad", "float32", (inside(2, 3), f(2, 3))),
    Case("SigmoidGrad", "float32", (positive(2, 3), f(2, 3))),
    Case("ReciprocalGrad", "float32", (positive(2, 3), f(2, 3))),
    Case("InvGrad", "float32", (positive(2, 3), f(2, 3))),
    Case("SqrtGrad", "float32", (positive(2, 3), f(2, 3))),
    Case("RsqrtGrad", "float32", (positive(2, 3), f(2, 3))),
    unary("Exp", f(2, 3)),
    Case("Exp", "bfloat16", (f(2, 3).astype(ml_dtypes.bfloat16),)),
    Case("Exp", "complex", (z(2, 3),)),
    unary("Expm1", floats(1e-6, -1e-6, 1)),
    unary("Log", positive(2, 3)),
    Case("Log", "zero-and-negative", (floats(0, -1, 1),), gradient=False),
    unary("Log1p", floats(1e-6, -1e-6, 1)),
    unary("Sin", f(2, 3)),
    unary("Cos", f(2, 3)),
    unary("Tan", inside(2, 3)),
    unary("Asin", inside(2, 3)),
    unary("Acos", inside(2, 3)),
    unary("Atan", f(2, 3)),
    unary("Sinh", f(2, 3)),
    unary("Cosh", f(2, 3)),
    unary("Tanh", f(2, 3)),
    Case("Tanh", "empty", (f(0, 3),)),
    unary("Asinh", f(2, 3)),
    unary("Acosh", 1 + positive(2, 3)),
    unary("Atanh", inside(2, 3)),
    unary("Sigmoid", f(2, 3)),
    Case("Sigmoid", "far-out", (floats(-100, 100, 0),)),
    Case("ComplexAbs", "zero-too", (np.concatenate([z(3), np.zeros(1, "complex64")]),)),
    Case("Real", "complex64", (z(2, 3),)),
    Case("Imag", "complex64", (z(2, 3),)),
    Case("Conj", "complex64", (z(2, 3),)),
    Case("Angle", "complex64", (z(2, 3),)),
    Case("Complex", "broadcast", (f(2, 3), f(3))),
]
