"""Normalizations: training and inference, formats, narrow inputs, moving-average factor; their gradients as ops."""

import ml_dtypes
import numpy as np

from lowering.case import Case

R = np.random.default_rng(14)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def p(*shape):
    return (np.abs(R.standard_normal(shape)) + 0.1).astype("float32")


# In inference TensorFlow leaves the reserved outputs as they lie in memory.
TRAIN, INFER = {"is_training": True}, {"is_training": False}
NONE = np.zeros((0,), "float32")


def four(n):
    return f(n), f(n), f(n), p(n)


CASES = [
    *[
        Case(op, "training", (f(3, 4, 5, 6), f(6), f(6), NONE, NONE), TRAIN | {"epsilon": 0.001})
        for op in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
    ],
    *[
        Case(op, "inference", (f(3, 4, 5, 6), *four(6)), INFER | {"epsilon": 0.001}, outputs=3)
        for op in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
    ],
    Case("FusedBatchNormV3", "training-default-attributes", (f(2, 3, 3, 4), f(4), f(4), NONE, NONE)),
    Case("FusedBatchNormV3", "training-averaging", (f(3, 4, 5, 6), *four(6)), TRAIN | {"exponential_avg_factor": 0.3}),
    Case("FusedBatchNormV3", "training-one-element", (f(1, 1, 1, 3), f(3), f(3), NONE, NONE), TRAIN, rtol=1e-4),
    Case("FusedBatchNormV3", "training-half", (f(3, 4, 5, 6, dtype="float16"), f(6), f(6), NONE, NONE), TRAIN),
    Case("FusedBatchNormV3", "inference-half", (f(3, 4, 5, 6, dtype="float16"), *four(6)), INFER, outputs=3),
    Case("FusedBatchNormV3", "inference-bfloat16", (f(3, 4, 5, 6, dtype=ml_dtypes.bfloat16), *four(6)), INFER, outputs=3),
    Case("FusedBatchNormV3", "training-far-from-zero", (f(4, 5, 5, 2) + 30, f(2), f(2), NONE, NONE), TRAIN, rtol=1e-4),
    Case("FusedBatchNormV3", "training-nchw", (f(3, 6, 4, 5), f(6), f(6), NONE, NONE), TRAIN | {"data_format": "NCHW"}),
    Case("FusedBatchNormV3", "inference-nchw", (f(3, 6, 4, 5), *four(6)), INFER | {"data_format": "NCHW"}, outputs=3),
    Case("FusedBatchNormV3", "inference-ndhwc", (f(2, 2, 3, 3, 4), *four(4)), INFER | {"data_format": "NDHWC"}, outputs=3),
    Case("FusedBatchNormV3", "training-ndhwc", (f(2, 2, 3, 3, 4), f(4), f(4), NONE, NONE), TRAIN | {"data_format": "NDHWC"}),
    *[
        Case(op, "training", (f(3, 4, 5, 6), f(3, 4, 5, 6), f(6), f(6), p(6)), TRAIN | {"epsilon": 0.001}, gradient=False)
        for op in ("FusedBatchNormGrad", "FusedBatchNormGradV2")
    ],
    Case("FusedBatchNormGrad", "inference", (f(3, 4, 5, 6), f(3, 4, 5, 6), f(6), f(6), p(6)), INFER, gradient=False),
    Case("FusedBatchNormGradV3", "training", (f(3, 4, 5, 6), f(3, 4, 5, 6), f(6), f(6), p(6), NONE), TRAIN, gradient=False),
    Case(
        "BatchNormWithGlobalNormalization",
        "scaled",
        (f(2, 3, 3, 4), f(4), p(4), f(4), f(4)),
        {"variance_epsilon": 0.001, "scale_after_normalization": True},
    ),
    Case(
        "BatchNormWithGlobalNormalization",
        "unscaled",
        (f(2, 3, 3, 4), f(4), p(4), f(4), f(4)),
        {"variance_epsilon": 0.001, "scale_after_normalization": False},
    ),
    Case("LRN", "defaults", (f(2, 3, 4, 12),)),
    Case("LRN", "alexnet", (f(2, 3, 4, 7),), {"depth_radius": 2, "bias": 2.0, "alpha": 1e-4, "beta": 0.75}),
    Case("LRN", "radius-beyond-channels", (f(1, 2, 2, 3),), {"depth_radius": 5, "alpha": 0.5}),
    Case("LRN", "half", (f(1, 2, 2, 6, dtype="float16"),), {"depth_radius": 1}),
]
