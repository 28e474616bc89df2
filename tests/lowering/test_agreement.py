"""Ops for which TensorFlow has no kernel (any more), held against ops that have one, or against numbers worked out by hand."""

import keras
import numpy as np
import pytest

import thaw.lowering.table  # noqa: F401  (fills the registry)
from thaw.lowering.registry import LOWERINGS

X = np.array([[3, 1, 2, 5], [4, 9, 9, 0]], "float32")
IDS = np.array([0, 2], "int32")
COUNT = np.array(3, "int32")


def results(op, *inputs, **attrs):
    static = LOWERINGS[op].static
    names = LOWERINGS[op].inputs
    values = [
        x if i < len(names) and names[i] in static else keras.ops.convert_to_tensor(np.asarray(x)) for i, x in enumerate(inputs)
    ]
    found = LOWERINGS[op].function(*values, **attrs)
    return [keras.ops.convert_to_numpy(v) for v in (found if isinstance(found, tuple) else (found,))]


def agree(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


PAIRS = [
    (("BatchMatrixDiag", X), ("MatrixDiag", X)),
    (("BatchMatrixDiagPart", X), ("MatrixDiagPart", X)),
    (("BatchMatrixSetDiag", X, X[0, :2]), ("MatrixSetDiag", X, X[0, :2])),
    *[((f"Segment{k}V2", X, IDS, COUNT), (f"UnsortedSegment{k}", X, IDS, COUNT)) for k in ("Sum", "Prod", "Max", "Min")],
]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda pair: pair[0])
def test_two_spellings_agree(one, other):
    agree(results(*one), results(*other))


def test_TopK_takes_k_as_attribute():
    agree(results("TopK", X, k=3), results("TopKV2", X, np.array(3, "int32")))


def test_ApproxTopK_is_exact_along_an_axis():
    values, places = results("ApproxTopK", X, k=1, reduction_dimension=0)
    agree((values, places), ([[4, 9, 9, 5]], [[1, 1, 1, 0]]))


def test_ApproxTopK_finds_the_least():
    agree(results("ApproxTopK", X, k=2, is_max_k=False), ([[1, 2], [0, 4]], [[1, 2], [3, 0]]))


def test_BoostedTreesBucketize_counts_boundaries_below():
    """Source: TensorFlow 2.4, core/kernels/boosted_trees/quantile_ops.cc: std::lower_bound, the end cut off."""
    numbers, limits = np.array([-1, 0, 0.5, 1, 7], "float32"), np.array([0, 1, 2], "float32")
    first, second = results("BoostedTreesBucketize", numbers, X[0], limits, X[0, :1])
    agree((first, second), ([0, 0, 1, 1, 2], [0, 0, 0, 0]))


def test_GuaranteeConst_gives_its_input():
    agree(results("GuaranteeConst", X), (X,))
