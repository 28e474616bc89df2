"""What is measured: one `Artifact` a row of the table, from the modules beside this one that hold some.

A module that wants rows in the table is named in `MODULES` and has a list `ARTIFACTS`; it imports nothing heavy at its top,
since the import of the frameworks is one of the things measured.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MODULES = ("nets", "nnlm", "elmo")
CLASSES = 5


def by_call(module: Any, training: bool) -> Callable[[Any], Any]:
    """What raw TensorFlow calls in a reusable SavedModel."""
    return lambda x: module(x, training=training)


@dataclass(frozen=True)
class Peer:
    """A side that only one artifact has: what the table calls it, and what measures it, given the arguments of worker.py."""

    label: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Artifact:
    """One artifact, built by its publishers' own software with random weights, and its twin in Keras 3.

    Attributes:
        name: of the row.
        batch: rows of a batch.
        input: arguments of `keras.Input`.
        output: the shape that the artifact gives for one row. The head that is trained on it is a Dense(5) on its last axis.
        build: writes the artifact into a folder; runs where TensorFlow and tf_keras are.
        inputs: so many rows of input (strings as an object array).
        native: the same net by Keras 3's own layers, on the backend in use; None where there is none.
        layer: further arguments of `thaw.KerasLayer` and `hub.KerasLayer` (signature, output_key).
        tags: the tags that `tf.saved_model.load` needs.
        raw: given what `tf.saved_model.load` gave and whether the call trains, the function to call.
        without: sides that are left out, each with its reason.
        peers: further sides, by kind.
        prepare: what is done to thaw's layer before it trains; None where it trains what its publisher meant to be trained.
        optimizer: the class of `keras.optimizers` that trains it, also on tf_keras.
        epoch: so many batches are one epoch of `fit`, which is timed as well; 0: it is not.
        seconds: how long repeated calls may take, each kind, after the least number of them.
    """

    name: str
    batch: int
    input: Mapping[str, Any]
    output: tuple[int, ...]
    build: Callable[[Path], None]
    inputs: Callable[[int], np.ndarray]
    native: Callable[[], Any] | None
    layer: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] | None = None
    raw: Callable[[Any, bool], Callable[[Any], Any]] = by_call
    without: Mapping[str, str] = field(default_factory=dict)
    peers: Mapping[str, Peer] = field(default_factory=dict)
    prepare: Callable[[Any], None] | None = None
    optimizer: str = "SGD"
    epoch: int = 0
    seconds: float = 3.0

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """One batch: inputs, and a label of five classes for every position that the head answers."""
        labels = np.random.default_rng(1).integers(0, CLASSES, (self.batch, *self.output[:-1]))
        return self.inputs(self.batch), labels


def artifacts() -> dict[str, Artifact]:
    """All of them, by name, in the order of the table."""
    modules = [importlib.import_module(m) for m in MODULES if importlib.util.find_spec(m)]
    return {artifact.name: artifact for module in modules for artifact in module.ARTIFACTS}


def reusable(model: Any, folder: Path, spec: Any) -> None:
    """Writes a tf_keras model as TF-Hub's publishers did: `__call__` with `training`, and the lists of variables."""
    import tensorflow as tf

    module = tf.train.Checkpoint(model=model)
    module.variables = model.variables
    module.trainable_variables = model.trainable_variables
    module.regularization_losses = []
    module.__call__ = tf.function(lambda inputs, training=False: model(inputs, training=training))
    for training in (True, False):
        module.__call__.get_concrete_function(spec, training=training)
    tf.saved_model.save(module, str(folder))
