"""Keras' SavedModels: the config from `keras_metadata.pb` (2.5 on) or the object graph (before), weights from the checkpoint.

Opens them as native Keras 3 models; what has no config, or a class that is not known, is left to the graph road by
ConfigNotNativeError. Imports the readers of protobufs and checkpoints, `config`, `build` and `weights`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thaw.errors import ConfigNotNativeError, CorruptFileError
from thaw.formats.bundle import Bundle
from thaw.formats.files import DirectoryFiles, Files
from thaw.formats.graph_def import is_index
from thaw.formats.keras_file.archive import parse_json
from thaw.formats.keras_file.build import build_model
from thaw.formats.keras_file.config import major_version, read_config
from thaw.formats.keras_file.spec import LayerSpec
from thaw.formats.keras_file.training import compile_as_saved
from thaw.formats.keras_file.vocabulary import Vocabulary
from thaw.formats.keras_file.weights import Stored, assign_weights
from thaw.formats.text import with_binary_graph
from thaw.wire.protos import Message, parse

__all__ = ["read_keras_saved_model"]

_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"


def read_keras_saved_model(path: Path, vocabulary: Vocabulary) -> Any:
    """The Keras model in a SavedModel folder.

    Raises:
        ConfigNotNativeError: Keras did not write it, wrote no config, or the config has what Keras 3 does not.
        FormatError: The files are damaged.
    """
    files = with_binary_graph(DirectoryFiles(path))
    saved = parse("SavedModel", files.read("saved_model.pb"), str(path))
    graphs = [graph for graph in saved.meta_graphs if len(graph.object_graph_def.nodes)]
    metadata = _metadata(files, graphs[0].object_graph_def.nodes if graphs else (), path)
    root = metadata.get(0)
    if root is None:
        raise ConfigNotNativeError(path, reason="Keras did not save it, or saved it without metadata.")
    config = {"class_name": root.get("class_name"), "config": root.get("config")}
    inner = config["config"]
    if not isinstance(inner, dict) or "layer was saved without config" in inner:
        name = str(root.get("class_name"))
        raise ConfigNotNativeError(path, unknown={name: ["the model"]}, reason="Its model was saved without a config.")
    spec = read_config(config, vocabulary, version=min(2, major_version(root.get("keras_version") or "2")), shown=path)
    if spec.kind not in ("functional", "sequential"):
        raise ConfigNotNativeError(path, reason=f"Its model is a {spec.class_name}, whose layers the config does not list.")
    stored = _stored(files, graphs[0].object_graph_def.nodes, metadata, spec, path)
    elements = sum(int(item.value.size) for arrays in stored.values() for item in arrays)
    built = build_model(spec, version=2, elements=elements, custom_objects=vocabulary.custom, shown=path)
    _refuse_tables(built.children(spec), stored, path)
    assign_weights(built, stored, version=2, backend="tensorflow", shown=path)
    if root.get("training_config") is not None:
        compile_as_saved(built.model, root["training_config"], vocabulary)
    return built.model


def _metadata(files: Files, nodes: Any, path: Path) -> dict[int, dict[str, Any]]:
    """Keras' JSON for each object that it saved, by node of the object graph."""
    if files.exists("keras_metadata.pb"):
        saved = parse("SavedMetadata", files.read("keras_metadata.pb"), str(path))
        texts = {node.node_id: node.metadata for node in saved.nodes}
    else:
        texts = {index: node.user_object.metadata for index, node in enumerate(nodes) if node.WhichOneof("kind") == "user_object"}
    found = {}
    for index, text in texts.items():
        value = parse_json(text, path) if text.strip().startswith("{") else None
        if isinstance(value, dict) and "class_name" in value:
            found[index] = value
    return found


def _stored(
    files: Files, nodes: Any, metadata: Mapping[int, Mapping[str, Any]], spec: LayerSpec, path: Path
) -> dict[str, list[Stored]]:
    """The arrays of each layer of the model, in Keras' own order of a layer's weights."""
    if not files.exists("variables/variables.index"):
        return {}
    bundle = Bundle(files, "variables/variables")
    keys = _checkpoint_keys(nodes, bundle, path)
    by_name: dict[str, int] = {}
    for name, index in _children(nodes, 0, path):
        if name.startswith("layer-") and index in metadata:
            by_name.setdefault(str(metadata[index].get("name")), index)
    stored = {}
    for child in spec.children:
        if child.name in by_name:
            variables = _variables(nodes, by_name[child.name], path)
            stored[child.name] = [_array(nodes, index, keys, bundle, path) for index in variables]
    return stored


def _array(nodes: Any, index: int, keys: Mapping[int, str], bundle: Bundle, path: Path) -> Stored:
    name = nodes[index].variable.name
    if index not in keys:
        raise CorruptFileError(path, f"its checkpoint has no value for the variable {name!r}")
    return Stored(name, bundle.read(keys[index]))


def _children(nodes: Any, index: int, path: Path) -> Iterator[tuple[str, int]]:
    for child in nodes[index].children:
        if not 0 <= child.node_id < len(nodes):
            raise CorruptFileError(path, f"its object graph refers to node {child.node_id} of {len(nodes)}")
        yield child.local_name, child.node_id


def _variables(nodes: Any, layer: int, path: Path) -> list[int]:
    """The nodes of a layer's variables, in the order of `layer.weights`."""
    children = dict(_children(nodes, layer, path))
    if "variables" in children:
        listed = [(name, index) for name, index in _children(nodes, children["variables"], path) if is_index(name)]
        return [
            index for _, index in sorted(listed, key=lambda item: int(item[0])) if nodes[index].WhichOneof("kind") == "variable"
        ]
    seen, order, pending = {layer}, [], deque([layer])
    while pending:
        at = pending.popleft()
        if nodes[at].WhichOneof("kind") == "variable":
            order.append(at)
        for _, index in _children(nodes, at, path):
            if index not in seen:
                seen.add(index)
                pending.append(index)
    return order


def _checkpoint_keys(nodes: Any, bundle: Bundle, path: Path) -> dict[int, str]:
    """The checkpoint's key of each variable of the SavedModel's object graph.

    The checkpoint has an object graph of its own; both have the same names on their edges, so they are walked side by side.
    """
    if _GRAPH_KEY not in bundle:
        raise CorruptFileError(path, "its checkpoint has no object graph")
    graph = parse("TrackableObjectGraph", bytes(bundle.read(_GRAPH_KEY).reshape(-1)[0]), str(path))
    keys: dict[int, str] = {}
    seen = {0}
    pending: deque[tuple[int, Message]] = deque([(0, graph.nodes[0])] if len(graph.nodes) else [])
    while pending:
        index, trackable = pending.popleft()
        for attribute in trackable.attributes:
            if attribute.name == _VALUE:
                keys[index] = attribute.checkpoint_key
        others = {child.local_name: child.node_id for child in trackable.children}
        for name, child in _children(nodes, index, path):
            other = others.get(name)
            if other is not None and child not in seen and 0 <= other < len(graph.nodes):
                seen.add(child)
                pending.append((child, graph.nodes[other]))
    return keys


def _refuse_tables(children: list[tuple[LayerSpec, Any]], stored: Mapping[str, Any], path: Path) -> None:
    """A lookup layer keeps its words in a table of the graph; where the config has none of them, only the graph does."""
    for child, layer in children:
        if hasattr(layer, "set_vocabulary") and child.config.get("vocabulary") is None:
            raise ConfigNotNativeError(path, reason=f"The vocabulary of the {child.class_name} {child.name!r} lies in its graph.")
