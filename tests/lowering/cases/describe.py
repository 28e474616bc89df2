"""Tensors as text."""

import numpy as np

from lowering.cases.text import case, i, s

MATRIX = np.arange(24, dtype="int32").reshape(2, 3, 4)
FLOATS = np.array([1 / 3, 1e-9, 123456789.0, np.inf, -np.nan, -0.0, 2.0], "float32")

CASES = [
    case("StringFormat", "scalars", i(7)[0:1].reshape(()), np.float32(0.1)[()].reshape(()), template="a %s b %s c"),
    case("StringFormat", "cut", i(*range(10)), template="%s"),
    case("StringFormat", "ends", MATRIX, template="[%s]", summarize=1),
    case("StringFormat", "whole", MATRIX, template="{}", placeholder="{}", summarize=-1),
    case("StringFormat", "floats", FLOATS, template="x=%s", summarize=-1),
    case("StringFormat", "doubles", FLOATS.astype("float64"), template="x=%s", summarize=-1),
    case("StringFormat", "strings", s("a", 'q"\\', "é\n", b"\x01\xff", "it's"), template="%s", summarize=9),
    case("StringFormat", "truth", np.array([True, False]), template="%s"),
    case("StringFormat", "nothing", i(), np.zeros((2, 0), "float32"), template="%s %s"),
    case("StringFormat", "bytes", i(1, 200, dtype="uint8"), template="%s"),
]
