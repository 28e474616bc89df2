"""Own kernels against their plain twins in keras.ops: the same values and gradients, whichever backend runs.

`THAW_KERNELS=off` chooses the twins, so every test runs one function twice.
"""

import keras
import numpy as np
import pytest

from gradients import vjp
from thaw.lowering import kernels
from thaw.lowering import table as table  # every op
from thaw.lowering.registry import LOWERINGS

BACKEND = keras.backend.backend()
R = np.random.default_rng(21)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def compiled(function):
    """`function` as one program: JAX would compile each of its ops alone otherwise, which takes longer."""
    if BACKEND != "jax":
        return function
    import jax

    return jax.jit(lambda *values: function(*values))


def twice(monkeypatch, function, inputs, rtol=1e-5):
    """Asserts that `function` answers alike with and without own kernels, gradients included."""

    def outputs(*values):
        found = compiled(function)(*values)
        return list(found) if isinstance(found, (tuple, list)) else [found]

    monkeypatch.setenv("THAW_KERNELS", "off")
    shapes = [keras.ops.convert_to_numpy(o).shape for o in outputs(*map(keras.ops.convert_to_tensor, inputs))]
    cotangents = [f(*s) for s in shapes]
    plain = vjp(outputs, inputs, cotangents)
    monkeypatch.setenv("THAW_KERNELS", "on")
    own = vjp(outputs, inputs, cotangents)
    for expected, found in zip([*plain[0], *plain[1]], [*own[0], *own[1]], strict=True):
        expected, found = (np.zeros(()) if v is None else np.asarray(v, "float64") for v in (expected, found))
        scale = np.abs(expected).max(initial=1e-30)
        np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * scale)


WINDOWS = {
    "same": ((8, 7), (3, 3), (1, 1), "SAME", (1, 1)),
    "same-stride2-even": ((8, 6), (3, 3), (2, 2), "SAME", (1, 1)),
    "same-stride2-odd": ((7, 9), (3, 3), (2, 2), "SAME", (1, 1)),
    "valid-stride2-leftover": ((8, 8), (3, 3), (2, 2), "VALID", (1, 1)),
    "stride-beyond-window": ((10, 9), (2, 2), (3, 3), "VALID", (1, 1)),
    "explicit": ((7, 6), (3, 3), (2, 2), ((1, 2), (0, 3)), (1, 1)),
    "explicit-beyond-window": ((5, 5), (2, 2), (1, 1), ((3, 0), (0, 4)), (1, 1)),
    "window5-stride2": ((9, 8), (5, 5), (2, 2), "SAME", (1, 1)),
    "dilated": ((9, 8), (3, 3), (1, 1), "SAME", (2, 2)),
    "oblong-window": ((6, 7), (1, 4), (1, 1), "SAME", (1, 1)),
    "1x1": ((5, 6), (1, 1), (1, 1), "SAME", (1, 1)),
    "1x1-stride2-narrow-channels": ((60, 60), (1, 1), (2, 2), "SAME", (1, 1)),
    "1x1-stride2": ((5, 6), (1, 1), (2, 2), "SAME", (1, 1)),
}
# On JAX, of few channels, only windows of one element, and such as move along the last axis alone, have a kernel of their own.
CONVOLUTIONS = {name: row for name, row in WINDOWS.items() if BACKEND != "jax" or name.startswith(("1x1", "oblong"))}
WINDOW = ("size", "window", "strides", "padding", "dilations")
each_window = pytest.mark.parametrize(WINDOW, WINDOWS.values(), ids=WINDOWS)


@pytest.mark.parametrize(WINDOW, CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution(monkeypatch, size, window, strides, padding, dilations):
    def function(x, k):
        return kernels.convolution(x, k, strides=strides, padding=padding, dilations=dilations)

    twice(monkeypatch, function, [f(2, *size, 4), f(*window, 4, 3)])


WIDE = {
    name: WINDOWS[name] for name in ("same", "same-stride2-odd", "valid-stride2-leftover", "explicit-beyond-window", "dilated")
}


@pytest.mark.parametrize(WINDOW, WIDE.values(), ids=WIDE)
def test_convolution_of_many_channels(monkeypatch, size, window, strides, padding, dilations):
    def function(x, k):
        return kernels.convolution(x, k, strides=strides, padding=padding, dilations=dilations)

    calls = []
    monkeypatch.setattr(
        kernels.image_kernels, "products", lambda *a, make=kernels.image_kernels.products: calls.append(1) or make(*a)
    )
    twice(monkeypatch, function, [f(2, *size, 64), f(*window, 64, 65)])
    assert bool(calls) == (BACKEND == "jax")


@pytest.mark.parametrize("window", [(2, 2), (3, 3), (4, 4), (1, 3), (5, 2)], ids=str)
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 1)], ids=str)
def test_transposed_convolution(monkeypatch, window, strides):
    def function(x, k):
        return kernels.transposed(x, k, strides=strides, dilations=(1, 1))

    twice(monkeypatch, function, [f(2, 4, 3, 5), f(*window, 3, 5)])


@pytest.mark.skipif(BACKEND != "jax", reason="the other backends' own are fast")
def test_gradients_of_convolutions_have_gradients(monkeypatch):
    """As a penalty on gradients asks for them."""
    import jax

    def of_gradient(x, k, q):
        def sums(x):
            y = kernels.convolution(x, k, strides=(1, 1), padding="SAME", dilations=(1, 1))
            return (kernels.transposed(y, q, strides=(2, 2), dilations=(1, 1)) ** 2).sum()

        return jax.grad(sums)(x)

    twice(monkeypatch, of_gradient, [f(1, 4, 4, 64), f(3, 3, 64, 64), f(2, 2, 3, 64)], rtol=1e-4)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((0, 0), (3, 1))])
@pytest.mark.parametrize(("size", "window"), [((1, 9), (1, 3)), ((4, 9), (1, 5)), ((9, 1), (2, 1))])
def test_convolution_over_time(monkeypatch, size, window, padding):
    padding = padding if isinstance(padding, str) or window[0] == 1 else padding[::-1]

    def function(x, k):
        return kernels.convolution(x, k, strides=(1, 1), padding=padding, dilations=(1, 1))

    twice(monkeypatch, function, [f(3, *size, 4), f(*window, 4, 6)])


@pytest.mark.parametrize(
    ("op", "axis", "keep_dims", "ties"),
    [("Max", [1], False, False), ("Max", [0, -1], True, True), ("Min", [0, 1, 2], False, True), ("Max", [], False, False)],
)
def test_extrema(monkeypatch, op, axis, keep_dims, ties):
    x = R.integers(0, 3, (4, 5, 6)).astype("float32") if ties else f(4, 5, 6)
    twice(monkeypatch, lambda x: LOWERINGS[op].function(x, np.array(axis, "int32"), keep_dims=keep_dims), [x])


@pytest.mark.parametrize(("widths", "axis"), [([2, 2, 2], 1), ([1, 4, 0, 1], 1), ([3, 1], 0)])
def test_parts(monkeypatch, widths, axis):
    def function(x):
        return LOWERINGS["SplitV"].function(x, np.array(widths), np.int32(axis))

    twice(monkeypatch, function, [f(4, 6, 3)])


@each_window
def test_depthwise(monkeypatch, size, window, strides, padding, dilations):
    def function(x, k):
        return kernels.depthwise(x, k, strides=strides, padding=padding, dilations=dilations)

    twice(monkeypatch, function, [f(2, *size, 5), f(*window, 5, 1)])


@pytest.mark.parametrize(("channels", "multiplier"), [(49, 1), (3, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_of_many_channels_and_multiplied(monkeypatch, channels, multiplier, stride):
    def function(x, k):
        return kernels.depthwise(x, k, strides=(stride, stride), padding="SAME", dilations=(1, 1))

    twice(monkeypatch, function, [f(2, 6, 7, channels), f(3, 3, channels, multiplier)])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_depthwise_of_narrow_floats(monkeypatch, dtype):
    import ml_dtypes

    narrow = np.dtype(getattr(ml_dtypes, dtype, dtype))

    def function(x, k):
        return kernels.depthwise(x, k, strides=(2, 2), padding="SAME", dilations=(1, 1))

    twice(monkeypatch, function, [f(1, 6, 6, 3).astype(narrow), f(3, 3, 3, 1).astype(narrow)], 0.03)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("window", "strides"), [((3, 3), (2, 2)), ((2, 2), (2, 2)), ((5, 5), (1, 1)), ((2, 3), (3, 1))])
@pytest.mark.parametrize("ties", [False, True])
def test_max_pool(monkeypatch, padding, window, strides, ties):
    x = R.integers(0, 3, (2, 7, 8, 3)).astype("float32") if ties else f(2, 7, 8, 3)
    twice(monkeypatch, lambda x: kernels.max_pool(x, window=window, strides=strides, padding=padding), [x])


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (16, 6), (2, 3, 2, 2, 4)])
def test_batch_norm_training(monkeypatch, shape):
    inputs = [3 + 2 * f(*shape), f(shape[-1]), f(shape[-1])]
    twice(monkeypatch, lambda x, s, o: kernels.batch_norm_training(x, s, o, epsilon=1e-3)[:1], inputs, 2e-5)


@pytest.mark.parametrize("mean", [5.0, 300.0])
def test_batch_norm_training_far_from_zero(monkeypatch, mean):
    x = f(6, 5, 4, 3) + np.array([0, mean, -mean], "float32")
    twice(monkeypatch, lambda x, s, o: kernels.batch_norm_training(x, s, o, epsilon=1e-3), [x, f(3), f(3)], 1e-4)


def test_batch_norm_statistics_are_of_the_batch_and_carry_no_gradient(monkeypatch):
    inputs = [3 + 2 * f(4, 3, 5, 6), f(6), f(6)]
    _, (dx, ds, do) = (
        vjp(lambda x, s, o: kernels.batch_norm_training(x, s, o, epsilon=1e-3)[1:], inputs, [f(6), f(6)])
        if (BACKEND != "torch")
        else (None, (None, None, None))
    )
    assert all(g is None or not g.any() for g in (dx, ds, do))
    _, mean, variance = kernels.batch_norm_training(*map(keras.ops.convert_to_tensor, inputs), epsilon=1e-3)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(mean), inputs[0].mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variance), inputs[0].var((0, 1, 2)), rtol=1e-4)


def test_batch_norm_inference(monkeypatch):
    inputs = [f(4, 3, 5, 6), f(6), f(6), f(6), np.abs(f(6)) + 0.1]
    twice(monkeypatch, lambda *v: kernels.batch_norm_inference(*v, epsilon=1e-3), inputs)


KINKS = np.array([-2, 0, 1, 6, 7, 5.9, -0.0], "float32")


@pytest.mark.parametrize("name", ["relu", "relu6"])
def test_clips(monkeypatch, name):
    twice(monkeypatch, getattr(kernels, name), [KINKS])


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow traces with lengths that it does not know")
def test_lengths_unknown_while_tracing():
    import tensorflow as tf

    x, k, d = f(2, 7, 6, 3), f(3, 3, 3, 4), f(3, 3, 3, 1)
    how = {"strides": (2, 2), "padding": "SAME", "dilations": (1, 1)}

    def function(x):
        pooled = kernels.max_pool(x, window=(2, 2), strides=(2, 2), padding="SAME")
        normal = kernels.batch_norm_training(x, tf.ones(3), tf.zeros(3), epsilon=1e-3)
        mean = kernels.average_pool(x, window=(3, 3), strides=(2, 2), padding="SAME")
        return kernels.convolution(x, k, **how), kernels.depthwise(x, d, **how), pooled, mean, *normal

    traced = tf.function(function, input_signature=[tf.TensorSpec([None, None, None, 3])])
    for found, expected in zip(traced(x), function(tf.constant(x)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_switch(monkeypatch):
    monkeypatch.setenv("THAW_KERNELS", "off")
    assert not kernels.chosen(BACKEND, "jax-cpu")
    monkeypatch.delenv("THAW_KERNELS")
    assert kernels.chosen(BACKEND)
    assert not kernels.chosen(*({"jax", "torch", "tensorflow"} - {BACKEND}))


@pytest.mark.parametrize(("op", "bound"), [("Minimum", 1.5), ("Maximum", -0.5)])
@pytest.mark.parametrize("kernel", ["on", "off"])
def test_a_known_bound_gives_the_gradient_to_what_equals_it(op, bound, kernel, monkeypatch):
    monkeypatch.setenv("THAW_KERNELS", kernel)
    x = np.array([-2.0, -0.5, 0.0, 1.5, 3.0, np.nan], "float32")
    run = LOWERINGS[op].function
    (y,), (dx,) = vjp(lambda x: run(x, np.float32(bound)), [x], [np.ones(6, "float32")])
    np.testing.assert_array_equal(y, np.minimum(x, bound) if op == "Minimum" else np.maximum(x, bound))
    np.testing.assert_array_equal(dx[:5], [1, 1, 1, 1, 0] if op == "Minimum" else [0, 1, 1, 1, 1])


@pytest.mark.skipif(BACKEND != "jax", reason="the other backends' own are fast")
@pytest.mark.parametrize("at_once", [1, 40, 100], ids=str)
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1)], ids=str)
def test_filter_gradients_of_depthwise_convolutions_a_few_rows_at_a_time(monkeypatch, strides, at_once):
    monkeypatch.setattr(kernels.image_kernels, "AT_ONCE", at_once)

    def function(x, k):
        return kernels.depthwise(x, k, strides=strides, padding="SAME", dilations=(1, 1))

    twice(monkeypatch, function, [f(3, 12, 7, 5), f(3, 3, 5, 1)])


@pytest.mark.skipif(BACKEND != "jax", reason="the other backends refuse it")
@pytest.mark.parametrize("size", [(2, 5), (5, 2), (2, 2)], ids=str)
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)], ids=str)
def test_depthwise_of_an_image_smaller_than_the_window(monkeypatch, strides, size):
    def function(x, k):
        return kernels.depthwise(x, k, strides=strides, padding="VALID", dilations=(1, 1))

    twice(monkeypatch, function, [f(2, *size, 4), f(3, 3, 4, 1)])
