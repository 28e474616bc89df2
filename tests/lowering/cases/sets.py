"""Unique values, set operations."""

import numpy as np

from lowering.cases.text import BULK, case, i, s

CASES = [
    case("Unique", "integers", i(5, 1, 5, 3, 1)),
    case("Unique", "int64-index", i(5, 1, 5, 3, 1, dtype="int64"), out_idx="int64"),
    case("Unique", "strings", s("b", "a", "b", "", "c", "")),
    case("Unique", "bulk", BULK),
    case("Unique", "floats", np.array([1.5, -0.5, 1.5], "float32")),
    case("Unique", "empty", i(dtype="int64")),
    case("UniqueWithCounts", "strings", s("b", "a", "b", "", "c", "")),
    case("UniqueV2", "rows", i(1, 2, 3, 4, 1, 2).reshape(3, 2), i(0)),
    case("UniqueV2", "columns", i(1, 2, 1, 4, 5, 4).reshape(2, 3), i(1)),
    case("UniqueV2", "vector", i(3, 3, 1), i()),
    case("UniqueWithCountsV2", "rows", i(1, 2, 3, 4, 1, 2).reshape(3, 2), i(0), out_idx="int64"),
    case("ListDiff", "integers", i(1, 2, 3, 4, 5, 1), i(2, 4)),
    case("ListDiff", "strings", s("a", "b", "c"), s("b")),
    case(
        "DenseToDenseSetOperation",
        "intersection",
        i(1, 2, 3, 4).reshape(2, 2),
        i(2, 2, 5, 3, 9, 4).reshape(2, 3),
        set_operation="intersection",
    ),
    case("DenseToDenseSetOperation", "a-b", i(1, 2, 3, 4).reshape(2, 2), i(2, 2, 5, 6).reshape(2, 2), set_operation="a-b"),
    case("DenseToDenseSetOperation", "b-a", i(1, 2, 3, 4).reshape(2, 2), i(2, 2, 5, 6).reshape(2, 2), set_operation="b-a"),
    case(
        "DenseToDenseSetOperation", "union-strings", s("a", "b", shape=(1, 2)), s("c", "b", shape=(1, 2)), set_operation="union"
    ),
    case(
        "DenseToSparseSetOperation",
        "intersection",
        i(1, 2, 3, 4, dtype="int64").reshape(2, 2),
        i(0, 0, 0, 1, 1, 0, dtype="int64").reshape(3, 2),
        i(2, 7, 4, dtype="int64"),
        i(2, 2, dtype="int64"),
        set_operation="intersection",
    ),
    case(
        "SparseToSparseSetOperation",
        "union",
        i(0, 0, 2, 0, 2, 1, dtype="int64").reshape(3, 2),
        i(1, 2, 3),
        i(3, 2, dtype="int64"),
        i(0, 0, 1, 0, dtype="int64").reshape(2, 2),
        i(4, 5),
        i(3, 2, dtype="int64"),
        set_operation="union",
    ),
    case("SetSize", "rows", i(0, 0, 0, 1, 2, 0, dtype="int64").reshape(3, 2), i(1, 1, 2), i(3, 2, dtype="int64")),
]

ELSEWHERE = {
    "ThawEvery": "test_host.py: put in by thaw.graph.split_host in place of Unique",
}
