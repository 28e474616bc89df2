"""Elementwise ops."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(1)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


CASES = [
    Case("AddV2", "broadcast", (f(2, 3), f(3))),
    Case("Add", "scalars", (f(), f())),
    Case("Mul", "half", (f(2, 3, dtype="float16"), f(2, 1, dtype="float16"))),
]
