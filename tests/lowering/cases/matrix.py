"""Every op on every kind of value: rows made from the other families' by changing dtypes, placing NaN, or leaving out all rows.

Which of them TensorFlow has an answer for is in tests/golden/lowering/matrix.json (tools/make_case_matrix.py finds out); what it
refuses (a dtype without a kernel, a shape without a meaning) is not asked of anybody.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lowering import goldens
from lowering.case import Case

ACCEPTED = Path(__file__).parent.parent.parent / "golden" / "lowering" / "matrix.json"
MOST_ELEMENTS = 800
"""Of a row that others are made from: what is special here is not its size."""


def _cast(dtype: str, gradient: bool) -> Callable[[Case], Case | None]:
    def derived(case: Case) -> Case | None:
        floats = [x for x in case.inputs if x.dtype == np.float32]
        if not floats or (dtype == "bfloat16" and any(x.ndim == 0 for x in floats)):  # no scalars of it: Keras fails to show them
            return None
        with np.errstate(invalid="ignore"):  # NaN as an integer is what it is, on every machine of one kind
            inputs = tuple(np.asarray(x).astype(_numpy(dtype)) if x.dtype == np.float32 else x for x in case.inputs)
        inputs = tuple(np.asarray(x) for x in inputs)  # a scalar of float64 would count as a Python number
        attrs = {k: dtype if isinstance(v, str) and v == "float32" else v for k, v in case.attrs.items()}
        return dataclasses.replace(case, inputs=inputs, attrs=attrs, gradient=case.gradient and gradient)

    return derived


def _numpy(dtype: str) -> np.dtype:
    if dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(dtype)


def _not_a_number(case: Case) -> Case | None:
    """NaN first, infinity last, in the first floating input."""
    place = next((i for i, x in enumerate(case.inputs) if x.dtype == np.float32 and x.size > 1), None)
    if place is None:
        return None
    spoiled = case.inputs[place].copy()
    spoiled.flat[0], spoiled.flat[-1] = np.nan, np.inf
    inputs = (*case.inputs[:place], spoiled, *case.inputs[place + 1 :])
    return dataclasses.replace(case, inputs=inputs, gradient=False)


def _no_rows(case: Case) -> Case | None:
    """The first axis of the first array, and of all that share it, without rows."""
    shaped = [x for x in case.inputs if x.ndim and x.dtype != object]
    if not shaped or not shaped[0].shape[0]:
        return None
    rows = shaped[0].shape[0]
    inputs = tuple(x[:0] if x.ndim and x.shape[0] == rows and x.dtype.kind in "fc" else x for x in case.inputs)
    return dataclasses.replace(case, inputs=inputs) if any(x.size == 0 for x in inputs) else None


KINDS: dict[str, Callable[[Case], Case | None]] = {
    "float16": _cast("float16", True),
    "bfloat16": _cast("bfloat16", True),
    "float64": _cast("float64", True),
    "int32": _cast("int32", False),
    "uint8": _cast("uint8", False),
    "nan": _not_a_number,
    "no-rows": _no_rows,
}
"""Kinds of values, and how a row of float32 becomes one of that kind; None where it cannot."""


def bases() -> list[tuple[str, Case]]:
    """One row of each op, the smallest whose gradient is recorded where there is one, and its family."""
    chosen: dict[str, tuple[str, Case]] = {}
    for name in goldens.families():
        if name == "matrix":
            continue
        for case in goldens.family(name).CASES:
            size = sum(x.size for x in case.inputs)
            if not 0 < size <= MOST_ELEMENTS or len(case.backends) < 3:
                continue
            known = chosen.get(case.op)
            rank = (not case.gradient, size)
            if known is None or rank < (not known[1].gradient, sum(x.size for x in known[1].inputs)):
                chosen[case.op] = (name, case)
    return [chosen[op] for op in sorted(chosen)]


def derived(case: Case, kind: str) -> Case | None:
    """`case` on values of that kind."""
    row = KINDS[kind](case)
    return None if row is None else dataclasses.replace(row, id=f"{kind}-of-{case.id}", rtol=max(row.rtol, LOOSE.get(case.op, 0)))


LOOSE: dict[str, float] = {"BesselI1": 5e-2, "BesselI1e": 5e-2, "ResizeBicubic": 5e-2}
"""Tolerances of ops whose narrow arithmetic differs among libraries by more than a few units in the last place."""

CHOICE = "which of two values is chosen, or written, is left open where one of them is NaN"
MEMORY = "TensorFlow answers, or differentiates, with memory that it did not write or left at zero"
MEANING = "without rows the other inputs make no sense"
KERNEL = "a library has no kernel, or one that overflows earlier"

LEFT_OUT: dict[tuple[str, str], str] = {
    **dict.fromkeys(
        [
            (op, "nan")
            for op in (
                "AdjustHue", "RGBToHSV", "ArgMax", "ArgMin", "CombinedNonMaxSuppression", "CumulativeLogsumexp", "Dilation2D",
                "Conv3DBackpropFilterV2", "DepthwiseConv2dNativeBackpropInput", "EncodeWav",
                "FakeQuantWithMinMaxArgsGradient", "FakeQuantWithMinMaxVarsGradient",
                "FakeQuantWithMinMaxVarsPerChannelGradient", "ImageProjectiveTransformV2", "LowerBound", "UpperBound",
                "MaxPool", "MaxPool3D", "MaxPool3DGrad", "MaxPoolGrad", "MaxPoolV2", "MaxPoolWithArgmax", "Mfcc", "NextAfter",
                "NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4",
                "NonMaxSuppressionV5", "NonMaxSuppressionWithOverlaps", "NthElement", "Polygamma", "QuantizeAndDequantizeV2",
                "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4", "Relu6Grad", "ReluGrad", "ResizeArea",
                "ResizeBicubicGrad", "ResizeBilinearGrad", "ResizeNearestNeighborGrad", "ScaleAndTranslate", "SegmentMax",
                "SegmentMin", "SoftmaxCrossEntropyWithLogits", "TopKV2", "TensorScatterMax", "TensorScatterMin",
                "UnsortedSegmentMax", "UnsortedSegmentMin", "Zeta", "Igamma", "Igammac", "Conv3DBackpropInputV2",
                "SparseSoftmaxCrossEntropyWithLogits", "RFFT", "RFFT2D", "QuantizeAndDequantize", "XlaSort", "XlaKeyValueSort",
            )
        ],
        CHOICE,
    ),
    **dict.fromkeys(
        [
            (op, "nan")
            for op in (
                "BatchCholesky", "BatchMatrixDeterminant", "BatchMatrixSolveLs", "BatchSvd", "Cholesky", "CTCLoss",
                "LogMatrixDeterminant", "MatrixDeterminant", "MatrixLogarithm", "MatrixSolveLs", "MatrixSquareRoot", "Qr", "Svd",
                "XlaSelfAdjointEig", "XlaSvd",
            )
        ],
        "some refuse NaN",
    ),
    **dict.fromkeys(
        [
            *[(op, "no-rows") for op in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")],
            *[(op, "no-rows") for op in ("IRFFT3D", "RFFT3D", "FFT3D", "IFFT3D")],
            ("DepthwiseConv2dNativeBackpropFilter", "no-rows"),
            ("DepthwiseConv2dNative", "no-rows"),
            ("Round", "int32"),
            ("MatrixSolveLs", "no-rows"),
            ("ResizeBicubic", "float16"),
            ("ResizeBicubic", "bfloat16"),
        ],
        MEMORY,
    ),
    **dict.fromkeys([(op, "no-rows") for op in ("Conv2D", "_FusedConv2D", "InplaceAdd", "InplaceSub", "InplaceUpdate")], MEANING),
    ("UnsortedSegmentMax", "float64"): "the greatest float64 is none of JAX",
    ("UnsortedSegmentMin", "float64"): "the greatest float64 is none of JAX",
    **dict.fromkeys(
        [
            ("AvgPool3D", "bfloat16"), ("Conv2DBackpropInput", "int32"), ("SoftplusGrad", "float16"), ("XlaConv", "uint8"),
            ("XlaConvV2", "uint8"),
        ],
        KERNEL,
    ),
    ("XlaSvd", "float16"): "XLA's own, in float16, is off by a fifth",
}  # fmt: skip
"""Ops and kinds that are not asked, and why."""


def _accepted() -> list[Case]:
    names = json.loads(ACCEPTED.read_text()) if ACCEPTED.exists() else {}
    rows = [derived(case, kind) for _, case in bases() for kind in names.get(case.op, ()) if (case.op, kind) not in LEFT_OUT]
    return [row for row in rows if row is not None]


CASES = _accepted()
