"""Opens what Keras 1, 2 and 3 saved (`.h5`, `.keras`, SavedModels with Keras metadata) as native Keras 3 models.

Every layer comes back as Keras 3's own layer of that class, with its config and weights. Nothing that a file contains is
run: classes come from an allow-list, Lambda layers are refused by name. Models that cannot be rebuilt so still open by
their graph, if they are SavedModels (`thaw.KerasLayer`). Imports errors and the rooms' readers of protobufs and checkpoints.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from thaw.errors import MissingFileError, UnknownFormatError
from thaw.formats.keras_file.archive import is_keras_archive, is_of_thaw
from thaw.formats.keras_file.h5_file import read_h5_model, read_h5_weights_into
from thaw.formats.keras_file.hdf5 import is_hdf5
from thaw.formats.keras_file.saved_model import read_keras_saved_model
from thaw.formats.keras_file.vocabulary import Vocabulary
from thaw.formats.keras_file.zip_file import read_keras_zip, read_zip_weights_into
from thaw.wire.strangers import nature_of

__all__ = ["is_keras_file", "is_of_thaw", "open_keras_saved_model", "read_keras_file"]


def is_keras_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is Keras' own by its first bytes: HDF5, or a zip with a Keras config; its name does not matter."""
    file = Path(path)
    return file.is_file() and (is_hdf5(file) or is_keras_archive(file))


def read_keras_file(
    path: str | os.PathLike[str],
    *,
    custom_objects: Mapping[str, Callable[..., Any]] | None = None,
    into: keras.Model | None = None,
    plain: bool = False,
) -> keras.Model:
    """Opens a `.h5` or `.keras` file of Keras 1, 2 or 3 as a native Keras 3 model.

        model = read_keras_file("model.h5", custom_objects={"Attention": MyAttention})

    The model is compiled as the file says where Keras 3 has its optimizer and losses; the optimizer starts afresh.

    Args:
        path: The file. Its first bytes tell what it is, not its name.
        custom_objects: The user's layers and functions, by the names that the file gives them. A Lambda layer is replaced by
            the function or layer given under the layer's own name.
        into: A model built in code. Only its weights are read, by layer names or else in order; needed for files of weights
            alone, and returned.
        plain: Whether the model, once saved, must open without thaw; where that costs time, it is slower.

    Raises:
        UnknownFormatError: It is no Keras file.
        NoModelConfigError: It holds weights only, and `into` was not given.
        ConfigNotNativeError: It has classes, Python code, TensorFlow calls or arguments that Keras 3 does not have.
        WeightsMismatchError: The weights do not fit the layers.
        CorruptFileError: It is damaged or unsafe.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingFileError(file.parent, file.name, "a Keras file")
    hdf5 = is_hdf5(file)
    if not hdf5 and not is_keras_archive(file):
        looked = ["HDF5, as Keras 1 and 2 wrote", "a zip with config.json in it, as Keras 2.12 and later write"]
        with file.open("rb") as opened:
            nature = nature_of(opened.read(512))
        raise UnknownFormatError(file, looked, [file.name], nature)
    if into is not None:
        (read_h5_weights_into if hdf5 else read_zip_weights_into)(file, into)
        return into
    vocabulary = Vocabulary(custom_objects, plain=plain)
    return read_h5_model(file, vocabulary) if hdf5 else read_keras_zip(file, vocabulary)


def open_keras_saved_model(
    path: str | os.PathLike[str], *, custom_objects: Mapping[str, Callable[..., Any]] | None = None, plain: bool = False
) -> keras.Model:
    """Opens a SavedModel that Keras 2 exported as a native Keras 3 model, by the config that Keras put beside the graph.

    Args:
        path: The folder with `saved_model.pb`.
        custom_objects: The user's layers and functions, by the names that the config gives them.
        plain: As in `read_keras_file`.

    Raises:
        ConfigNotNativeError: It has no config, or one that Keras 3's layers cannot rebuild. Its graph still opens, with
            `thaw.KerasLayer(path)`.
        FormatError: It is damaged.
    """
    return read_keras_saved_model(Path(path), Vocabulary(custom_objects, plain=plain))
