"""Linear algebra on stacks of matrices: decompositions, solving, determinants."""

from collections.abc import Sequence
from typing import Any

import numpy
from keras import ops

from thaw.lowering.elementwise import apply
from thaw.lowering.matmul import batch_matmul, transposed
from thaw.lowering.matrix_kernels import lower_upper
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, as_dtype, cast, dtype_of, numpy_dtype, on_device, static_shape


@lowering("Cholesky", "BatchCholesky")
def cholesky(input: Value) -> Value:
    """The lower triangular factor."""
    return apply(lambda np, x: np.linalg.cholesky(x) if np is numpy else ops.cholesky(x), input)


@lowering("Qr")
def qr(input: Value, *, full_matrices: bool = False) -> Value:
    """An orthogonal and an upper triangular factor."""
    return tuple(ops.qr(on_device(input), mode="complete" if full_matrices else "reduced"))


@lowering("Svd", "BatchSvd")
def svd(input: Value, *, compute_uv: bool = True, full_matrices: bool = False) -> Value:
    """Singular values, and the left and right singular vectors."""
    x = on_device(input)
    if not compute_uv:
        empty = numpy.zeros((0,), dtype="float32")
        return ops.svd(x, compute_uv=False), empty, empty
    u, s, v = ops.svd(x, full_matrices=full_matrices)
    return s, u, transposed(ops, v, conjugate=True)


@lowering("SelfAdjointEigV2", "BatchSelfAdjointEigV2")
def eigen(input: Value, *, compute_v: bool = True) -> Value:
    """Eigenvalues, from the least, and eigenvectors of symmetric matrices."""
    values, vectors = ops.eigh(on_device(input))
    return values, vectors


@lowering("SelfAdjointEig", "BatchSelfAdjointEig", gradient="none")
def eigen_together(input: Value) -> Value:
    """As SelfAdjointEigV2, the eigenvalues as a row before the matrix of the eigenvectors."""
    values, vectors = ops.eigh(on_device(input))
    return ops.concatenate([ops.expand_dims(values, -2), vectors], axis=-2)


@lowering("Eig")
def eigen_of_any(input: Value, *, compute_v: bool = True, Tout: str) -> Value:
    """Eigenvalues and eigenvectors of matrices, complex; in which order, and of which phase, is up to the library."""
    values, vectors = (as_dtype(v, Tout) for v in ops.eig(on_device(input)))
    return values, vectors if compute_v else numpy.zeros((0,), numpy_dtype(Tout))


@lowering("Lu", gradient="none")
def lower_and_upper(input: Value, *, output_idx_type: str = "int32") -> Value:
    """Both triangular factors in one matrix (the lower's ones left out), and which row of the input became each of theirs."""
    factors, rows = lower_upper(on_device(input))
    return factors, cast(rows, output_idx_type)


@lowering("MatrixInverse", "BatchMatrixInverse")
def inverse(input: Value, *, adjoint: bool = False) -> Value:
    """The inverse, or that of the conjugate transpose."""
    x = transposed(ops, on_device(input), conjugate=True) if adjoint else on_device(input)
    narrow = dtype_of(x) in {"float16", "bfloat16"}  # no library has an inverse of these
    return cast(ops.inv(cast(x, "float32")), dtype_of(x)) if narrow else ops.inv(x)


@lowering("MatrixDeterminant", "BatchMatrixDeterminant")
def determinant(input: Value) -> Value:
    """The determinant."""
    return ops.det(on_device(input))


@lowering("LogMatrixDeterminant")
def log_determinant(input: Value) -> Value:
    """Sign and logarithm of the magnitude of the determinant."""
    return tuple(ops.slogdet(on_device(input)))


@lowering("MatrixSolve", "BatchMatrixSolve")
def solve(matrix: Value, rhs: Value, *, adjoint: bool = False) -> Value:
    """X of `matrix @ X = rhs`."""
    a = transposed(ops, on_device(matrix), conjugate=True) if adjoint else on_device(matrix)
    return ops.solve(a, on_device(rhs))


@lowering("MatrixSolveLs", "BatchMatrixSolveLs", static=("l2_regularizer",), ignored=("fast",))
def solve_least_squares(matrix: Value, rhs: Value, l2_regularizer: numpy.ndarray) -> Value:
    """X of the least `|matrix @ X - rhs|`, of the least norm where there are several, by the normal equations."""
    a, b = on_device(matrix), on_device(rhs)
    rows, columns = static_shape(a)[-2:]
    turned = transposed(ops, a, conjugate=True)
    tall = rows is None or columns is None or rows >= columns
    square = batch_matmul(turned, a) if tall else batch_matmul(a, turned)
    weight = float(numpy.asarray(l2_regularizer).item())
    if weight:
        square = square + weight * ops.eye(static_shape(square)[-1], dtype=dtype_of(square))
    return ops.solve(square, batch_matmul(turned, b)) if tall else batch_matmul(turned, ops.solve(square, b))


@lowering("MatrixTriangularSolve", "BatchMatrixTriangularSolve")
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


def from_bands(bands: Sequence[Value], offsets: Sequence[int], size: int) -> Value:
    """Square matrices of `size` from their diagonals (..., size), each with its place above (below: negative) the main one.

    An element stands in the row that it has in its band; what falls outside of the matrix is left out.
    """
    total: Value = None
    for band, offset in zip(bands, offsets, strict=True):
        place = numpy.eye(size, k=offset, dtype=bool)
        part = ops.where(on_device(place), ops.expand_dims(band, -1), ops.zeros((), dtype_of(band)))
        total = part if total is None else total + part
    return total


@lowering("TridiagonalSolve", ignored=("partial_pivoting", "perturb_singular"))
def tridiagonal_solve(diagonals: Value, rhs: Value) -> Value:
    """X of `matrix @ X = rhs`, the matrix given by the diagonal above the main one, that one, and the one below."""
    d = on_device(diagonals)
    size = int(static_shape(d)[-1] or 0)
    matrix = from_bands([d[..., k, :] for k in range(3)], [1, 0, -1], size)
    return ops.solve(matrix, on_device(rhs))


@lowering("TridiagonalMatMul")
def tridiagonal_matmul(superdiag: Value, maindiag: Value, subdiag: Value, rhs: Value) -> Value:
    """The product of matrices with three diagonals, each (..., 1, size), and others."""
    above, main, below = (ops.swapaxes(on_device(v), -1, -2) for v in (superdiag, maindiag, subdiag))
    x = on_device(rhs)
    nothing = ops.zeros_like(x[..., :1, :])
    after = ops.concatenate([x[..., 1:, :], nothing], axis=-2)
    before = ops.concatenate([nothing, x[..., :-1, :]], axis=-2)
    return above * after + main * x + below * before


@lowering("BandedTriangularSolve")
def banded_triangular_solve(matrix: Value, rhs: Value, *, lower: bool = True, adjoint: bool = False) -> Value:
    """X of `matrix @ X = rhs` for a triangular matrix that is given by its bands, from the outermost above on."""
    bands = on_device(matrix)
    count, size = (int(n or 0) for n in static_shape(bands)[-2:])
    offsets = [-k if lower else count - 1 - k for k in range(count)]
    whole = from_bands([bands[..., k, :] for k in range(count)], offsets, size)
    return triangular_solve(whole, rhs, lower=lower, adjoint=adjoint)
