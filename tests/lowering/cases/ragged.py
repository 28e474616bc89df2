"""Ragged tensors and counts."""

import numpy as np

from lowering.case import Case
from lowering.cases.text import case, i, one, s

R = np.random.default_rng(13)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def longs(*items):
    return i(*items, dtype="int64")


def n(number, dtype="int32"):
    return np.array(number, dtype=dtype)


SPLITS, DEEP = longs(0, 2, 2, 5), longs(0, 1, 3, 3, 4, 6)
ROWIDS = {"row_partition_types": ("FIRST_DIM_SIZE", "VALUE_ROWIDS")}

CASES = [
    case("RaggedTensorToTensor", "splits", longs(-1, -1), i(1, 2, 3, 4, 5), n(0), SPLITS, row_partition_types=("ROW_SPLITS",)),
    case(
        "RaggedTensorToTensor",
        "strings",
        longs(-1, -1),
        s("a", "b", "c", "d", "e"),
        one(""),
        SPLITS,
        row_partition_types=("ROW_SPLITS",),
    ),
    case("RaggedTensorToTensor", "cut", longs(-1, 2), i(1, 2, 3, 4, 5), n(9), SPLITS, row_partition_types=("ROW_SPLITS",)),
    case("RaggedTensorToTensor", "cut-rows", longs(2, 1), i(1, 2, 3, 4, 5), n(9), SPLITS, row_partition_types=("ROW_SPLITS",)),
    case("RaggedTensorToTensor", "widened", longs(4, 6), i(1, 2, 3, 4, 5), n(9), SPLITS, row_partition_types=("ROW_SPLITS",)),
    case("RaggedTensorToTensor", "rowids", longs(-1, -1), i(1, 2, 3, 4, 5), n(0), longs(4)[0], longs(0, 0, 2, 2, 2), **ROWIDS),
    case("RaggedTensorToTensor", "no-values", longs(-1, -1), i(), n(0), longs(3)[0], longs(), **ROWIDS),
    case(
        "RaggedTensorToTensor",
        "two-levels",
        longs(-1, -1, -1),
        i(1, 2, 3, 4, 5, 6),
        n(0),
        SPLITS,
        DEEP,
        row_partition_types=("ROW_SPLITS",) * 2,
    ),
    case(
        "RaggedTensorToTensor",
        "two-levels-cut",
        longs(-1, 2, 1),
        i(1, 2, 3, 4, 5, 6),
        n(0),
        SPLITS,
        DEEP,
        row_partition_types=("ROW_SPLITS",) * 2,
    ),
    Case(
        "RaggedTensorToTensor",
        "inner-axis",
        (longs(-1, -1, 3), f(5, 3), n(0.5, "float32"), SPLITS),
        {"row_partition_types": ("ROW_SPLITS",)},
    ),
    Case(
        "RaggedTensorToTensor",
        "inner-default",
        (longs(-1, -1, 3), f(5, 3), f(3), SPLITS),
        {"row_partition_types": ("ROW_SPLITS",)},
        gradient=False,
    ),
    case("RaggedTensorToSparse", "one-level", SPLITS, s("a", "b", "c", "d", "e"), RAGGED_RANK=1),
    case("RaggedTensorToSparse", "two-levels", SPLITS, DEEP, f(6), RAGGED_RANK=2),
    case("RaggedTensorToSparse", "inner-axis", SPLITS, f(5, 2), RAGGED_RANK=1),
    Case("RaggedGather", "one-level", (SPLITS, f(5), i(2, 0, 1, 2)), {"PARAMS_RAGGED_RANK": 1, "OUTPUT_RAGGED_RANK": 1}),
    case(
        "RaggedGather",
        "matrix-of-indices",
        SPLITS,
        i(1, 2, 3, 4, 5),
        i(2, 0, 1, 2).reshape(2, 2),
        PARAMS_RAGGED_RANK=1,
        OUTPUT_RAGGED_RANK=2,
    ),
    case(
        "RaggedGather",
        "two-levels",
        SPLITS,
        DEEP,
        s("a", "b", "c", "d", "e", "f"),
        longs(2, 0),
        PARAMS_RAGGED_RANK=2,
        OUTPUT_RAGGED_RANK=2,
    ),
    case("RaggedRange", "vectors", i(2, 5, 8), i(3, 5, 12), i(1, 1, 3)),
    case("RaggedRange", "scalars", n(0.0, "float32"), np.array([1, 2.5], "float32"), n(0.5, "float32"), Tsplits="int32"),
    case("Bincount", "plain", i(1, 1, 3, 7), n(5), i()),
    case("Bincount", "weighted", i(1, 1, 3), n(5), np.array([0.5, 1, 2], "float32")),
    case("DenseBincount", "vector", i(1, 1, 3, 7), n(5), longs()),
    case("DenseBincount", "matrix", i(1, 1, 3, 0, 2, 9).reshape(2, 3), n(4), np.array([], "float32")),
    case(
        "DenseBincount",
        "matrix-binary",
        longs(1, 1, 3, 0, 2, 9).reshape(2, 3),
        longs(4)[0],
        np.array([], "float32"),
        binary_output=True,
    ),
    case("DenseBincount", "weighted", i(1, 1, 3, 0, 2, 1).reshape(2, 3), n(4), np.array([[1, 2, 3], [4, 5, 6]], "float32")),
    case("RaggedBincount", "plain", SPLITS, i(1, 1, 0, 3, 3), n(4), np.array([], "float32")),
    case("RaggedBincount", "binary", SPLITS, i(1, 1, 0, 3, 3), n(4), i(), binary_output=True),
    case(
        "SparseBincount", "matrix", longs(0, 0, 0, 1, 1, 0).reshape(3, 2), i(1, 1, 2), longs(2, 2), n(3), np.array([], "float32")
    ),
    *[
        Case("RaggedFillEmptyRows", id, (rows, f(len(rows)), n(count, "int64"), n(0.5, "float32")))
        for id, rows, count in (("gaps", longs(0, 0, 2), 5), ("none-empty", longs(0, 1), 2), ("all-empty", longs(), 3))
    ],
    case("RaggedFillEmptyRows", "strings", longs(1, 1, 3), s("a", "b", "c"), n(4, "int64"), one("<none>")),
]

ELSEWHERE = dict.fromkeys(
    ("RaggedTensorToVariant", "RaggedTensorFromVariant"), "test_ragged_variants.py: a variant cannot be recorded"
)
