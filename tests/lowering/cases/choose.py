"""Choosing by condition, rank, bin; one-hot; stitching."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(5)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def i(*values, dtype="int32"):
    return np.array(values, dtype=dtype)


C = np.array([[True, False, True], [False, False, True]])
TEXT = np.array([b"a", b"bc"], dtype=object)
TIES = np.array([[1, 3, 3, 2], [0, 0, 5, 0]], "float32")

GONE = "tests/lowering/test_agreement.py: TensorFlow has no kernel for it any more, or on no CPU"
ELSEWHERE = dict.fromkeys(("TopK", "ApproxTopK", "BoostedTreesBucketize"), GONE)

CASES = [
    Case("SelectV2", "same-shape", (C, f(2, 3), f(2, 3))),
    Case("SelectV2", "broadcast", (C[0], f(2, 1), f())),
    Case("SelectV2", "nan-in-the-other", (C, f(2, 3), np.full((2, 3), np.nan, "float32"))),
    Case("SelectV2", "strings", (np.array([True, False]), TEXT, TEXT[::-1]), gradient=False),
    Case("Select", "same-shape", (C, f(2, 3), f(2, 3))),
    Case("Select", "rows", (np.array([True, False]), f(2, 3), f(2, 3))),
    Case("Select", "scalar", (np.bool_(False), f(2, 3), f(2, 3))),
    Case("Where", "bool", (C,), gradient=False),
    Case("Where", "float32-nothing", (np.zeros((2, 3), "float32"),), gradient=False),
    Case("OneHot", "out-of-range-is-off", (i(0, 2, -1, 5), np.int32(3), np.float32(1), np.float32(0)), gradient=False),
    Case(
        "OneHot", "first-axis", (i(0, 2, dtype="int64"), np.int32(3), np.float32(2), np.float32(-1)), {"axis": 0}, gradient=False
    ),
    Case("OneHot", "bool", (i(0, 2), np.int32(3), np.bool_(True), np.bool_(False)), gradient=False),
    Case("TopKV2", "values-and-places", (f(3, 6), np.int32(2))),
    Case("TopKV2", "ties-first-first", (TIES, np.int32(3)), gradient=False),
    Case("TopKV2", "int32", (i(3, 1, 2), np.int32(2)), gradient=False),
    Case("NthElement", "second-smallest", (f(3, 6), np.int32(1))),
    Case("NthElement", "greatest", (f(3, 6), np.int32(0)), {"reverse": True}),
    Case("LowerBound", "equal-values", (np.array([[1, 2, 2, 3]], "float32"), np.array([[2, 0, 9]], "float32")), gradient=False),
    Case(
        "UpperBound",
        "equal-values",
        (np.array([[1, 2, 2, 3]], "int32"), np.array([[2, 0, 9]], "int32")),
        {"out_type": "int64"},
        gradient=False,
    ),
    Case("Bucketize", "on-a-boundary", (f(2, 3),), {"boundaries": (-1.0, 0.0, 0.5)}, gradient=False),
    Case("Bucketize", "int64", (i(-1, 0, 5, 9, dtype="int64"),), {"boundaries": (0.0, 5.0)}, gradient=False),
    Case("UnravelIndex", "matrix", (i(5, 0, 11), i(3, 4)), gradient=False),
    Case("DynamicStitch", "later-wins", (i(0, 2), i(1, 2), f(2, 3), f(2, 3)), gradient=False),  # TensorFlow's goes to both
    Case("DynamicStitch", "shapes-of-indices", (np.int32(1), np.array([[0, 2]], "int32"), f(3), f(1, 2, 3))),
    Case("DynamicStitch", "lengths", (i(0, 1), i(1), i(5, 6), i(9)), gradient=False),
    Case("ParallelDynamicStitch", "distinct", (i(0, 2), i(1), f(2, 3), f(1, 3))),
    Case("DynamicPartition", "rows", (f(4, 2), i(1, 0, 1, 1)), {"num_partitions": 3}),
]
