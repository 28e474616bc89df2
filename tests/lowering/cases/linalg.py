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

TRIANGLES = np.triu(f(2, 3, 3))
LOWER = np.array([[4], [0], [0]], "float32")
BANDS = f(2, 3, 5) + np.array([[0], [4], [0]], "float32")
# What only older versions of TensorFlow write: the same functions by other names.
OLDEST = [
    Case("BatchCholesky", "batch", (definite(2),), gradient=False),
    Case("BatchMatrixInverse", "batch", (definite(2),), gradient=False),
    Case("BatchMatrixDeterminant", "batch", (definite(2),), gradient=False),
    Case("BatchMatrixSolve", "batch", (definite(2), f(2, 3, 2)), gradient=False),
    Case("BatchMatrixTriangularSolve", "lower", (definite(2), f(2, 3, 2)), gradient=False),
    Case("BatchSvd", "values-alone", (f(2, 4, 3),), {"compute_uv": False}, outputs=1, gradient=False),
    Case("BatchSelfAdjointEigV2", "values-alone", (definite(2),), {"compute_v": False}, outputs=1, gradient=False),
    Case("BatchSelfAdjointEig", "of-one", (definite(2, n=1),), gradient=False),
    Case("SelfAdjointEig", "of-one", (definite(n=1),), gradient=False),
    Case("BatchMatrixSolveLs", "tall", (f(2, 5, 3), f(2, 5, 2), np.float64(0.0)), {"fast": True}, gradient=False, rtol=1e-4),
]

CASES += [
    *OLDEST,
    Case("MatrixSolveLs", "tall", (f(2, 5, 3), f(2, 5, 2), np.float64(0.0)), rtol=1e-4),
    Case("MatrixSolveLs", "tall-regularized", (f(5, 3), f(5, 2), np.float64(0.7)), rtol=1e-4),
    Case("MatrixSolveLs", "wide-regularized", (f(3, 5), f(3, 2), np.float64(0.7)), rtol=1e-4),
    Case("MatrixSolveLs", "wide", (f(3, 5), f(3, 2), np.float64(0.0)), {"fast": False}, gradient=False, rtol=1e-4),
    Case("TridiagonalSolve", "batch", (BANDS, f(2, 5, 2)), rtol=1e-4),
    Case("TridiagonalSolve", "no-pivots", (BANDS[0], f(5, 1)), {"partial_pivoting": False}, rtol=1e-4),
    Case("TridiagonalMatMul", "batch", (f(2, 1, 5), f(2, 1, 5), f(2, 1, 5), f(2, 5, 3))),
    Case("TridiagonalMatMul", "of-one", (f(1, 1), f(1, 1), f(1, 1), f(1, 3))),
    Case("BandedTriangularSolve", "lower", (f(2, 3, 5) + LOWER, f(2, 5, 2)), rtol=1e-4),
    Case("BandedTriangularSolve", "upper", (f(3, 5) + LOWER[::-1], f(5, 2)), {"lower": False}, rtol=1e-4),
    Case("BandedTriangularSolve", "adjoint", (f(2, 5) + LOWER[:2], f(5, 1)), {"adjoint": True}, rtol=1e-4),
    Case("BandedTriangularSolve", "diagonal", (f(1, 5) + 3, f(5, 1)), gradient=False),
    Case("MatrixExponential", "batch", (f(2, 3, 3),), gradient=False),
    Case("MatrixExponential", "great", (4 * f(4, 4),), rtol=1e-4, gradient=False),
    Case("MatrixExponential", "complex", (z(2, 2),), gradient=False),
    Case("MatrixSquareRoot", "batch", (definite(2),), rtol=1e-4),
    Case("MatrixSquareRoot", "not-symmetric", (definite() + np.triu(f(3, 3)),), rtol=1e-4),
    # TensorFlow's gradient of this one leaves out a conjugate.
    Case("MatrixSquareRoot", "complex", (definite() + z(3, 3) / 4,), gradient=False, rtol=1e-4),
    Case("MatrixLogarithm", "batch", (definite(2) + z(2, 3, 3) / 4,), gradient=False, rtol=1e-4),
    Case("Lu", "batch", (f(2, 4, 4),), gradient=False),
    Case("Lu", "wide-numbers", (f(3, 3),), {"output_idx_type": "int64"}, gradient=False),
    Case("Lu", "complex", (z(3, 3),), gradient=False),
    # Of triangular matrices the libraries find the eigenvalues in one order: as they stand.
    Case("Eig", "values-alone", (TRIANGLES,), {"compute_v": False, "Tout": "complex64"}, outputs=1, gradient=False),
    Case(
        "Eig",
        "gradient-of-values",
        (TRIANGLES,),
        {"compute_v": False, "Tout": "complex64"},
        outputs=1,
        backends=("torch", "tensorflow"),
        why="JAX differentiates no eigenvectors, which `keras.ops.eig` finds too",
    ),
    Case("Eig", "of-one", (z(1, 1),), {"Tout": "complex64"}, gradient=False),
]
