"""Functions of whole square matrices: exponential, logarithm, square root."""

from keras import ops

from thaw.lowering.matmul import batch_matmul
from thaw.lowering.matrix_kernels import exponential
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, dtype_of, on_device

ROUNDS = 16
"""Of Newton's iteration for a square root: the distance is squared in each, once it is small."""


@lowering("MatrixExponential", gradient="none")
def matrix_exponential(input: Value) -> Value:
    """The exponential of matrices."""
    return exponential(on_device(input))


@lowering("MatrixSquareRoot")
def square_root(input: Value) -> Value:
    """The matrix whose square is the given one: that without eigenvalues left of the imaginary axis; the matrix has an inverse.

    Source: E. Denman, A. Beavers: The matrix sign function and computations in systems, 1976.
    """
    root = on_device(input)
    inverse = ops.eye(root.shape[-1], dtype=dtype_of(root))
    for _ in range(ROUNDS):
        root, inverse = (root + ops.inv(inverse)) / 2, (inverse + ops.inv(root)) / 2
    return root


@lowering("MatrixLogarithm", gradient="none")
def logarithm(input: Value) -> Value:
    """The logarithm of complex matrices that have as many eigenvectors as rows."""
    values, vectors = ops.eig(on_device(input))
    scaled = vectors * ops.expand_dims(ops.log(values), -2)
    return batch_matmul(scaled, ops.inv(vectors))
