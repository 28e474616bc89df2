"""Blocks to channels or batch and back; patches."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(17)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def i(*values):
    return np.array(values, "int32")


PATCH = {"ksizes": (1, 3, 2, 1), "strides": (1, 2, 1, 1), "rates": (1, 1, 1, 1), "padding": "SAME"}
CUBE = {"ksizes": (1, 2, 3, 2, 1), "strides": (1, 2, 1, 1, 1)}

CASES = [
    Case("DepthToSpace", "block2", (f(2, 3, 2, 8),), {"block_size": 2}),
    Case("DepthToSpace", "block3", (f(1, 2, 2, 9),), {"block_size": 3}),
    Case("DepthToSpace", "int32", (np.arange(24, dtype="int32").reshape(1, 2, 3, 4),), {"block_size": 2}, gradient=False),
    Case("DepthToSpace", "empty-batch", (f(0, 2, 2, 4),), {"block_size": 2}),
    Case("DepthToSpace", "nchw", (f(2, 8, 3, 2),), {"block_size": 2, "data_format": "NCHW"}),
    Case("SpaceToDepth", "block2", (f(2, 4, 6, 3),), {"block_size": 2}),
    Case("SpaceToDepth", "block3", (f(1, 6, 3, 2),), {"block_size": 3}),
    Case("SpaceToDepth", "nchw", (f(2, 3, 4, 6),), {"block_size": 2, "data_format": "NCHW"}),
    Case("BatchToSpaceND", "cropped", (f(8, 3, 2, 3), i(2, 2), i([0, 1], [1, 0]))),
    Case("BatchToSpaceND", "one-axis", (f(6, 3, 2), i(3), i([1, 2]))),
    Case("SpaceToBatchND", "padded", (f(2, 3, 5, 3), i(2, 3), i([1, 0], [0, 1]))),
    Case("SpaceToBatchND", "one-axis", (f(2, 5, 2), i(2), i([2, 1]))),
    Case("BatchToSpace", "cropped", (f(8, 3, 2, 3), i([0, 1], [1, 0])), {"block_size": 2}),
    Case("SpaceToBatch", "padded", (f(2, 3, 5, 3), i([1, 0], [0, 1])), {"block_size": 2}),
    Case("ExtractImagePatches", "same", (f(2, 5, 6, 3),), PATCH),
    Case("ExtractImagePatches", "valid-rate2", (f(1, 7, 8, 2),), PATCH | {"rates": (1, 2, 2, 1), "padding": "VALID"}),
    Case("ExtractVolumePatches", "same", (f(1, 4, 5, 4, 2),), CUBE | {"padding": "SAME"}),
    Case("ExtractVolumePatches", "valid", (f(1, 4, 5, 4, 2),), CUBE | {"padding": "VALID"}),
]
