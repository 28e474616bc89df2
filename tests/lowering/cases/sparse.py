"""Sparse tensors: plumbing, and sums over them with their gradients."""

import numpy as np

from lowering.case import Case
from lowering.cases.text import case, i, one, s

R = np.random.default_rng(11)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def longs(*items):
    return i(*items, dtype="int64")


def n(number, dtype="int32"):
    return np.array(number, dtype=dtype)


INDICES = longs(0, 1, 0, 3, 2, 0, 4, 4).reshape(4, 2)
SHAPE = longs(5, 6)
INDICES_3 = longs(0, 0, 1, 0, 1, 1, 2, 0, 0, 2, 1, 0, 2, 1, 3).reshape(5, 3)
SEGMENTS = (f(6, 3), i(0, 2, 2, 5, 1), i(0, 0, 1, 3, 3))

CASES = [
    *[Case(f"SparseSegment{k}", "gap", SEGMENTS) for k in ("Sum", "Mean", "SqrtN")],
    *[
        Case(f"SparseSegment{k}", "int64-double", (f(4, 2, dtype="float64"), longs(3, 3, 0), longs(0, 1, 1)))
        for k in ("Sum", "Mean", "SqrtN")
    ],
    *[Case(f"SparseSegment{k}WithNumSegments", "more-segments", (*SEGMENTS, n(6))) for k in ("Sum", "Mean", "SqrtN")],
    Case("SparseSegmentSum", "vector", (f(6), i(0, 2, 2), i(0, 0, 1))),
    case("SparseSegmentSum", "integers", i(1, 2, 3, 4), i(0, 3), i(0, 0)),
    Case("SparseToDense", "matrix", (INDICES.copy(), SHAPE, f(4), f()[()] * np.ones((), "float32")), gradient=False),
    case("SparseToDense", "strings", INDICES, SHAPE, s("a", "é", "", "d"), one("<pad>")),
    case("SparseToDense", "scalar-value", longs(1, 3).reshape(2, 1), longs(5), n(7.0, "float32"), n(0.0, "float32")),
    case("SparseToDense", "vector-indices", i(1, 3), i(5), i(4, 5), n(-1)),
    case("SparseToDense", "empty", longs().reshape(0, 2), longs(2, 3), i(), n(9)),
    Case("SparseTensorDenseMatMul", "plain", (INDICES, f(4), SHAPE, f(6, 3))),
    Case("SparseTensorDenseMatMul", "adjoint-a", (INDICES, f(4), SHAPE, f(5, 2)), {"adjoint_a": True}),
    Case("SparseTensorDenseMatMul", "adjoint-b", (INDICES, f(4), SHAPE, f(3, 6)), {"adjoint_b": True}),
    case("SparseReshape", "rank-up", INDICES, SHAPE, longs(2, 15)),
    case("SparseReshape", "unknown", INDICES, SHAPE, longs(3, -1, 2)),
    case("SparseReshape", "nothing", longs().reshape(0, 2), SHAPE, longs(-1)),
    case("SparseFillEmptyRows", "strings", INDICES, s("a", "b", "c", "d"), SHAPE, one("")),
    Case("SparseFillEmptyRows", "floats", (INDICES, f(4), SHAPE, n(0.5, "float32")), gradient=False),
    case("SparseFillEmptyRows", "unordered", INDICES[[2, 0, 3, 1]], i(1, 2, 3, 4), SHAPE, n(-1)),
    case("SparseFillEmptyRows", "none-empty", longs(0, 0, 1, 1).reshape(2, 2), i(1, 2), longs(2, 2), n(-1)),
    case("SparseFillEmptyRows", "all-empty", longs().reshape(0, 2), i(), longs(2, 2), n(-1)),
    case("SparseReorder", "shuffled", INDICES[[2, 0, 3, 1]], s("c", "a", "d", "b"), SHAPE),
    case("SparseConcat", "columns", INDICES, INDICES, i(1, 2, 3, 4), i(5, 6, 7, 8), SHAPE, SHAPE, concat_dim=1),
    case("SparseConcat", "rows", INDICES, INDICES, i(1, 2, 3, 4), i(5, 6, 7, 8), SHAPE, SHAPE, concat_dim=0),
    case("SparseSplit", "columns", n(1, "int64"), INDICES, i(1, 2, 3, 4), SHAPE, num_split=4),
    case("SparseSlice", "box", INDICES, i(1, 2, 3, 4), SHAPE, longs(0, 1), longs(3, 3)),
    case(
        "SparseAdd",
        "overlap",
        INDICES,
        n([1, 2, 3, 4], "float32"),
        SHAPE,
        longs(0, 1, 1, 1).reshape(2, 2),
        n([-1, 7], "float32"),
        SHAPE,
        n(0.0, "float32"),
    ),
    case(
        "SparseAdd",
        "threshold",
        INDICES,
        n([1, 2, 3, 4], "float32"),
        SHAPE,
        longs(0, 1, 1, 1).reshape(2, 2),
        n([-0.9, 7], "float32"),
        SHAPE,
        n(0.5, "float32"),
    ),
    Case("SparseTensorDenseAdd", "plain", (INDICES, f(4), SHAPE, f(5, 6))),
    case("SparseReduceSum", "rows", INDICES, f(4), SHAPE, i(1)),
    case("SparseReduceSum", "keep", INDICES, f(4), SHAPE, i(0), keep_dims=True),
    case("SparseReduceSum", "all", INDICES, f(4), SHAPE, i(0, 1)),
    Case("SparseSoftmax", "rows", (INDICES, f(4), SHAPE)),
    Case("SparseDenseCwiseMul", "broadcast", (INDICES, f(4), SHAPE, f(6)), gradient=False),
    Case("SparseDenseCwiseDiv", "plain", (INDICES, f(4), SHAPE, f(5, 6)), gradient=False),
    Case("SparseDenseCwiseAdd", "plain", (INDICES, f(4), SHAPE, f(5, 6)), gradient=False),
    *[
        case(f"SparseReduce{kind}", f"{axes}-{'kept' if kept else 'dropped'}", INDICES, f(4), SHAPE, i(*axes), keep_dims=kept)
        for kind in ("Max", "MaxSparse", "SumSparse")
        for axes, kept in (((0,), False), ((-1,), True), ((0, 1), False))
    ],
    *[
        case(f"SparseReduce{kind}", "rank3", INDICES_3, -f(5) - 3, longs(3, 2, 4), i(1))
        for kind in ("Max", "MaxSparse", "SumSparse")
    ],
    case("SparseReduceMax", "nothing", longs().reshape(0, 2), f(0), SHAPE, i(1)),
    case("SparseReduceSumSparse", "nothing", longs().reshape(0, 2), f(0), SHAPE, i(1)),
    *[
        case(f"SparseSparse{kind}", "overlap", INDICES, f(4), SHAPE, INDICES[[1, 2]] + [[0, 1], [0, 0]], f(2), SHAPE)
        for kind in ("Maximum", "Minimum")
    ],
    case("SparseSparseMaximum", "nothing", longs().reshape(0, 1), i(), longs(3), longs().reshape(0, 1), i(), longs(3)),
]

ELSEWHERE = {"ThawCountSegments": "test_host.py: put in by thaw.graph.split_host"}
