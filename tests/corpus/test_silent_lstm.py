"""LSTM exports of TensorFlow 2.1 and 2.2, for whose recurrent weights TensorFlow's own gradient may be None, without a word.

Ours is the true one, by finite differences, and a fine-tuning step of those weights alone improves the loss: on an artifact laid
out as those exports (tools/make_silent_lstm.py), and on a published one where the recorded models are.
"""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

import thaw
from corpus import layouts
from corpus.goldens import as_numpy, off
from corpus.stages import Case, finite_difference_error, gradients_of

HERE = Path(__file__).resolve().parent
PUBLISHED = HERE.parents[2] / "shared" / "models" / "c_news_bilstm"
GOLDEN = HERE.parent / "golden" / "models" / "silent_lstm.npz"


@pytest.fixture(params=["laid-out-alike", "c_news_bilstm"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """The artifact, and a short text."""
    if request.param == "laid-out-alike":
        yield Case(HERE.parent / "models" / "behaviour" / "silent_lstm", {}, None, np.load(GOLDEN)["words"])
        return
    if not PUBLISHED.is_dir():
        pytest.skip("c_news_bilstm is not there: the recorded models are no part of the project")
    with layouts.laid_out(PUBLISHED) as path:
        yield Case(path, {}, None, np.array([[5, 90, 7, 300], [12, 4, 1, 2]], "float32"))


@pytest.mark.parametrize("weights", ["kernel", "recurrent_kernel", "bias"])
def test_gradient_of_recurrent_weights_is_that_of_finite_differences(case: Case, weights: str) -> None:
    # Under JAX the loop's own arithmetic stays float32.
    step, bound = (1e-3, 1e-3) if keras.backend.backend() == "jax" else (1e-5, 1e-7)
    error, count = finite_difference_error(case, only=f"lstm/{weights}", step=step)
    assert count == 2
    assert error < bound


def test_gradient_of_recurrent_weights_is_tensorflows_where_it_has_one() -> None:
    golden = np.load(GOLDEN)
    case = Case(HERE.parent / "models" / "behaviour" / "silent_lstm", {}, None, golden["words"])
    layer = case.layer()
    outputs = case.call(layer)
    assert off(as_numpy(outputs["0"]), golden["answer"]) < 1e-5
    found = gradients_of(layer, case, outputs, weights=[golden["answer"]]).by_name
    for name in set(golden.files) - {"words", "answer"}:
        assert off(found[name], golden[name]) < 1e-5, name


def test_fine_tuning_the_recurrent_weights_alone_improves_the_loss(case: Case) -> None:
    layer = thaw.KerasLayer(case.path)
    lstms = [n for n in layer.source_variables if "lstm/" in n]
    assert len(lstms) == 6
    thaw.unfreeze(layer, "*lstm*")
    assert len(layer.trainable_variables) == 6
    before = {name: as_numpy(v).copy() for name, v in layer.source_variables.items()}
    labels = np.array([1, 0])
    layer.compile(keras.optimizers.SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    start = layer.evaluate(case.inputs, labels, verbose=0)
    layer.fit(case.inputs, labels, verbose=0)
    assert layer.evaluate(case.inputs, labels, verbose=0) < start
    for name, variable in layer.source_variables.items():
        assert np.array_equal(before[name], as_numpy(variable)) != (name in lstms), name
