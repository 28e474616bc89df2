"""KerasLayer: arguments that contradict the artifact, inner layers that are not there, weights that never came; relaxing."""

from pathlib import Path

import numpy as np

import thaw
from provoke import Row
from thaw.errors import HubArgumentError, RelaxationError, UnknownLayerError, WeightsMissingError

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "samples" / "digits"


def weights_never_loaded(tmp_path: Path) -> None:
    config = thaw.KerasLayer(DIGITS).get_config()
    config["handle"] = str(tmp_path / "gone")
    thaw.KerasLayer.from_config(config)(np.zeros((1, 8, 8, 1), "float32"))


ROWS = [
    Row(
        HubArgumentError,
        lambda _: thaw.KerasLayer(DIGITS, signature="serving_default"),
        "The signature 'serving_default' is given without saying which of its outputs to return",
        "Expected output_key= one of",
        "Pass one of the two",
    ),
    Row(
        UnknownLayerError,
        lambda _: thaw.KerasLayer(DIGITS).get_layer("featurs"),
        "'featurs' picks no inner layer of",
        "There are: 'features",
        "Use one of these names or paths",
    ),
    Row(
        WeightsMissingError,
        weights_never_loaded,
        "was made from a config without weights",
        "Expected `load_weights`",
        "Load the weights before you call it",
    ),
    Row(
        RelaxationError,
        lambda _: thaw.relax(thaw.KerasLayer(DIGITS), "ArgMax", "soft"),
        "'ArgMax' cannot be relaxed by 'soft'",
        "Expected one of",
        "`thaw.explain` names the op in the way",
    ),
]
