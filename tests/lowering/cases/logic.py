"""Comparisons beside NaN, logic, bits."""

import numpy as np

from lowering.case import Case

NAN, INF = float("nan"), float("inf")
X = np.array([1, 2, 3, NAN, INF], dtype="float32")
Y = np.array([2, 2, 2, 2, NAN], dtype="float32")
A = np.array([True, True, False, False])
B = np.array([True, False, True, False])
I8 = np.array([-128, -3, 0, 5, 127], dtype="int8")
J8 = np.array([3, 5, 1, 6, 2], dtype="int8")
TEXT = np.array([b"a", b"b", b""], dtype=object)


def case(op, id, *inputs, **attrs):
    return Case(op, id, inputs, attrs, gradient=False)


CASES = [
    *[case(op, "beside-nan", X, Y) for op in ("Less", "LessEqual", "Greater", "GreaterEqual", "Equal", "NotEqual")],
    *[case(op, "int8-broadcast", I8, np.int8(0)) for op in ("Less", "GreaterEqual", "Equal", "NotEqual")],
    case("Less", "float64", X.astype("float64"), Y.astype("float64")),
    case("Equal", "strings", TEXT, np.array(b"b", dtype=object)),
    case("NotEqual", "strings", TEXT, np.array(b"b", dtype=object)),
    case("Equal", "bool", A, B),
    case("Equal", "shapes-that-do-not-fit", X, X[:2], incompatible_shape_error=False),
    case("NotEqual", "shapes-that-do-not-fit", X, X[:2], incompatible_shape_error=False),
    case("LogicalAnd", "table", A, B),
    case("LogicalOr", "table", A, B),
    case("LogicalNot", "table", A),
    case("LogicalAnd", "broadcast", A, np.bool_(True)),
    *[case(op, "int8", I8, J8) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "LeftShift", "RightShift")],
    case("Invert", "int8", I8),
    case("Invert", "uint8", np.array([0, 1, 255], dtype="uint8")),
    case("RightShift", "int32", np.array([-8, 9], dtype="int32"), np.array([1, 3], dtype="int32")),
    case("PopulationCount", "int32", np.array([-1, 0, 12345], dtype="int32")),
    *[case(op, "all-kinds", np.array([NAN, INF, -INF, 0, 1], dtype="float32")) for op in ("IsNan", "IsInf", "IsFinite")],
    case("IsNan", "float16", np.array([NAN, 1], dtype="float16")),
    case("ApproximateEqual", "default-tolerance", np.array([1, 1.1], dtype="float32"), np.array([1.000001, 1], dtype="float32")),
]
