"""Eigenvectors, whose order and phase are the library's: they are what their name says."""

import keras
import numpy as np
import pytest

from lowering.test_random import draw_all

R = np.random.default_rng(5)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_a_matrix_stretches_its_eigenvectors(dtype):
    matrix = (R.standard_normal((2, 4, 4)) + (1j * R.standard_normal((2, 4, 4)) if dtype[0] == "c" else 0)).astype(dtype)
    values, vectors = draw_all("Eig", [keras.ops.convert_to_tensor(matrix)], {"Tout": "complex64"}, None, 2)
    assert values.dtype == vectors.dtype == np.complex64
    np.testing.assert_allclose(matrix @ vectors, vectors * values[:, None], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-2), 1, atol=1e-5)
    np.testing.assert_allclose(np.sort_complex(values), np.sort_complex(np.linalg.eigvals(matrix)), atol=1e-4)
