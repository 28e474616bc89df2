"""Diagonals and bands."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(12)


def f(*shape):
    return R.standard_normal(shape).astype("float32")


def i(*values):
    return np.array(values, dtype="int32")


ONE, PAD = np.int32(1), np.float32(9)
ALIGNS = ("LEFT_RIGHT", "RIGHT_LEFT", "LEFT_LEFT", "RIGHT_RIGHT")

CASES = [
    Case("MatrixBandPart", "both-bounds", (f(2, 4, 5), ONE, np.int32(2))),
    Case("MatrixBandPart", "lower-half", (f(4, 4), np.int32(-1), np.int32(0))),
    Case("MatrixBandPart", "bool", (np.ones((3, 3), bool), np.int32(-1), np.int32(0)), gradient=False),
    Case("Diag", "matrix", (f(2, 3),)),
    Case("DiagPart", "matrix", (f(2, 3, 2, 3),)),
    Case("MatrixDiag", "batch", (f(2, 3),)),
    Case("MatrixDiagPart", "wide", (f(2, 3, 4),)),
    Case("MatrixSetDiag", "tall", (f(2, 4, 3), f(2, 3))),
    Case("MatrixDiagV2", "above", (f(2, 3), ONE, i(-1)[0], i(-1)[0], PAD), gradient=False),
    Case("MatrixDiagPartV2", "band", (f(2, 3, 4), i(-1, 2), PAD), gradient=False),
    Case("MatrixSetDiagV2", "band", (f(2, 3, 4), f(2, 3, 3), i(-1, 1)), gradient=False),
    *[Case("MatrixDiagPartV3", f"band-{align}", (f(2, 3, 4), i(-1, 2), PAD), {"align": align}) for align in ALIGNS],
    Case("MatrixDiagPartV3", "one-below", (f(3, 4), i(-1), PAD)),
    *[Case("MatrixSetDiagV3", f"band-{align}", (f(2, 3, 4), f(2, 3, 3), i(-1, 1)), {"align": align}) for align in ALIGNS],
    Case("MatrixSetDiagV3", "main", (f(2, 3, 4), f(2, 3), i(0))),
    Case("MatrixDiagV3", "band", (f(2, 3, 3), i(-1, 1), i(-1)[0], i(-1)[0], PAD)),
    Case("MatrixDiagV3", "band-wide", (f(2, 2, 3), i(0, 1), np.int32(3), np.int32(5), PAD)),
    Case("MatrixDiagV3", "main", (f(2, 3), i(0), i(-1)[0], i(-1)[0], np.float32(0))),
    Case("BatchMatrixBandPart", "both-bounds", (f(2, 4, 5), np.int64(1), np.int64(2)), gradient=False),
]
GONE = "tests/lowering/test_agreement.py: TensorFlow has no kernel for it any more"
ELSEWHERE = dict.fromkeys(("BatchMatrixDiag", "BatchMatrixDiagPart", "BatchMatrixSetDiag"), GONE)
