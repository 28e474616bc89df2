"""Transposing, reversing, rolling, repeating, padding."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(4)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def i(*values, dtype="int32"):
    return np.array(values, dtype=dtype)


TEXT = np.array([[b"a", b"bc"], [b"", b"\xff\x00"]], dtype=object)
Z = (f(2, 3) + 1j * f(2, 3)).astype("complex64")

CASES = [
    Case("Transpose", "three-axes", (f(2, 3, 4), i(2, 0, 1))),
    Case("Transpose", "scalar", (f(), np.zeros(0, "int32"))),
    Case("Transpose", "strings", (TEXT, i(1, 0)), gradient=False),
    Case("ConjugateTranspose", "complex", (Z, i(1, 0))),
    Case("ConjugateTranspose", "float32", (f(2, 3), i(1, 0))),
    Case("DataFormatDimMap", "to-channels-first", (i(0, 3, -1, 1),), gradient=False),
    Case("DataFormatVecPermute", "to-channels-first", (i(8, 2, 3, 5),), gradient=False),
    Case(
        "DataFormatVecPermute",
        "pairs",
        (i(8, 2, 3, 5, 1, 1, 0, 0).reshape(4, 2),),
        {"src_format": "NCHW", "dst_format": "NHWC"},
        gradient=False,
    ),
    Case("InvertPermutation", "four", (i(2, 0, 3, 1),), gradient=False),
    Case("ReverseV2", "two-axes", (f(2, 3, 4), i(0, -1))),
    Case("ReverseV2", "none", (f(2, 3), np.zeros(0, "int32"))),
    Case("ReverseV2", "strings", (TEXT, i(1)), gradient=False),
    Case("Reverse", "marked", (f(2, 3, 4), np.array([True, False, True]))),
    Case("ReverseSequence", "batch-first", (f(2, 4, 3), i(3, 0, dtype="int64")), {"seq_dim": 1}),
    Case("ReverseSequence", "time-first", (f(4, 2, 3), i(3, 4)), {"seq_dim": 0, "batch_dim": 1}),
    Case("Roll", "two-axes", (f(2, 3), i(1, -2), i(0, 1))),
    Case("Roll", "scalar-shift", (f(2, 3), np.int32(1), np.int32(1))),
    Case("Tile", "both", (f(2, 3), i(2, 1))),
    Case("Tile", "none", (f(2, 3), i(0, 1))),
    Case("Tile", "int64-strings", (TEXT, i(1, 2, dtype="int64")), gradient=False),
    Case("Pad", "zeros", (f(2, 3), np.array([[1, 0], [0, 2]], "int32"))),
    Case("Pad", "nothing", (f(2, 3), np.array([[0, 0], [0, 0]], "int64"))),
    Case("Pad", "int32", (i(1, 2), np.array([[1, 1]], "int32")), gradient=False),
    Case("PadV2", "value", (f(2, 3), np.array([[1, 0], [0, 2]], "int32"), np.float32(7))),
    Case("PadV2", "lowest", (f(2, 3), np.array([[1, 0], [0, 2]], "int32"), np.float32(-np.inf))),
    Case("MirrorPad", "reflect", (f(3, 4), np.array([[1, 2], [2, 1]], "int32")), {"mode": "REFLECT"}),
    Case("MirrorPad", "symmetric", (f(3, 4), np.array([[1, 2], [2, 1]], "int32")), {"mode": "SYMMETRIC"}),
    Case("MirrorPadGrad", "reflect", (f(6, 7), np.array([[1, 2], [2, 1]], "int32")), {"mode": "REFLECT"}),
    Case("MirrorPadGrad", "symmetric", (f(6, 7), np.array([[1, 2], [2, 1]], "int32")), {"mode": "SYMMETRIC"}),
]
