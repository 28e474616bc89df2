"""Linear algebra on stacks of matrices: decompositions, solving, determinants."""

from typing import Any

import numpy
from keras import ops

from thaw.lowering.elementwise import apply
from thaw.lowering.matmul import transposed
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, cast, dtype_of, on_device, static_shape


@lowering("Cholesky")
def cholesky(input: Value) -> Value:
    """The lower triangular factor."""
    return apply(lambda np, x: np.linalg.cholesky(x) if np is numpy else ops.cholesky(x), input)


@lowering("Qr")
def qr(input: Value, *, full_matrices: bool = False) -> Value:
    """An orthogonal and an upper triangular factor."""
    return tuple(ops.qr(on_device(input), mode="complete" if full_matrices else "reduced"))


@lowering("Svd")
def svd(input: Value, *, compute_uv: bool = True, full_matrices: bool = False) -> Value:
    """Singular values, and the left and right singular vectors."""
    x = on_device(input)
    if not compute_uv:
        empty = numpy.zeros((0,), dtype="float32")
        return ops.svd(x, compute_uv=False), empty, empty
    u, s, v = ops.svd(x, full_matrices=full_matrices)
    return s, u, transposed(ops, v, conjugate=True)


@lowering("SelfAdjointEigV2")
def eigen(input: Value, *, compute_v: bool = True) -> Value:
    """Eigenvalues, from the least, and eigenvectors of symmetric matrices."""
    values, vectors = ops.eigh(on_device(input))
    return values, vectors


@lowering("MatrixInverse")
def inverse(input: Value, *, adjoint: bool = False) -> Value:
    """The inverse, or that of the conjugate transpose."""
    x = transposed(ops, on_device(input), conjugate=True) if adjoint else on_device(input)
    narrow = dtype_of(x) in {"float16", "bfloat16"}  # no library has an inverse of these
    return cast(ops.inv(cast(x, "float32")), dtype_of(x)) if narrow else ops.inv(x)


@lowering("MatrixDeterminant")
def determinant(input: Value) -> Value:
    """The determinant."""
    return ops.det(on_device(input))


@lowering("LogMatrixDeterminant")
def log_determinant(input: Value) -> Value:
    """Sign and logarithm of the magnitude of the determinant."""
    return tuple(ops.slogdet(on_device(input)))


@lowering("MatrixSolve")
def solve(matrix: Value, rhs: Value, *, adjoint: bool = False) -> Value:
    """X of `matrix @ X = rhs`."""
    a = transposed(ops, on_device(matrix), conjugate=True) if adjoint else on_device(matrix)
    return ops.solve(a, on_device(rhs))


@lowering("MatrixTriangularSolve")
def triangular_solve(matrix: Value, rhs: Value, *, lower: bool = True, adjoint: bool = False) -> Value:
    """X of `matrix @ X = rhs` for a triangular matrix; leading axes broadcast."""

    def function(np: Any, a: Value, b: Value) -> Value:
        band = ops.tril if lower else ops.triu
        a = band(a)
        if adjoint:
            a = transposed(ops, a, conjugate=True)
        lead = numpy.broadcast_shapes(static_shape(a)[:-2], static_shape(b)[:-2])  # type: ignore[arg-type]
        a = ops.broadcast_to(a, (*lead, *static_shape(a)[-2:]))
        b = ops.broadcast_to(b, (*lead, *static_shape(b)[-2:]))
        return ops.solve_triangular(a, b, lower=lower != adjoint)

    return function(ops, on_device(matrix), on_device(rhs))
