"""Decompositions and solving. Signs of vectors are up to the library, so only what they do not touch is compared."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(11)


def f(*shape):
    return R.standard_normal(shape).astype("float32")


def definite(*lead, n=3):
    a = f(*lead, n, n)
    return a @ np.swapaxes(a, -1, -2) + 2 * np.eye(n, dtype="float32")


def z(*shape):
    return (f(*shape) + 1j * f(*shape)).astype("complex64")


CASES = [
    Case("Cholesky", "batch", (definite(2),), gradient=False),
    Case("MatrixInverse", "batch", (definite(2),)),
    Case("MatrixInverse", "adjoint", (definite() + np.triu(f(3, 3)),), {"adjoint": True}),
    Case("MatrixDeterminant", "batch", (definite(2),)),
    Case("LogMatrixDeterminant", "batch", (definite(2),)),
    Case("MatrixSolve", "batch", (definite(2), f(2, 3, 2))),
    Case("MatrixSolve", "adjoint", (definite() + np.triu(f(3, 3)), f(3, 2)), {"adjoint": True}),
    Case("MatrixTriangularSolve", "lower", (definite(2), f(2, 3, 2))),
    Case("MatrixTriangularSolve", "upper-adjoint-broadcast", (definite(), f(2, 3, 2)), {"lower": False, "adjoint": True}),
    Case("Qr", "reduced", (f(2, 4, 3),)),
    Case("Qr", "full", (f(4, 3),), {"full_matrices": True}, gradient=False),
    Case("Svd", "values-alone", (f(2, 4, 3),), {"compute_uv": False}, outputs=1),
    Case("SelfAdjointEigV2", "values-alone", (definite(2),), {"compute_v": False}, outputs=1, gradient=False),
]
