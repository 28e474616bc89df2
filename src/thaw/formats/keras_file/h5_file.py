"""Keras' own HDF5 files: models with their config (`.h5`, `.hdf5`, or `.keras` by name only), and files of weights alone.

Imports the safe reader of `hdf5`, `config`, `build` and `weights`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

from thaw.errors import CorruptFileError, NoModelConfigError
from thaw.formats.keras_file.archive import parse_json
from thaw.formats.keras_file.build import build_model
from thaw.formats.keras_file.config import major_version, read_config
from thaw.formats.keras_file.hdf5 import attribute, open_hdf5, read_array
from thaw.formats.keras_file.training import compile_as_saved
from thaw.formats.keras_file.vocabulary import Vocabulary
from thaw.formats.keras_file.weights import Stored, assign_weights, assign_weights_into

__all__ = ["read_h5_model", "read_h5_weights_into"]


def read_h5_model(path: Path, vocabulary: Vocabulary) -> Any:
    """The model in an HDF5 file of Keras 1, 2 or 3."""
    with open_hdf5(path) as file:
        text = attribute(file, "model_config", path)
        if text is None:
            raise NoModelConfigError(path, _layer_names(_weights_group(file, path), path))
        version = major_version(attribute(file, "keras_version", path))
        spec = read_config(parse_json(str(text), path), vocabulary, version=version, shown=path)
        group = _weights_group(file, path)
        stored = _stored(group, path)
        elements = sum(int(item.value.size) for arrays in stored.values() for item in arrays)
        built = build_model(spec, version=version, elements=elements, custom_objects=vocabulary.custom, shown=path)
        backend = str(attribute(file, "backend", path) or "") or _guessed_backend(stored)
        assign_weights(built, stored, version=version, backend=backend, shown=path)
        training = attribute(file, "training_config", path)
    if training is not None:
        compile_as_saved(built.model, parse_json(str(training), path), vocabulary)
    return built.model


def read_h5_weights_into(path: Path, model: Any) -> None:
    """Sets the weights of the user's `model` from an HDF5 file, with or without a config."""
    with open_hdf5(path) as file:
        group = _weights_group(file, path)
        version = major_version(attribute(group, "keras_version", path) or attribute(file, "keras_version", path))
        stored = _stored(group, path)
        backend = str(attribute(group, "backend", path) or attribute(file, "backend", path) or "") or _guessed_backend(stored)
        assign_weights_into(model, stored, version=version, backend=backend, shown=path)


def _weights_group(file: h5py.File, path: Path) -> h5py.Group:
    if isinstance(file.get("model_weights"), h5py.Group):
        return file["model_weights"]
    if attribute(file, "layer_names", path) is not None:
        return file
    raise CorruptFileError(path, "this HDF5 file holds neither a Keras model config nor Keras layers")


def _guessed_backend(stored: Mapping[str, Sequence[Stored]]) -> str:
    """Keras 1 did not write its backend; TensorFlow's variables are named with an output number, as `w:0`, Theano's are not."""
    names = [item.name for arrays in stored.values() for item in arrays]
    return "theano" if names and not any(":" in name for name in names) else "tensorflow"


def _layer_names(group: h5py.Group, path: Path) -> list[str]:
    return [str(name) for name in attribute(group, "layer_names", path) or ()]


def _stored(group: h5py.Group, path: Path) -> dict[str, list[Stored]]:
    """The arrays of each layer, in the order that the file's attributes give."""
    stored: dict[str, list[Stored]] = {}
    for layer in _layer_names(group, path):
        inner = group.get(layer)
        if not isinstance(inner, h5py.Group):
            raise CorruptFileError(path, f"it lists the layer {layer!r} and has nothing for it")
        arrays = []
        for name in attribute(inner, "weight_names", path) or ():
            if name not in inner:
                raise CorruptFileError(path, f"it lists the weight {name!r} of {layer!r} and has no such array")
            arrays.append(Stored(str(name), read_array(inner[name], path)))
        stored[layer] = arrays
    return stored
