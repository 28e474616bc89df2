"""The scan on JAX that takes its weights' gradients after the loop."""

import keras
import numpy as np
import pytest

from thaw.lowering import loop_kernels

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="the scan is JAX's")


def test_gradients_after_a_second_trace():
    import jax

    random = np.random.default_rng(3)
    weight, start, rows = (random.standard_normal(s).astype("float32") for s in ((4, 4), (2, 4), (3, 2, 4)))

    def step(carry, row, weights, zeros):
        new = jax.numpy.tanh(carry @ weights[0] + zeros[0] + row)
        return new, (new, (carry,))

    def loss(weight):
        _, stacked = loop_kernels.scan_with_weights(step, start, rows, 3, [weight], [(2, 4)])
        return (stacked**2).sum()

    traced = jax.make_jaxpr(loss)(weight)
    again = jax.grad(lambda w: jax.core.eval_jaxpr(traced.jaxpr, traced.consts, w)[0])
    np.testing.assert_allclose(jax.jit(again)(weight), jax.grad(loss)(weight), rtol=1e-5)
