"""KerasLayer: arguments that contradict the artifact, inner layers that are not there, weights that never came; relaxing."""

from pathlib import Path

import numpy as np

import thaw
from provoke import Row
from thaw.errors import (
    ExportTargetError,
    HubArgumentError,
    InsideLoopError,
    NotExportableError,
    PieceError,
    RelaxationError,
    SizeNotFreeError,
    UnknownLayerError,
    WeightsMissingError,
)

ROOT = Path(__file__).resolve().parents[2]
LOOPS = ROOT / "tests" / "models" / "tf1" / "control_flow"
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
        InsideLoopError,
        lambda _: thaw.KerasLayer(LOOPS, outputs="while/add"),
        "'while/add' is inside of the loop",
        "Expected a tensor outside of loops and branches",
        "Name what goes into it or comes out of it",
    ),
    Row(
        PieceError,
        lambda _: thaw.KerasLayer(DIGITS, inputs="digits/features/BiasAdd", outputs="digits/block_0_relu/Relu"),
        "The outputs 'digits/block_0_relu/Relu' cannot be computed from these inputs: nothing is computed from",
        "Expected `inputs=` that lie before the outputs",
        "Leave out what is not needed",
    ),
    Row(
        NotExportableError,
        lambda tmp_path: thaw.export(thaw.KerasLayer(DIGITS, outputs="digits/block_0_relu/Relu"), tmp_path / "out"),
        "cannot be written back: the layer runs another graph than the artifact holds: 'outputs'",
        "Expected a `thaw.KerasLayer` with the graph that it was opened with",
        "`model.save` keeps everything for Keras",
    ),
    Row(
        ExportTargetError,
        lambda tmp_path: thaw.export(thaw.KerasLayer(DIGITS), tmp_path / "nowhere" / "out"),
        "which does not exist",
        "Expected a new or empty folder",
        "Make that folder, or name another",
    ),
    Row(
        SizeNotFreeError,
        lambda _: thaw.KerasLayer(DIGITS, free_sizes=True)(np.zeros((1, 16, 16, 1), "float32")),
        "The graph does not run on inputs of shape [1, 16, 16, 1]: Node ",
        "Expected shapes like the published [1, 8, 8, 1]",
        "Resize what you feed",
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
