"""Slices, gathers, scatters."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(3)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def i(*values, dtype="int32"):
    return np.array(values, dtype=dtype)


TEXT = np.array([[b"a", b"bc"], [b"", b"\xff\x00"]], dtype=object)
X = f(3, 4, 5)


def strided(id, x, begin, end, strides, gradient=True, **masks):
    return Case("StridedSlice", id, (x, i(*begin), i(*end), i(*strides)), masks, gradient=gradient)


CASES = [
    Case("Slice", "to-the-end", (X, i(1, 0, 2), i(-1, 2, 3))),
    Case("Slice", "int64-and-empty", (X, i(1, 0, 2, dtype="int64"), i(0, 2, 3, dtype="int64"))),
    Case("Slice", "strings", (TEXT, i(0, 1), i(2, 1)), gradient=False),
    strided("plain", X, (0, 1, 0), (2, 3, 5), (1, 1, 2)),
    strided("fewer-than-axes", X, (1,), (3,), (1,)),
    strided("negative-positions", X, (-2, -3), (-1, -1), (1, 1)),
    strided("beyond-the-end", X, (0, 2), (9, 9), (1, 1)),
    strided("begin-and-end-masks", X, (1, 1), (2, 2), (1, 1), begin_mask=1, end_mask=2),
    strided("shrink", X, (1, 0), (2, 4), (1, 1), shrink_axis_mask=1),
    strided("shrink-negative", X, (0, -1), (3, 0), (1, 1), shrink_axis_mask=2, begin_mask=1, end_mask=1),
    strided("ellipsis-then-shrink", X, (0, 1), (0, 2), (1, 1), ellipsis_mask=1, shrink_axis_mask=2),
    strided("ellipsis-between", X, (1, 0, 0), (3, 0, 3), (1, 1, 2), ellipsis_mask=2),
    strided("new-axis", X, (0, 0, 1), (0, 0, 2), (1, 1, 1), new_axis_mask=1, begin_mask=2, end_mask=2),
    strided("new-axis-and-shrink", X, (0, 0, 1), (0, 0, 2), (1, 1, 1), new_axis_mask=2, shrink_axis_mask=5),
    strided("negative-step", X, (-1, 0, 0), (0, 0, 0), (-1, -2, 1), begin_mask=6, end_mask=7),
    strided("negative-step-nothing", X, (0,), (2,), (-1,)),
    strided("empty-result", X, (2,), (1,), (1,)),
    strided("shape-vector", i(7, 8, 9), (1,), (2,), (1,), gradient=False, shrink_axis_mask=1),
    strided("strings-to-scalar", TEXT, (1, 1), (2, 2), (1, 1), gradient=False, shrink_axis_mask=3),
    Case("StridedSliceGrad", "shrink", (i(3, 4), i(1, 0), i(2, 4), i(1, 2), f(2)), {"shrink_axis_mask": 1}),
    Case("StridedSliceGrad", "masks", (i(3, 4), i(1), i(3), i(-1), f(3, 4)), {"begin_mask": 1, "end_mask": 1}),
    Case("TensorStridedSliceUpdate", "block", (f(3, 4), i(0, 1), i(2, 3), i(1, 1), f(2, 2))),
    Case("TensorStridedSliceUpdate", "row", (f(3, 4), i(1), i(2), i(1), f(4)), {"shrink_axis_mask": 1}),
    Case("Gather", "rows", (X, i(2, 0, 2))),
    Case("GatherV2", "rows-int64", (X, i(2, 0, 2, dtype="int64"), np.int32(0))),
    Case("GatherV2", "matrix-of-ids", (f(6, 3), np.array([[0, 5], [5, 1]], "int32"), np.int32(0))),
    Case("GatherV2", "middle-axis", (X, np.array([[0, 3]], "int32"), np.int32(1))),
    Case("GatherV2", "scalar-id", (X, np.int32(2), np.int32(-1))),
    Case("GatherV2", "batch", (X, np.array([[0, 3], [1, 1], [2, 0]], "int32"), np.int32(1)), {"batch_dims": 1}),
    Case("GatherV2", "batch-later-axis", (X, np.array([[0, 3], [1, 1], [2, 0]], "int32"), np.int32(2)), {"batch_dims": 1}),
    Case("GatherV2", "batch-two-axes", (X, np.array([[0, 3, 1, 4]] * 3, "int32"), np.int32(2)), {"batch_dims": 2}),
    Case("GatherV2", "no-ids", (X, np.zeros(0, "int32"), np.int32(0))),
    Case("GatherV2", "strings", (TEXT, i(1, 1, 0), np.int32(0)), gradient=False),
    Case("GatherV2", "float16", (f(6, 3, dtype="float16"), i(1, 1, 0), np.int32(0))),
    Case("GatherNd", "elements", (X, np.array([[0, 1, 2], [2, 3, 4]], "int32"))),
    Case("GatherNd", "blocks", (X, np.array([[[0, 1]], [[2, 3]]], "int64"))),
    Case("GatherNd", "int32", (i(5, 6, 7), np.array([[2], [0]], "int32")), gradient=False),
    Case("InplaceUpdate", "rows", (f(4, 2), i(1, 3), f(2, 2)), gradient=False),
    Case("InplaceAdd", "rows", (f(4, 2), i(1, 3), f(2, 2)), gradient=False),
    Case("InplaceSub", "rows", (f(4, 2), i(1, 3), f(2, 2)), gradient=False),
    Case("ScatterNd", "adds-up", (np.array([[1], [3], [1]], "int32"), f(3, 2), i(5, 2))),
    Case("ScatterNd", "elements", (np.array([[0, 1], [2, 0]], "int64"), f(2), i(3, 2, dtype="int64"))),
    Case("ScatterNd", "int32", (np.array([[1], [1]], "int32"), i(4, 5), i(3)), gradient=False),
    Case("TensorScatterUpdate", "rows", (f(4, 2), np.array([[1], [3]], "int32"), f(2, 2))),
    Case("TensorScatterAdd", "adds-up", (f(4, 2), np.array([[1], [1]], "int32"), f(2, 2))),
    Case("ScatterNdNonAliasingAdd", "adds-up", (f(4, 2), np.array([[1], [1]], "int32"), f(2, 2))),
    Case("TensorScatterSub", "adds-up", (f(4, 2), np.array([[1], [1]], "int32"), f(2, 2))),
    Case("TensorScatterMax", "rows", (f(4, 2), np.array([[1], [3]], "int32"), f(2, 2))),
    Case("TensorScatterMin", "rows", (f(4, 2), np.array([[1], [3]], "int32"), f(2, 2))),
]
