"""Isotonic regression."""

import numpy as np

from lowering.cases.text import case

R = np.random.default_rng(43)
ROWS = R.standard_normal((3, 9)).astype("float32")
TIES = np.array([[3, 3, 1, 2, 2, 0], [1, 2, 3, 3, 3, 3], [5, 4, 4, 2, 1, 1]])

CASES = [
    case("IsotonicRegression", "rows", ROWS),
    case("IsotonicRegression", "float64", ROWS.astype("float64"), output_dtype="float64"),
    case("IsotonicRegression", "ties", TIES.astype("float32")),
    case("IsotonicRegression", "integers", TIES.astype("int16")),
    case("IsotonicRegression", "wide-integers", TIES.astype("int64"), output_dtype="float64"),
    case("IsotonicRegression", "no-rows", ROWS[:0]),
]
