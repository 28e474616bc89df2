"""Layers in 8 bits."""

import numpy as np

from lowering.cases.quantized import BOTH, U8, case, n, q

CONV = {"Tinput": "quint8", "Tfilter": "quint8"}
POOLS = ("QuantizedMaxPool", "QuantizedAvgPool")
STATISTICS = [x for _ in range(4) for x in (q(3), *n(0.25, 3))]

CASES = [
    *[
        case("QuantizedConv2D", id, q(2, 7, 6, 3), q(*k, 3, 4), *n(-1, 2.5, -0.5, 0.75), strides=(1, s, s, 1), padding=p, **CONV)
        for id, k, s, p in (
            ("same", (3, 3), 1, "SAME"),
            ("same-stride2", (3, 2), 2, "SAME"),
            ("valid", (2, 3), 1, "VALID"),
            ("point", (1, 1), 1, "VALID"),
        )
    ],
    case(
        "QuantizedConv2D",
        "range-above-zero",
        q(1, 4, 4, 1),
        q(3, 3, 1, 1),
        *n(0.5, 2.5, 0.1, 0.75),
        strides=(1, 1, 1, 1),
        padding="SAME",
        **CONV,
    ),
    case(
        "QuantizedConv2D",
        "deep",
        q(1, 2, 2, 700),
        q(1, 1, 700, 2),
        *n(-3, 3, -1, 2),
        strides=(1, 1, 1, 1),
        padding="SAME",
        **CONV,
    ),
    *[
        case(
            "QuantizedMatMul",
            f"{a}-{b}",
            q(*((5, 3) if a else (3, 5))),
            q(*((4, 5) if b else (5, 4))),
            *n(-1, 2, -3, 0.5),
            transpose_a=a,
            transpose_b=b,
            **BOTH,
        )
        for a in (False, True)
        for b in (False, True)
    ],
    case("QuantizedBiasAdd", "image", q(2, 3, 2, 4), q(4), *n(-1, 2.5, -0.2, 0.1), out_type="qint32", **BOTH),
    case("QuantizedBiasAdd", "matrix-great-bias", q(3, 5), q(5), *n(0, 0.5, -20, 17), out_type="qint32", **BOTH),
    case(
        "QuantizedBiasAdd",
        "signed",
        q(3, 5, dtype="int8"),
        q(5, dtype="int8"),
        *n(-1, 1, -2, 2),
        out_type="qint32",
        T1="qint8",
        T2="qint8",
    ),
    *[
        case(op, id, q(2, 5, 6, 3), *n(-1, 3), ksize=(1, *k, 1), strides=(1, s, s, 1), padding=p, **U8)
        for op in POOLS
        for id, k, s, p in (("same", (3, 3), 2, "SAME"), ("valid", (2, 3), 1, "VALID"), ("all", (5, 6), 1, "VALID"))
    ],
    *[
        case(
            "QuantizedBatchNormWithGlobalNormalization",
            f"scaled-{scaled}",
            q(2, 2, 3, 3),
            *n(-4, 5),
            *STATISTICS,
            Tinput="quint8",
            out_type="qint32",
            variance_epsilon=1e-3,
            scale_after_normalization=scaled,
        )
        for scaled in (True, False)
    ],
    case("QuantizedInstanceNorm", "range-of-the-data", q(2, 4, 5, 3), *n(-1, 2), **U8),
    case(
        "QuantizedInstanceNorm",
        "range-given",
        q(1, 3, 3, 2),
        *n(-1, 2),
        output_range_given=True,
        given_y_min=-1.0,
        given_y_max=1.5,
        **U8,
    ),
    case("QuantizedInstanceNorm", "constant", np.full((1, 3, 3, 2), 7, "uint8"), *n(-1, 2), **U8),
    *[
        case("QuantizedResizeBilinear", id, q(2, 4, 5, 3), np.array(size, "int32"), *n(-1, 2), **U8, **flags)
        for id, size, flags in (
            ("up", (7, 9), {}),
            ("down", (3, 2), {"align_corners": True}),
            ("half", (6, 3), {"half_pixel_centers": True}),
            ("same", (4, 5), {}),
        )
    ],
]
