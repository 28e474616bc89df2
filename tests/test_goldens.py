"""Whole nets against TensorFlow's own outputs, gradients and updated statistics, replayed on the running backend."""

from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from gradients import vjp

HERE = Path(__file__).parent
NETS = ("convnet", "transformer")


def close(ours, theirs, what, tolerance=1e-5):
    difference = np.abs(np.asarray(ours, "float64") - theirs).max() / max(np.abs(theirs).max(), 1e-6)
    assert difference <= tolerance, f"{what}: {difference:.1e}"


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("net", NETS)
def test_outputs_gradients_and_statistics_equal_tensorflows(net, training):
    golden = np.load(HERE / "golden" / "models" / f"{net}.npz")
    kind = "training" if training else "inference"
    layer = thaw.KerasLayer(HERE / "models" / "behaviour" / net, trainable=True)
    variables = {n: v for n, v in layer.source_variables.items() if v.trainable}
    after = {}

    def run(*values):
        with keras.StatelessScope(state_mapping=list(zip(variables.values(), values, strict=True))):
            return layer(golden["input"], training=training)

    values = [keras.ops.convert_to_numpy(v) for v in variables.values()]
    (output,), gradients = vjp(run, values, [golden["cotangent"]], jit=True)
    close(output, golden[f"{kind}|output"], "output")
    # A shift before a normalization by batch statistics has the gradient zero, and what is computed for it is rounding.
    largest = max(np.abs(golden[key]).max() for key in golden.files if key.startswith(f"{kind}|gradient|"))
    for name, gradient in zip(variables, gradients, strict=True):
        theirs = golden[f"{kind}|gradient|{name}"]
        difference = np.abs(gradient - theirs).max() / max(np.abs(theirs).max(), 1e-3 * largest)
        assert difference <= 1e-5, f"gradient of {name}: {difference:.1e}"
    expected = {key.split("|")[2] for key in golden.files if key.startswith("training|after|")} if training else set()
    before = {n: keras.ops.convert_to_numpy(v).copy() for n, v in layer.source_variables.items()}
    layer(golden["input"], training=training)
    for name, variable in layer.source_variables.items():
        after = keras.ops.convert_to_numpy(variable)
        if name in expected:
            close(after, golden[f"training|after|{name}"], f"{name} after the step")
        else:
            np.testing.assert_array_equal(after, before[name], err_msg=name)
    assert not training or net != "convnet" or len(expected) == 6
