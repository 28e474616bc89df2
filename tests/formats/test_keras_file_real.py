"""Keras files and SavedModels that others published open as native models with TensorFlow's recorded outputs."""

import json
import tarfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from formats.keras_cases import flat
from thaw.errors import ConfigNotNativeError, NoModelConfigError
from thaw.formats.keras_file import is_keras_file, open_keras_saved_model, read_keras_file

MODELS = Path(__file__).parents[3] / "shared" / "models"
pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="the real models in ../shared/models are not here")

# name: (layers, weights)
NATIVE = {
    "e_heart_h5": (4, 8),
    "e_midinet_h5": (5, 8),
    "e_minixception_h5": (46, 80),
    "e_sentiment_h5": (3, 9),
    "e_transformer_keras": (13, 19),
    "c_chess": (7, 24),
    "c_lstm_tfnet": (2, 5),
    "c_multi_input_stock": (4, 6),
    "c_multineuron_waterlevel": (4, 8),
    "c_news_bilstm": (4, 11),
    "c_resnet_davidnet": (25, 50),
    "c_rossman_dnn": (13, 26),
    "c_spam_elvictor": (7, 9),
}
REFUSED = {
    "c_cnn1d_waterlevel": "Lambda layer 'lambda'",
    "c_hubmobilenetv2_martsec": "'Mobilenet'",
    "c_pets_tabular": "cannot be rebuilt",
    "c_tfx_keras_penguin": "TransformFeaturesLayer",
    "c_transformer_tabular": "Keras did not save it",
    "c_unet_lennyz": "'Argmax'",
    "c_vae": "'BetaVAE'",
}


def unpacked(name: str, folder: Path) -> Path:
    with tarfile.open(MODELS / name / "model.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    found = list(folder.rglob("saved_model.pb"))
    if found:
        return found[0].parent
    return next(path for path in folder.rglob("*") if path.is_file() and is_keras_file(path))


def opened(path: Path, **options: Any) -> Any:
    return (open_keras_saved_model if path.is_dir() else read_keras_file)(path, **options)


@pytest.mark.parametrize("name", NATIVE)
def test_real_model_is_native_and_answers_as_tensorflow(name: str, tmp_path: Path) -> None:
    model = opened(unpacked(name, tmp_path))
    assert (len(model.layers), len(model.weights)) == NATIVE[name]
    card = json.loads((MODELS / name / "card.json").read_text())
    variants = [variant for variant in card["variants"] if variant == "/keras" or variant.endswith("[training=False]")]
    if not variants:  # Keras 2 could not load it, so nothing is recorded
        return
    with np.load(MODELS / name / "golden.npz") as golden:
        prefix = f"{variants[0]}|in|"
        given = {key.removeprefix(prefix): golden[key] for key in golden.files if key.startswith(prefix)}
        count = sum(key.startswith(f"{variants[0]}|out|") for key in golden.files)
        recorded = [golden[f"{variants[0]}|out|{i}"] for i in range(count)]
    names = [tensor.name for tensor in model.inputs]
    values = [given[key] for key in names] if set(names) <= set(given) else list(given.values())
    found = flat(model.predict_on_batch(values if len(values) > 1 else values[0]))
    assert len(found) == len(recorded)
    for value, expected in zip(found, recorded, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_real_model_without_a_native_form_says_why(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigNotNativeError) as caught:
        opened(unpacked(name, tmp_path))
    assert REFUSED[name] in str(caught.value)


def test_a_lambda_of_the_users_opens_what_was_refused(tmp_path: Path) -> None:
    path = unpacked("e_lstm_meteo_keras", tmp_path)
    with pytest.raises(ConfigNotNativeError, match="slice_last_window"):
        read_keras_file(path)
    model = read_keras_file(path, custom_objects={"slice_last_window": lambda x: x[:, -7:, :]})
    assert type(model.get_layer("lstm_10")) is keras.layers.LSTM


def test_weights_alone_say_so(tmp_path: Path) -> None:
    with tarfile.open(MODELS / "e_crepe_tiny_h5" / "model.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    with pytest.raises(NoModelConfigError, match="29 layers"):
        read_keras_file(next(tmp_path.rglob("*.h5")))
