"""The one table of what old Keras versions called things: classes, arguments, and what has no meaning any more.

Plain data and small functions over one layer's config; reads no file, builds nothing. Keras 1 names become Keras 2 names
first, Keras 2 names become Keras 3 names after. Imports nothing of thaw but the old activations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from thaw.formats.keras_file.activations import hard_sigmoid_keras2, hard_sigmoid_of_layers

__all__ = [
    "CLASSES", "DROPPED", "HARMLESS", "REFUSED", "RENAMED_FUNCTIONS", "SPELLED_OUT", "rename_arguments", "what_follows",
]  # fmt: skip

Config = dict[str, Any]

# Old class -> class of Keras 3. Those that need more than a name have a row in `_CHANGES`.
CLASSES: dict[str, str] = {
    "CuDNNLSTM": "LSTM",
    "CuDNNGRU": "GRU",
    "LSTMV2": "LSTM",
    "GRUV2": "GRU",
    "LSTMV1": "LSTM",
    "GRUV1": "GRU",
    "LSTMCellV2": "LSTMCell",
    "GRUCellV2": "GRUCell",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "ThresholdedReLU": "ReLU",
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "Deconvolution2D": "Conv2DTranspose",
    "Deconvolution3D": "Conv3DTranspose",
    "Convolution2DTranspose": "Conv2DTranspose",
    "Convolution3DTranspose": "Conv3DTranspose",
    "SeparableConvolution1D": "SeparableConv1D",
    "SeparableConvolution2D": "SeparableConv2D",
    "DepthwiseConvolution2D": "DepthwiseConv2D",
}

# Arguments without an effect on what the layer computes, or with none left: dropped without a word. "*" is every class.
DROPPED: dict[str, frozenset[str]] = {
    "*": frozenset({
        "implementation",
        "rng_type",
        "force_generator",
        "consume_less",
        "input_length",
        "batch_input_shape",
        "input_dtype",
        "build_input_shape",
        "expects_training_arg",
        "num_constants",
        "_keras_api_names",
        "has_input_vocabulary",
        "vocabulary_size",
    }),
    # The base class wrote its own arguments too; the depthwise_* and pointwise_* ones are those in use.
    "DepthwiseConv1D": frozenset({"filters", "kernel_initializer", "kernel_regularizer", "kernel_constraint"}),
    "DepthwiseConv2D": frozenset({"filters", "kernel_initializer", "kernel_regularizer", "kernel_constraint"}),
    "SeparableConv1D": frozenset({"kernel_initializer", "kernel_regularizer", "kernel_constraint"}),
    "SeparableConv2D": frozenset({"kernel_initializer", "kernel_regularizer", "kernel_constraint"}),
    "BatchNormalization": frozenset({"fused", "beta_init", "gamma_init", "renorm_clipping", "renorm_momentum", "mode"}),
    "MultiHeadAttention": frozenset({"query_shape", "key_shape", "value_shape", "softmax_robust_masking"}),
    "TextVectorization": frozenset({"dtype"}),
    "StringLookup": frozenset({"dtype"}),
    "IntegerLookup": frozenset({"dtype"}),
    "Hashing": frozenset({"dtype"}),
    "CategoryEncoding": frozenset({"dtype"}),
    "Discretization": frozenset({"dtype"}),
}

# (class or "*", argument) -> the value at which it meant nothing, besides None, False and empty.
HARMLESS: dict[tuple[str, str], tuple[Any, ...]] = {
    ("*", "groups"): (1,),
    ("*", "time_major"): (False,),
    ("*", "dim_ordering"): ("tf", "default", "channels_last"),
    ("*", "data_format"): ("channels_last", "default"),
    ("*", "mode"): (0,),
}

# Functions that have the same name and another formula in Keras 3.
RENAMED_FUNCTIONS: dict[str, Any] = {"hard_sigmoid": hard_sigmoid_keras2, "log_softmax_v2": "log_softmax"}

# The same without a function of thaw's own: by the dtype of its layer, the config of an object that Keras itself opens.
SPELLED_OUT: dict[str, Callable[[Any], Any]] = {"hard_sigmoid": hard_sigmoid_of_layers}

# (class, argument) -> the values of old versions that Keras 3 takes and cannot run.
REFUSED: dict[tuple[str, str], tuple[Any, ...]] = {
    ("Resizing", "interpolation"): ("area", "gaussian", "mitchellcubic"),
    ("UpSampling2D", "interpolation"): ("area", "gaussian", "mitchellcubic"),
    ("SeparableConv1D", "padding"): ("causal",),
}

# Keras 1 name -> Keras 2 name, by class.
_CONV1 = {"nb_filter": "filters", "filter_length": "kernel_size", "subsample_length": "strides", "atrous_rate": "dilation_rate"}
_CONV = {"nb_filter": "filters", "subsample": "strides", "atrous_rate": "dilation_rate"}
_KERNEL = {
    "init": "kernel_initializer",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "bias": "use_bias",
}
_RECURRENT = {
    "output_dim": "units",
    "init": "kernel_initializer",
    "inner_init": "recurrent_initializer",
    "inner_activation": "recurrent_activation",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "U_regularizer": "recurrent_regularizer",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
}
_KERAS1: dict[str, dict[str, str]] = {
    "Dense": {"output_dim": "units", **_KERNEL},
    "Conv1D": {**_CONV1, **_KERNEL},
    "Conv2D": {**_CONV, **_KERNEL},
    "Conv3D": {**_CONV, **_KERNEL},
    "Conv2DTranspose": {**_CONV, **_KERNEL},
    "SeparableConv2D": {**_CONV, "bias": "use_bias", "init": "depthwise_initializer"},
    "Embedding": {
        "init": "embeddings_initializer",
        "W_regularizer": "embeddings_regularizer",
        "W_constraint": "embeddings_constraint",
    },
    "SimpleRNN": _RECURRENT,
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "BatchNormalization": {
        "beta_init": "beta_initializer",
        "gamma_init": "gamma_initializer",
    },
    "Dropout": {"p": "rate"},
    "SpatialDropout1D": {"p": "rate"},
    "SpatialDropout2D": {"p": "rate"},
    "SpatialDropout3D": {"p": "rate"},
    "GaussianDropout": {"p": "rate"},
    "GaussianNoise": {"sigma": "stddev"},
    "MaxPooling1D": {"pool_length": "pool_size", "stride": "strides"},
    "AveragePooling1D": {"pool_length": "pool_size", "stride": "strides"},
    "UpSampling1D": {"length": "size"},
}
# Meaning the same everywhere.
_EVERYWHERE = {"border_mode": "padding"}


def rename_arguments(old_class: str, config: Config, *, version: int) -> tuple[str, Config]:
    """The Keras 3 class and arguments for a layer that a Keras of major `version` wrote."""
    cls = CLASSES.get(old_class, old_class)
    config = {key: _without_array(value) for key, value in config.items()}
    for old, new in {**_EVERYWHERE, **_KERAS1.get(cls, {})}.items():
        if old in config and new not in config:
            config[new] = config.pop(old)
    if config.get("dim_ordering") in ("tf", "th"):
        config["data_format"] = "channels_last" if config.pop("dim_ordering") == "tf" else "channels_first"
    change = _CHANGES.get(old_class) or _CHANGES.get(cls)
    if change is not None:
        change(config, version, old_class)
    return cls, config


def what_follows(cls: str, config: Config, *, version: int) -> tuple[str, Config] | None:
    """The class and arguments of the layer that must stand behind Keras 3's `cls`, for what an old one did; None for most.

    Source: tf_keras/src/layers/preprocessing/image_preprocessing.py, `RandomCrop`: images are cropped at random in training, and
    resized when they are only asked about, which Keras 3 leaves out. To what has its size already, `Resizing` does nothing.
    """
    if cls != "RandomCrop" or version >= 3:
        return None
    kept: Config = {key: config[key] for key in ("height", "width", "dtype") if key in config}
    return "Resizing", {**kept, "crop_to_aspect_ratio": True}


def _without_array(value: Any) -> Any:
    """Keras 2.0 to 2.2 wrote slopes and thresholds as arrays: `{"type": "ndarray", "value": 0.2}`."""
    return value["value"] if isinstance(value, dict) and set(value) == {"type", "value"} else value


def _rows_and_columns(config: Config, version: int, old: str) -> None:
    if "nb_row" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col")]
    if "kernel_dim1" in config:
        config["kernel_size"] = [config.pop(f"kernel_dim{axis}") for axis in (1, 2, 3)]
    config.pop("output_shape", None)


def _norm_axis(config: Config, version: int, old: str) -> None:
    # Keras 2 wrote the axis as a list of one, and its wrapper of a list as a dict.
    axis = config.get("axis")
    if isinstance(axis, list | tuple) and len(axis) == 1:
        config["axis"] = axis[0]
    if old == "SyncBatchNormalization":
        config["synchronized"] = True
    if config.get("synchronized") and keras.backend.backend() != "tensorflow":
        # Only TensorFlow has devices to synchronize in one step; on one device nothing differs.
        del config["synchronized"]


def _recurrent(config: Config, version: int, old: str) -> None:
    # Before reset_after and sigmoid became the defaults, configs did not always say.
    if version < 3:
        if old in ("CuDNNLSTM", "CuDNNGRU"):
            config.update(activation="tanh", recurrent_activation="sigmoid")
            config["reset_after"] = True
        elif not old.startswith("SimpleRNN"):
            config.setdefault("recurrent_activation", "hard_sigmoid")
            if not old.startswith("ConvLSTM"):
                config.setdefault("reset_after", False)
        if not old.startswith(("GRU", "CuDNNGRU")):
            config.pop("reset_after", None)
        if "LSTM" not in old:
            config.pop("unit_forget_bias", None)
        if config.get("forget_bias_init") is not None:
            config["unit_forget_bias"] = config.pop("forget_bias_init") == "one"


def _leaky(config: Config, version: int, old: str) -> None:
    if "alpha" in config:
        config["negative_slope"] = float(config.pop("alpha"))


def _relu(config: Config, version: int, old: str) -> None:
    if "theta" in config:
        config["threshold"] = float(config.pop("theta"))


def _embedding(config: Config, version: int, old: str) -> None:
    # Keras 1 and 2.0 gave the dtype of the indices; that of the table is a float.
    if isinstance(config.get("dtype"), str) and config["dtype"].startswith(("int", "uint")):
        del config["dtype"]
    if not config.get("dropout"):
        config.pop("dropout", None)


def _category(config: Config, version: int, old: str) -> None:
    if "max_tokens" in config and "num_tokens" not in config:
        config["num_tokens"] = config.pop("max_tokens")
    if config.get("output_mode") == "binary":
        config["output_mode"] = "multi_hot"
    config.pop("max_tokens", None)


def _lookup(config: Config, version: int, old: str) -> None:
    if config.get("output_mode") == "binary":
        config["output_mode"] = "multi_hot"
    if "max_values" in config:
        config["max_tokens"] = config.pop("max_values")
    if old == "TextVectorization" and config.get("output_mode") == "tf-idf":
        config["output_mode"] = "tf_idf"
    if config.get("output_mode") != "tf_idf":
        config.pop("idf_weights", None)


def _normalization(config: Config, version: int, old: str) -> None:
    axis = config.get("axis")
    if isinstance(axis, tuple):
        config["axis"] = list(axis)


def _hashing(config: Config, version: int, old: str) -> None:
    if isinstance(config.get("salt"), list) and len(config["salt"]) == 1:
        config["salt"] = config["salt"][0]


def _discretization(config: Config, version: int, old: str) -> None:
    if "bins" in config:
        config["bin_boundaries"] = config.pop("bins")


_CHANGES: dict[str, Callable[[Config, int, str], None]] = {
    "Conv2D": _rows_and_columns,
    "Conv3D": _rows_and_columns,
    "Conv2DTranspose": _rows_and_columns,
    "Conv3DTranspose": _rows_and_columns,
    "SeparableConv2D": _rows_and_columns,
    "BatchNormalization": _norm_axis,
    "LayerNormalization": _norm_axis,
    "Softmax": _norm_axis,
    "SimpleRNN": _recurrent,
    "SimpleRNNCell": _recurrent,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "LSTMCell": _recurrent,
    "GRUCell": _recurrent,
    "ConvLSTM1D": _recurrent,
    "ConvLSTM2D": _recurrent,
    "ConvLSTM3D": _recurrent,
    "LeakyReLU": _leaky,
    "ReLU": _relu,
    "Embedding": _embedding,
    "CategoryEncoding": _category,
    "StringLookup": _lookup,
    "IntegerLookup": _lookup,
    "TextVectorization": _lookup,
    "Normalization": _normalization,
    "Hashing": _hashing,
    "Discretization": _discretization,
}
