"""`.keras` files: those of Keras 3, and those that Keras 2.12 to 2.15 (and tf_keras) wrote in nearly the same layout.

Keras 3's own files get their weights by Keras itself, after every member was checked. Keras 2's are read here: one group for
each object, named for its class or attribute, with the object's own arrays under `vars`.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import keras

from thaw.errors import CorruptFileError, ThawError, WeightsMismatchError
from thaw.formats.keras_file.archive import KerasArchive, open_archive
from thaw.formats.keras_file.build import Built, build_model
from thaw.formats.keras_file.config import major_version, read_config
from thaw.formats.keras_file.hdf5 import open_hdf5, read_array
from thaw.formats.keras_file.layouts import Array
from thaw.formats.keras_file.parts import parts
from thaw.formats.keras_file.spec import LayerSpec
from thaw.formats.keras_file.training import compile_as_saved
from thaw.formats.keras_file.vocabulary import Vocabulary

__all__ = ["read_keras_zip", "read_zip_weights_into"]

_Tree: TypeAlias = dict[str, Any]
"""Groups by name, down to their arrays."""

_VOCABULARY = "vocabulary.txt"
_TWICE = "_layer_checkpoint_dependencies"
"""Where Keras 2.12 and 2.13 put the layers of a model: a dict that held each layer with weights twice. The second time takes a
number and stores nothing, so that the numbers of a class have gaps."""


def read_keras_zip(path: Path, vocabulary: Vocabulary) -> Any:
    """The model in a `.keras` zip."""
    with open_archive(path) as archive:
        config = archive.config()
        version = major_version(archive.version() or "2")
        spec = read_config(config, vocabulary, version=version, shown=path)
        with archive.weights() as copy:
            with open_hdf5(copy, path) as file:
                built = build_model(spec, version=version, elements=_elements(file), custom_objects=vocabulary.custom, shown=path)
                _load_vocabularies(archive, built)
                if version < 3:
                    _Loader(_tree(file, path), path).load(built)
            if version >= 3:
                _load_by_keras(built.model, copy, path)
        training = config.get("compile_config") if isinstance(config, dict) else None
    if training is not None:
        compile_as_saved(built.model, training, vocabulary)
    return built.model


def read_zip_weights_into(path: Path, model: Any) -> None:
    """Sets the weights of the user's `model` from a `.keras` zip."""
    with open_archive(path) as archive, archive.weights() as copy:
        with open_hdf5(copy, path):
            pass
        _load_by_keras(model, copy, path)


def _elements(file: h5py.File) -> int:
    total = 0

    def add(_: str, item: Any) -> None:
        nonlocal total
        if isinstance(item, h5py.Dataset):
            total += int(item.size or 0)

    file.visititems(add)
    return total


def _load_by_keras(model: Any, copy: Path, shown: Path) -> None:
    try:
        with warnings.catch_warnings():
            # Keras warns of optimizer state, which is not read.
            warnings.simplefilter("ignore")
            model.load_weights(str(copy))
    except ThawError:
        raise
    except Exception as error:  # Keras raises what h5py, zipfile and itself raise
        raise WeightsMismatchError(shown, [str(error)[:400]]) from error


def _tree(file: h5py.File, shown: Path) -> _Tree:
    """The groups and arrays of a file as nested dicts. On Windows, Keras 2 joined names of groups with backslashes."""
    root: _Tree = {}

    def add(name: str, item: Any) -> None:
        *parents, last = name.replace("\\", "/").split("/")
        at: Any = root
        for parent in parents:
            at = at.setdefault(parent, {})
            if not isinstance(at, dict):
                raise CorruptFileError(shown, f"its weights have the array {name!r} inside an array")
        if isinstance(item, h5py.Group):
            at.setdefault(last, {})
        else:
            at[last] = item

    file.visititems(add)
    return root


class _Loader:
    """Walks the groups of one Keras 2 weights file along the objects of a model."""

    def __init__(self, tree: _Tree, shown: Path) -> None:
        self.tree = tree
        self.shown = shown
        self.problems: list[str] = []
        self.loaded: set[int] = set()

    def load(self, built: Built) -> None:
        self._model(built, built.spec, self.tree)
        missing = [weight.path for weight in built.model.weights if id(weight) not in self.loaded]
        if missing and not self.problems:
            self.problems.append(f"nothing is stored for {', '.join(missing[:8])}")
        if self.problems:
            raise WeightsMismatchError(self.shown, self.problems)

    def _model(self, built: Built, spec: LayerSpec, group: Any) -> None:
        counts: dict[str, int] = defaultdict(int)
        layers = group.get("layers") if isinstance(group, dict) else None
        numbers: dict[str, list[int]] = {}
        if not isinstance(layers, dict) and isinstance(group, dict):
            layers = group.get(_TWICE)
            numbers = _numbers(layers) if isinstance(layers, dict) else {}
        for child in spec.children:
            key = _snake_case(child.class_name)
            number, counts[key] = counts[key], counts[key] + 1
            if key in numbers:
                number = numbers[key][number] if number < len(numbers[key]) else -1
            inner = built.layers.get(id(child))
            found = layers.get(f"{key}_{number}" if number else key) if isinstance(layers, dict) else None
            if inner is None or not isinstance(found, dict):
                continue
            if child.kind in ("functional", "sequential"):
                self._model(built, child, found)
            elif child.kind == "wrapper":
                self._model(built, child.children[0], found.get("layer"))
            else:
                self._layer(inner, found)

    def _layer(self, layer: Any, group: _Tree) -> None:
        for name, inside in group.items():
            if name == "vars":
                self._own(layer, inside)
                continue
            # Attributes that were private then are public now: `_query_dense`, `query_dense`.
            child = getattr(layer, name.lstrip("_"), None)
            if isinstance(inside, dict):
                for inner, found in _members(child, inside):
                    self._layer(inner, found)

    def _own(self, layer: Any, group: Any) -> None:
        if not isinstance(group, dict) or not group:
            return
        arrays: dict[str, Array] = {name: read_array(item, self.shown) for name, item in group.items()}
        try:
            layer.load_own_variables(arrays)
            if type(layer) is keras.layers.Discretization:
                layer.finalize_state()
        except Exception as error:  # whatever a layer of the user's, or of Keras', finds wrong
            self.problems.append(f"layer {layer.name!r}: {str(error)[:300]}")
        nested = {id(weight) for inner in parts(layer) for weight in inner.weights}
        self.loaded |= {id(weight) for weight in layer.weights if id(weight) not in nested}


def _numbers(layers: _Tree) -> dict[str, list[int]]:
    """The numbers in use behind each class's name, in order; the first of a class has none, which counts as 0."""
    found: dict[str, list[int]] = defaultdict(list)
    for name in layers:
        bare, _, number = name.rpartition("_")
        if bare and number.isdecimal() and number.isascii():
            found[bare].append(int(number))
        found[name].append(0)
    return {name: sorted(numbers) for name, numbers in found.items()}


def _members(child: Any, group: _Tree) -> Iterator[tuple[Any, _Tree]]:
    """The layers that an attribute holds, each with its group: the attribute itself, or the members of a list."""
    if hasattr(child, "load_own_variables"):
        yield child, group
    if isinstance(child, list | tuple):
        counts: dict[str, int] = defaultdict(int)
        for item in child:
            key = _snake_case(type(item).__name__)
            number, counts[key] = counts[key], counts[key] + 1
            found = group.get(f"{key}_{number}" if number else key)
            if isinstance(found, dict) and hasattr(item, "load_own_variables"):
                yield item, found


def _snake_case(class_name: str) -> str:
    bare = re.sub(r"\W+", "", class_name.rpartition(">")[2])
    bare = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", bare)
    return re.sub("([a-z])([A-Z])", r"\1_\2", bare).lower()


def _load_vocabularies(archive: KerasArchive, built: Built) -> None:
    """Gives lookup layers the vocabularies that lie beside the weights."""
    members = [name for name in archive.names() if name.startswith("assets/") and name.endswith(f"/{_VOCABULARY}")]
    for name in members:
        layer = _owner(built, name.split("/")[1:-1])
        if layer is None:
            raise CorruptFileError(archive.path, f"its member {name!r} belongs to no layer")
        words: list[Any] = archive.text(name).split("\n")
        try:
            if type(layer).__name__ == "IntegerLookup":
                words = [int(word) for word in words if word]
            layer.set_vocabulary(words)
        except Exception as error:  # what a lookup layer finds wrong with its words
            raise CorruptFileError(archive.path, f"the vocabulary {name!r} does not fit its layer: {str(error)[:200]}") from error


def _owner(built: Built, parts: list[str]) -> Any:
    """The lookup layer for an assets folder, as `layers/text_vectorization/_lookup_layer`."""
    spec, found = built.spec, None
    for part in parts:
        counts: dict[str, int] = defaultdict(int)
        for child in spec.children:
            key = _snake_case(child.class_name)
            number, counts[key] = counts[key], counts[key] + 1
            if part in (child.name, f"{key}_{number}" if number else key):
                spec, found = child, built.layers.get(id(child))
                break
    return found if hasattr(found, "set_vocabulary") else None
