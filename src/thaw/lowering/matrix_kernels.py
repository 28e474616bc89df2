"""Functions of matrices that `keras.ops` does not have, or not alike on all backends, from the backend's own library.

Touches jax, torch and tensorflow lazily, inside functions, and only the backend that Keras runs on.
"""
# ruff: noqa: TID251

import keras

from thaw.lowering.values import Value


def exponential(x: Value) -> Value:
    """The exponential of square matrices (..., n, n)."""
    backend = keras.backend.backend()
    if backend == "jax":
        from jax.scipy.linalg import expm

        return expm(x)
    if backend == "torch":
        from torch.linalg import matrix_exp

        return matrix_exp(x)
    import tensorflow

    return tensorflow.linalg.expm(x)


def lower_upper(x: Value) -> tuple[Value, Value]:
    """Both triangular factors of matrices in one (the lower's ones left out), and which row of `x` became each of theirs."""
    backend = keras.backend.backend()
    if backend == "jax":
        from jax.lax.linalg import lu

        factors, _, rows = lu(x)
        return factors, rows
    if backend == "torch":
        import torch

        factors, pivots = torch.linalg.lu_factor(x)
        places, _, _ = torch.lu_unpack(factors, pivots, unpack_data=False)
        return factors, places.real.argmax(-2)
    import tensorflow

    found: tuple[Value, Value] = tuple(tensorflow.linalg.lu(x))
    return found
