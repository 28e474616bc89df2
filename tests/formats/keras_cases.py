"""The table of Keras files in tests/models/keras2 (written by tools/make_keras_files.py) and what each must become."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

FILES = Path(__file__).parents[1] / "models" / "keras2"


class Scale(keras.layers.Layer):
    """A user's layer, as in the file that tf_keras wrote with its own."""

    def __init__(self, factor: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape: Any) -> None:
        self.w = self.add_weight(name="w", shape=(shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        return x * self.w * self.factor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


@dataclass(frozen=True)
class Case:
    """One file: `name` is that of its recorded answers, `file` its own."""

    file: str
    layers: dict[str, str] = field(default_factory=dict)
    """Some of its layers, by name, with the Keras 3 class that each must be."""
    custom_objects: dict[str, Any] = field(default_factory=dict)
    trainable: int | None = None
    """How many trainable weights, where that is not all that Keras says."""
    backends: tuple[str, ...] = ("jax", "torch", "tensorflow")

    @property
    def name(self) -> str:
        return self.file.removesuffix("_saved_model").partition(".")[0]

    @property
    def path(self) -> Path:
        return FILES / self.file


_SEQUENTIAL = {"leaky_re_lu": "LeakyReLU", "thresholded_re_lu": "ReLU", "batch_normalization": "BatchNormalization"}
_NESTED = {"encoder": "Functional", "tower": "Sequential", "shared": "Dense", "gap": "Subtract"}
_RECURRENT = {"gru_after": "GRU", "gru_before": "GRU", "both": "Bidirectional", "each": "TimeDistributed", "stack": "RNN"}
_CONVOLUTIONS = {"depthwise": "DepthwiseConv2D", "separable": "SeparableConv2D", "up": "Conv2DTranspose", "prelu": "PReLU"}
_ATTENTION = {"heads": "MultiHeadAttention", "dot": "Attention", "einsum": "EinsumDense", "groups": "GroupNormalization"}
_PREPROCESSING = {"norm": "Normalization", "rescale": "Rescaling", "encode": "CategoryEncoding"}

CASES = [
    *(Case(f"sequential.{kind}", _SEQUENTIAL) for kind in ("h5", "keras")),
    *(Case(f"functional.{kind}", {"table": "Embedding", "reader": "LSTM"}) for kind in ("h5", "keras")),
    *(Case(file, _NESTED, trainable=10) for file in ("nested.h5", "nested.keras", "nested_saved_model")),
    Case("nested_frozen.h5", _NESTED, trainable=6),
    *(Case(f"recurrent.{kind}", _RECURRENT) for kind in ("h5", "keras")),
    *(Case(f"convolutions.{kind}", _CONVOLUTIONS) for kind in ("h5", "keras")),
    *(Case(f"video.{kind}", {"frames": "TimeDistributed", "memory": "LSTM"}) for kind in ("h5", "keras")),
    *(Case(f"attention.{kind}", _ATTENTION) for kind in ("h5", "keras")),
    *(Case(f"tf_calls.{kind}", {"dense": "Dense"}) for kind in ("h5", "keras")),
    *(Case(f"custom.{kind}", {"scale": "Scale"}, {"Scale": Scale}) for kind in ("h5", "keras")),
    *(Case(f"preprocessing.{kind}", _PREPROCESSING) for kind in ("h5", "keras")),
    *(Case(f"text.{kind}", {"vectorize": "TextVectorization"}, backends=("tensorflow",)) for kind in ("h5", "keras")),
    Case("more_calls.h5", {"dense": "Dense"}),
    Case("spread.h5", {"spread": "Discretization", "norm": "Normalization"}),
    Case("masks.h5", {"table_v1": "Embedding", "head_v1": "Sequential"}),
    Case("merged.h5", {"product": "Multiply", "heads": "MultiHeadAttention", "tables": "TimeDistributed"}),
    Case("allowed.h5", {"alone": "MultiHeadAttention"}),
    *(Case(f"cropped.{kind}", {"larger": "RandomCrop", "larger_resized": "Resizing"}) for kind in ("h5", "keras")),
    Case("keras23_sequential.h5", {"spatial_dropout1d_1": "SpatialDropout1D", "gru_1": "GRU"}),
    Case("keras23_nested.h5", {"features": "Functional", "separable_conv2d_1": "SeparableConv2D"}),
    Case("keras23_cudnn.h5", {"both": "Bidirectional", "g": "GRU"}),
    Case("tf115_ops.h5", {"lstm": "LSTM"}),
    Case("keras1_tensorflow_functional.h5", {"conv": "Conv2D", "join": "Concatenate", "plus": "Add"}),
    Case("keras1_tensorflow_sequential.h5", {"lstm": "LSTM", "both": "Bidirectional", "each": "TimeDistributed"}),
    Case("keras1_theano_functional.h5", {"conv": "Conv2D"}),
    Case("keras1_theano_sequential.h5", {"conv": "Conv1D"}),
]


def answers(name: str) -> tuple[Any, list[np.ndarray]]:
    """The recorded inputs, as a model takes them, and outputs."""
    with np.load(FILES / f"{name}.npz") as recorded:
        inputs = [recorded[f"in:{i}"] for i in range(len(recorded)) if f"in:{i}" in recorded]
        outputs = [recorded[f"out:{i}"] for i in range(len(recorded)) if f"out:{i}" in recorded]
    tensors = [keras.ops.convert_to_tensor(value) for value in inputs]
    return tensors if len(tensors) > 1 else tensors[0], outputs


def flat(outputs: Any) -> list[np.ndarray]:
    """Nested tensors as numpy arrays."""
    return [keras.ops.convert_to_numpy(value) for value in keras.tree.flatten(outputs)]


def edited_config(source: Path, target: Path, edit: Callable[[Any], None]) -> Path:
    """A copy of an HDF5 file with another model config."""
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        edit(config)
        file.attrs["model_config"] = json.dumps(config)
    return target
