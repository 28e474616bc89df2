"""Special functions that `keras.ops` does not have, from the backend's own library.

Touches jax, torch and tensorflow lazily, inside one function, and only the backend that Keras runs on.
"""
# ruff: noqa: TID251

from collections.abc import Callable
from typing import Any

import keras

from thaw.errors import UnhandledValueError

SCIPY = {
    "lgamma": "gammaln",
    "igamma": "gammainc",
    "igammac": "gammaincc",
    "bessel_i0": "i0",
    "bessel_i1": "i1",
    "bessel_i0e": "i0e",
    "bessel_i1e": "i1e",
}
"""TensorFlow's names and SciPy's, which JAX and PyTorch keep, where they differ."""


def special(name: str) -> Callable[..., Any]:
    """The backend's function of that name (TensorFlow's name, small letters).

    Raises:
        UnhandledValueError: the backend has none.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax.scipy.special as library

        own = SCIPY.get(name, name)
    elif backend == "torch":
        import torch.special as library

        own = SCIPY.get(name, name)
    else:
        import tensorflow

        library = tensorflow.math.special if name.startswith("bessel") else tensorflow.math
        own = name
    function: Callable[..., Any] | None = getattr(library, own, None)
    if function is None:
        raise UnhandledValueError(name, "backend", backend, ["jax", "tensorflow"])
    return function
