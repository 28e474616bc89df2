"""Reductions over segments."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(10)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def i(*values, dtype="int32"):
    return np.array(values, dtype=dtype)


KINDS = ("Sum", "Prod", "Max", "Min")
TIES = np.array([[1, 2], [1, 3], [0, 3], [5, 5]], "float32")

CASES = [
    *[Case(f"Segment{kind}", "one-left-out", (f(4, 2), i(0, 0, 2, 2))) for kind in (*KINDS, "Mean")],
    *[Case(f"UnsortedSegment{kind}", "one-left-out", (f(4, 2), i(3, 0, 3, 1), np.int32(4))) for kind in KINDS],
    *[Case(f"UnsortedSegment{kind}", "negative-id-drops", (f(4, 2), i(1, -1, 0, 1), np.int32(2))) for kind in ("Sum", "Max")],
    *[Case(f"UnsortedSegment{kind}", "ties-share-the-gradient", (TIES, i(0, 0, 0, 1), np.int32(2))) for kind in ("Max", "Min")],
    Case("UnsortedSegmentSum", "matrix-of-ids", (f(2, 3, 2), np.array([[0, 1, 0], [2, 2, 0]], "int64"), np.int32(3))),
    Case("UnsortedSegmentSum", "int32", (i(1, 2, 3), i(0, 1, 0), np.int32(2)), gradient=False),
    Case("UnsortedSegmentMax", "int32-empty-segment", (i(1, 2, 3), i(0, 0, 2), np.int32(3)), gradient=False),
    Case("UnsortedSegmentSum", "float64", (f(4, 2, dtype="float64"), i(1, 1, 0, 1), np.int32(2))),
    Case(
        "HistogramFixedWidth",
        "outside-counts",
        (i(-1, 0, 1, 4, 9).astype("float32"), np.array([0, 5], "float32"), np.int32(5)),
        gradient=False,
    ),
]
GONE = "tests/lowering/test_agreement.py: TensorFlow has it for XLA only"
ELSEWHERE = dict.fromkeys([f"Segment{kind}V2" for kind in KINDS], GONE)
