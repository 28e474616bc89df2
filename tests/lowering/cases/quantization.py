"""Rounding to grids, and integers with a range."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(13)


def f(*shape):
    return R.standard_normal(shape).astype("float32")


X = np.array([[-9, -6.01, -0.31, 0], [0.2, 0.71, 5.99, 9]], "float32")
LOW, HIGH = np.float32(-1), np.float32(2)
LOWS, HIGHS = np.array([-1, -2, -0.5, 0], "float32"), np.array([1, 3, 0.5, 6], "float32")

FIRST = {"mode": "MIN_FIRST"}

CASES = [
    Case("FakeQuantWithMinMaxArgs", "default-range", (X,)),
    Case("FakeQuantWithMinMaxArgs", "narrow-4-bits", (X,), {"min": -2.0, "max": 5.0, "num_bits": 4, "narrow_range": True}),
    Case("FakeQuantWithMinMaxVars", "range-trains", (X, LOW, HIGH)),
    Case("FakeQuantWithMinMaxVarsPerChannel", "range-trains", (X, LOWS, HIGHS), {"num_bits": 4}),
    Case("FakeQuantWithMinMaxArgsGradient", "default-range", (f(2, 4), X), gradient=False),
    Case("FakeQuantWithMinMaxVarsGradient", "three", (f(2, 4), X, LOW, HIGH), gradient=False),
    Case("FakeQuantWithMinMaxVarsPerChannelGradient", "three", (f(2, 4), X, LOWS, HIGHS), gradient=False),
    Case("QuantizeAndDequantizeV2", "range-of-the-data", (X, LOW, HIGH)),
    Case("QuantizeAndDequantizeV2", "range-given", (X, LOW, HIGH), {"range_given": True, "num_bits": 4}),
    Case(
        "QuantizeAndDequantizeV2",
        "unsigned-half-up",
        (X, np.float32(0), HIGH),
        {"range_given": True, "signed_input": False, "round_mode": "HALF_UP"},
    ),
    Case("QuantizeAndDequantizeV3", "narrow", (X, LOW, HIGH, np.int32(6)), {"narrow_range": True}),
    Case("QuantizeAndDequantizeV4", "range-given", (X, LOW, HIGH), {"range_given": True}),
    Case("QuantizeAndDequantizeV4", "axis", (X, LOWS - 1, HIGHS), {"range_given": True, "axis": 1}, gradient=False),
    Case("Dequantize", "quint8-combined", (np.array([0, 7, 255], "uint8"), LOW, HIGH), {"T": "quint8"}, gradient=False),
    Case("Dequantize", "qint8-combined", (np.array([-128, 7, 127], "int8"), LOW, HIGH), {"T": "qint8"}, gradient=False),
    Case(
        "Dequantize",
        "qint8-scaled",
        (np.array([-128, 7, 127], "int8"), LOW, HIGH),
        {"T": "qint8", "mode": "SCALED"},
        gradient=False,
    ),
    Case("Dequantize", "quint8-first", (np.array([[0, 7, 255]], "uint8"), LOW, HIGH), {"T": "quint8", **FIRST}, gradient=False),
    Case(
        "Dequantize",
        "qint32-first",
        (np.array([-(2**31), 7, 2**30], "int32"), LOW, HIGH),
        {"T": "qint32", **FIRST},
        gradient=False,
    ),
    Case("Dequantize", "one-number-first", (np.array([0, 9], "uint8"), HIGH, HIGH), {"T": "quint8", **FIRST}, gradient=False),
    Case(
        "Dequantize",
        "axis",
        (np.arange(24, dtype="int8").reshape(2, 4, 3), LOWS, HIGHS),
        {"T": "qint8", "mode": "SCALED", "axis": 1},
        gradient=False,
    ),
    Case("QuantizeV2", "quint8-combined", (X, LOW, HIGH), {"T": "quint8"}, gradient=False),
    Case("QuantizeV2", "qint8-scaled", (X, LOW, HIGH), {"T": "qint8", "mode": "SCALED"}, gradient=False),
    Case("QuantizeV2", "quint8-first", (X, LOW, HIGH), {"T": "quint8", **FIRST}, gradient=False),
    Case("QuantizeV2", "qint8-first", (X, LOW, HIGH), {"T": "qint8", **FIRST}, gradient=False),
    Case("QuantizeV2", "no-range-first", (X, np.float32(0), np.float32(0)), {"T": "quint8", **FIRST}, gradient=False),
    Case("QuantizeAndDequantize", "range-of-the-data", (X,), {"num_bits": 5}, gradient=False),
    Case(
        "QuantizeAndDequantize",
        "range-given",
        (X,),
        {"range_given": True, "input_min": -1.0, "input_max": 2.0},
        gradient=False,
    ),
]
