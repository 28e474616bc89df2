"""An error on the host inside a compiled step reaches the user as itself, and costs no weights."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import thaw
from thaw.errors import HostPaddingError
from thaw.lowering.host import TextProgram
from thaw.trainable import watch

SENTENCES = Path(__file__).parent / "models" / "seeds" / "nnlm_like"
TEXTS = np.array(["the movie was good", "the movie was not great", "a great one", "not good"] * 4, dtype=object)
LABELS = np.array([1, 0, 1, 0] * 4)
CALLS = {
    "fit": lambda model: model.fit(TEXTS, LABELS, batch_size=4, verbose=0),
    "evaluate": lambda model: model.evaluate(TEXTS, LABELS, batch_size=4, verbose=0),
    "predict": lambda model: model.predict(TEXTS, batch_size=4, verbose=0),
    "train_on_batch": lambda model: model.train_on_batch(TEXTS, LABELS),
}


class Failing:
    """Lets the host part of a layer fail once, at its n-th run from now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        plain = TextProgram._host

        def host(program: TextProgram, inputs: Any) -> Any:
            self.left -= inputs[0].size > 1  # not where one text is looked at before the step
            if self.left == 0 and inputs[0].size > 1:
                raise HostPaddingError("made up")
            return plain(program, inputs)

        monkeypatch.setattr(TextProgram, "_host", host)


def values(model: keras.Model) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(v.value)) for v in model.weights]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_error_of_the_host_part_arrives_and_weights_stay(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SPARE_SHARE", float("inf"))  # a copy at every step
    layer = thaw.KerasLayer(SENTENCES, trainable=True)
    model = keras.Sequential([keras.Input((), dtype="string"), layer, keras.layers.Dense(2)])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    failing = Failing(monkeypatch)
    for call in CALLS.values():
        call(model)
    for name, call in CALLS.items():
        before = values(model)
        failing.left = 1 if name == "train_on_batch" else 3
        with pytest.raises(HostPaddingError, match="made up"):
            call(model)
        if keras.config.backend() == "jax" or name in ("evaluate", "predict", "train_on_batch"):
            for a, b in zip(values(model), before, strict=True):
                np.testing.assert_array_equal(a, b)
        model.fit(TEXTS, LABELS, batch_size=4, verbose=0)
        assert all(np.isfinite(v).all() for v in values(model))
