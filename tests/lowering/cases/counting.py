"""Counts of values as sparse matrices."""

import numpy as np

from lowering.case import Case


def case(op, id, *inputs, **attrs):
    return Case(op, id, inputs, {"binary_output": False} | attrs, gradient=False)


def i(*items, dtype="int64"):
    return np.array(items, dtype)


NONE = np.zeros(0, "float32")
ROWS = i([3, 1, 3, 0], [7, 1, 1, 1])
PLACES = i([0, 1], [0, 5], [2, 0], [2, 2], [2, 3])
VALUES = i(4, 4, 2, 0, 2)

CASES = [
    case("DenseCountSparseOutput", "matrix", ROWS, NONE),
    case("DenseCountSparseOutput", "vector", i(2, 2, 5, dtype="int32"), NONE),
    case("DenseCountSparseOutput", "cut", ROWS, NONE, maxlength=4),
    case("DenseCountSparseOutput", "widened", ROWS, NONE, minlength=12),
    case("DenseCountSparseOutput", "presence", ROWS, NONE, binary_output=True),
    case("DenseCountSparseOutput", "weighted", ROWS, np.linspace(0.5, 4, 8, dtype="float32").reshape(2, 4)),
    case("DenseCountSparseOutput", "integers", ROWS, i(dtype="int64")),
    case("RaggedCountSparseOutput", "rows", i(0, 2, 2, 5), VALUES, NONE),
    case("RaggedCountSparseOutput", "cut-presence", i(0, 2, 2, 5), VALUES, NONE, maxlength=4, binary_output=True),
    case("RaggedCountSparseOutput", "weighted", i(0, 2, 2, 5), VALUES, np.arange(5, dtype="float32")),
    case("SparseCountSparseOutput", "matrix", PLACES, VALUES, i(3, 6), NONE),
    case("SparseCountSparseOutput", "weighted-widened", PLACES, VALUES, i(3, 6), np.arange(5, dtype="float32"), minlength=8),
    case("SparseCountSparseOutput", "nothing", np.zeros((0, 2), "int64"), i(), i(2, 3), NONE),
]
