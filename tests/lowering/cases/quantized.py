"""Arithmetic in 8 bits: ranges that leave zero out, ranges of one number, broadcasting, nothing."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(41)
U8, I32 = {"T": "quint8"}, {"Tinput": "qint32"}


def q(*shape, dtype="uint8"):
    bounds = np.iinfo(dtype)
    return R.integers(bounds.min, bounds.max, shape, dtype=dtype, endpoint=True)


def n(*values):
    return tuple(np.float32(v) for v in values)


def case(op, id, *inputs, **attrs):
    return Case(op, id, inputs, attrs, gradient=False)


BOTH = {"T1": "quint8", "T2": "quint8"}
SUMS = np.array([[-40000, 3, 99], [70000, 0, -1]], "int32")
WIDE = n(-2000.5, 2000.5)

CASES = [
    *[
        case(op, f"{dtype}-{low}", q(2, 5, dtype=dtype.removeprefix("q")), *n(low, 9.5), Tinput=dtype, out_type=dtype)
        for op in ("QuantizedRelu", "QuantizedRelu6")
        for dtype, low in (("quint8", -3.3), ("quint8", 0.5), ("qint32", -9.5))
    ],
    case("QuantizedRelu", "nothing", q(0, 5), *n(-1, 1), Tinput="quint8"),
    case("QuantizedReshape", "unknown", q(2, 6), np.array([3, -1], "int32"), *n(-1, 2), T="quint8"),
    *[
        case("QuantizedConcat", id, np.array(1, "int32"), q(2, 3), q(2, 1), q(2, 2), *n(*lows), *n(*highs), T="quint8")
        for id, lows, highs in (("same-range", (0, 0, 0), (6, 6, 6)), ("ranges", (0, -1.5, -0.25), (6, 2, 0.75)))
    ],
    case(
        "QuantizedConcat",
        "32-bits",
        np.array(0, "int32"),
        q(2, 3, dtype="int32"),
        q(1, 3, dtype="int32"),
        *n(-5, -7.5, 5, 3),
        T="qint32",
    ),
    *[
        case(op, id, q(*a), q(*b), *n(-1.5, 3), *n(-0.3, 7.7), **BOTH)
        for op in ("QuantizedMul", "QuantizedAdd")
        for id, a, b in (
            ("same", (7,), (7,)),
            ("scalar", (2, 3), ()),
            ("scalar-first", (), (9,)),
            ("rows", (3, 4), (4,)),
            ("rows-first", (4,), (2, 4)),
        )
    ],
    *[case(op, "range-above-zero", q(5), q(5), *n(0.5, 3), *n(1, 7.7), **BOTH) for op in ("QuantizedMul", "QuantizedAdd")],
    case("RequantizationRange", "sums", SUMS, *WIDE, **I32),
    case("RequantizationRange", "above-zero", np.abs(SUMS) + 5, *WIDE, **I32),
    case("RequantizationRange", "nothing", SUMS[:0], *WIDE, **I32),
    case("QuantizeDownAndShrinkRange", "sums", SUMS, *WIDE, out_type="quint8", **I32),
    case("QuantizeDownAndShrinkRange", "random", q(40, dtype="int32"), *n(-3, 8), out_type="quint8", **I32),
    case("QuantizeDownAndShrinkRange", "zeros", np.zeros((3,), "int32"), *WIDE, out_type="quint8", **I32),
    case("Requantize", "sums", SUMS, *WIDE, *n(-0.02, 0.03), out_type="quint8", **I32),
    case("Requantize", "random", q(40, dtype="int32"), *n(-3, 3), *n(-1, 2.7), out_type="quint8", **I32),
    case("Requantize", "no-range", SUMS, *WIDE, *n(0, 0), out_type="quint8", **I32),
    case("Requantize", "nothing", SUMS[:0], *WIDE, *n(-1, 1), out_type="quint8", **I32),
]
