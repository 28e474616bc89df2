"""`fit` on strings, which stay on the host by number, learns what it learns from the same strings packed into bytes."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

import thaw
from thaw.lowering.packing import Kept
from thaw.lowering.words import Vocabulary

SENTENCES = Path(__file__).parent / "models" / "seeds" / "nnlm_like"
TEXTS = np.array(["the movie was good", "The MOVIE was not great", "a great one", "", "not góod", "x" * 70] * 4, dtype=object)
LABELS = np.array([1, 0, 1, 0, 0, 1] * 4)


def learned(packed: bool) -> tuple[dict[str, Any], list[np.ndarray]]:
    keras.utils.set_random_seed(7)
    layer = thaw.KerasLayer(SENTENCES, trainable=True)
    texts: Any = layer.preprocess(TEXTS) if packed else TEXTS
    source = layer.preprocessed_input() if packed else keras.Input((), dtype="string")
    model = keras.Sequential([source, layer, keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    found = model.fit(
        texts,
        LABELS,
        batch_size=5,
        epochs=3,
        shuffle=True,
        verbose=0,
        validation_split=0.25,
        class_weight={0: 1.0, 1: 2.0},
    )
    return found.history, [np.asarray(keras.ops.convert_to_numpy(v.value)) for v in model.weights]


def test_fit_on_strings_is_fit_on_their_bytes_and_keeps_nothing() -> None:
    before = set(Kept._texts)  # of other tests in this process
    (history, weights), (of_bytes, weights_of_bytes) = learned(False), learned(True)
    assert history["loss"][-1] < history["loss"][0]
    for name, values in of_bytes.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5)
    for a, b in zip(weights, weights_of_bytes, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert set(Kept._texts) <= before


def test_epochs_after_the_first_split_no_text_again(monkeypatch: Any) -> None:
    if keras.config.backend() == "tensorflow":  # has strings of its own
        return
    asked: list[bytes] = []
    plain = Vocabulary.pieces

    def pieces(self: Vocabulary, key: Any, function: Any) -> Any:
        def noted(texts: np.ndarray) -> Any:
            asked.extend(texts.tolist())
            return function(texts)

        return plain(self, key, noted)

    monkeypatch.setattr(Vocabulary, "pieces", pieces)
    learned(False)
    texts = [text for text in asked if text.strip(b"a ")]  # without JAX's filler
    assert len(texts) == len(set(texts)) > 3
