"""Special functions."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(9)


def f(*shape):
    return R.standard_normal(shape).astype("float32")


def positive(*shape):
    return R.uniform(0.3, 4, shape).astype("float32")


def unit(*shape):
    return R.uniform(0.05, 0.95, shape).astype("float32")


CASES = [
    Case("Erf", "float32", (f(2, 3),)),
    Case("Erf", "float64", (f(2, 3).astype("float64"),)),
    Case("Erfc", "float32", (f(2, 3),)),
    Case("Erfinv", "float32", (2 * unit(2, 3) - 1,)),
    Case("Ndtri", "float32", (unit(2, 3),)),
    Case("Lgamma", "float32", (positive(2, 3),)),
    Case("Digamma", "float32", (positive(2, 3),)),
    Case("Igamma", "float32", (positive(2, 3), positive(2, 3)), gradient=False),
    Case("Igammac", "float32", (positive(2, 3), positive(2, 3)), gradient=False),
    Case("Zeta", "float32", (1.5 + positive(2, 3), positive(2, 3)), gradient=False),
    Case("Polygamma", "first", (np.full((2, 3), 1, "float32"), positive(2, 3)), gradient=False),
    Case(
        "Polygamma",
        "different-orders",
        (np.array([0, 1, 2, 3, 2.5, -1], "float32"), np.array([0.7, 0.8, 1.5, 2.5, 0.9, 0.6], "float32")),
        gradient=False,
    ),
    Case("BesselI0", "float32", (f(2, 3),)),
    Case("BesselI1", "float32", (f(2, 3),)),
    Case("BesselI0e", "float32", (f(2, 3),)),
    Case("BesselI1e", "float32", (f(2, 3),)),
    Case(
        "Betainc",
        "float32",
        (positive(2, 3), positive(2, 3), unit(2, 3)),
        gradient=False,
        backends=("jax", "tensorflow"),
        why="PyTorch has no incomplete beta function",
    ),
]
