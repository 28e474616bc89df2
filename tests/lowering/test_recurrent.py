"""cuDNN's recurrent ops against their formulas, step by step in numpy; and their gradients by finite differences."""

import keras
import numpy as np
import pytest

from gradients import vjp
from thaw.errors import UnhandledValueError
from thaw.lowering import recurrent

R = np.random.default_rng(27)
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
TIME, BATCH, FEATURES, UNITS = 4, 2, 3, 2


def f(*shape):
    return (0.5 * R.standard_normal(shape)).astype("float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(mode, weights, x, h, c):
    """One step by the formulas of cuDNN's manual; `weights` is a list of (W, U, b, d), one a gate."""
    sums = [(x @ w.T + b, h @ u.T + d) for w, u, b, d in weights]
    if mode == "lstm":
        i, g, n, o = (a + b for a, b in sums)
        c = sigmoid(g) * c + sigmoid(i) * np.tanh(n)
        return sigmoid(o) * np.tanh(c), c
    if mode == "gru":
        r, z = (sigmoid(a + b) for a, b in sums[:2])
        return (1 - z) * np.tanh(sums[2][0] + r * sums[2][1]) + z * h, c
    total = sums[0][0] + sums[0][1]
    return (np.tanh(total) if mode == "rnn_tanh" else np.maximum(total, 0)), c


def reference(mode, layers, directions, params, x, h, c, lengths):
    """The whole stack: layer by layer, direction by direction, image by image."""
    gates, at, matrices = GATES[mode], 0, []
    for layer in range(layers):
        for _ in range(directions):
            width = FEATURES if layer == 0 else UNITS * directions
            found = []
            for rows in (width, UNITS):
                found.append([params[at + g * UNITS * rows :][: UNITS * rows].reshape(UNITS, rows) for g in range(gates)])
                at += gates * UNITS * rows
            matrices.append(found)
    last_h, last_c = h.copy(), c.copy()
    for layer in range(layers):
        out = np.zeros((TIME, BATCH, UNITS * directions))
        for side in range(directions):
            number = layer * directions + side
            biases = params[at + number * 2 * gates * UNITS :][: 2 * gates * UNITS].reshape(2, gates, UNITS)
            weights = list(zip(*matrices[number], *biases, strict=True))
            for image in range(BATCH):
                state = h[number, image], c[number, image]
                times = range(lengths[image])
                for t in reversed(times) if side else times:
                    state = step(mode, weights, x[t, image], *state)
                    out[t, image, side * UNITS : (side + 1) * UNITS] = state[0]
                last_h[number, image], last_c[number, image] = state
        x = out
    return x, last_h, last_c


def inputs_of(mode, layers, directions):
    gates = GATES[mode]
    size = sum(directions * gates * UNITS * ((FEATURES if n == 0 else UNITS * directions) + UNITS + 2) for n in range(layers))
    state = layers * directions, BATCH, UNITS
    return f(TIME, BATCH, FEATURES), f(*state), f(*state), f(size)


@pytest.mark.parametrize("mode", GATES)
@pytest.mark.parametrize(("layers", "directions"), [(1, 1), (2, 2)])
def test_stack(mode, layers, directions):
    x, h, c, params = inputs_of(mode, layers, directions)
    direction = "bidirectional" if directions == 2 else "unidirectional"
    given = [keras.ops.convert_to_tensor(v) for v in (x, h, c, params)]
    found = recurrent.cudnn_rnn_v2(*given, rnn_mode=mode, direction=direction)
    expected = reference(mode, layers, directions, params, x, h, c, [TIME] * BATCH)
    for a, b in list(zip(found, expected, strict=False))[: 3 if mode == "lstm" else 2]:
        np.testing.assert_allclose(keras.ops.convert_to_numpy(a), b, atol=1e-6)
    assert len(found) == 5


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no float64 unless it is asked for")
@pytest.mark.parametrize("mode", GATES)
def test_double_precision_stays(mode):
    x, h, c, params = (v.astype("float64") for v in inputs_of(mode, 2, 1))
    given = [keras.ops.convert_to_tensor(v) for v in (x, h, c, params)]
    found = keras.ops.convert_to_numpy(recurrent.cudnn_rnn_v2(*given, rnn_mode=mode)[0])
    assert found.dtype == "float64"
    np.testing.assert_allclose(found, reference(mode, 2, 1, params, x, h, c, [TIME] * BATCH)[0], rtol=1e-12)


def test_sequences_of_different_lengths_with_the_batch_first():
    x, h, c, params = inputs_of("lstm", 1, 2)
    lengths = np.array([2, 4], "int32")
    given = [keras.ops.convert_to_tensor(v) for v in (*(v.swapaxes(0, 1) for v in (x, h, c)), params, lengths)]
    found = recurrent.cudnn_rnn_v3(*given, direction="bidirectional", time_major=False)
    expected = reference("lstm", 1, 2, params, x, h, c, lengths)
    for a, b in zip(found[:3], expected, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(a), b.swapaxes(0, 1), atol=1e-6)


def test_gradients_by_finite_differences():
    x, h, c, params = inputs_of("lstm", 1, 1)
    weight = f(TIME, BATCH, UNITS)
    _, gradients = vjp(lambda *v: recurrent.cudnn_rnn(*v)[0], [x, h, c, params], [weight])

    def total(*values):
        wide = [np.asarray(v, "float64") for v in values]
        return (reference("lstm", 1, 1, wide[3], wide[0], wide[1], wide[2], [TIME] * BATCH)[0] * weight).sum()

    for position, gradient in enumerate(gradients):
        direction = R.standard_normal(gradient.shape)
        moved = [[v + s * 1e-5 * direction if i == position else v for i, v in enumerate((x, h, c, params))] for s in (1, -1)]
        slope = (total(*moved[0]) - total(*moved[1])) / 2e-5
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-4, atol=1e-5)


def test_dropout_between_layers_is_refused():
    x, h, c, params = inputs_of("lstm", 2, 1)
    with pytest.raises(UnhandledValueError, match="dropout"):
        recurrent.cudnn_rnn(x, h, c, params, dropout=0.5)
