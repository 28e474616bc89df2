"""Reads the config of a Keras model of any version (1 to 3) into `LayerSpec`s in Keras 3's terms.

Nothing is imported, called or built here: every class is looked up in the allow-list of `vocabulary`, and everything that
cannot be rebuilt is collected and reported at once. The names of old versions lie in the table of `old_arguments`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import keras

from thaw.errors import ConfigNotNativeError, CorruptFileError
from thaw.formats.keras_file import nodes
from thaw.formats.keras_file.old_arguments import (
    DROPPED,
    HARMLESS,
    REFUSED,
    RENAMED_FUNCTIONS,
    SPELLED_OUT,
    rename_arguments,
    what_follows,
)
from thaw.formats.keras_file.spec import LayerSpec, new_name
from thaw.formats.keras_file.tf_calls import is_known_call
from thaw.formats.keras_file.vocabulary import CODE_CLASSES, Vocabulary, accepted_arguments

__all__ = ["major_version", "read_config"]

_FUNCTIONAL = frozenset({"Model", "Functional", "Network", "Graph"})
_CALLS = frozenset({"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"})
# Keras 2 put losses and metrics of `add_loss` and `add_metric` into the graph as layers that return their input.
_PASSING = frozenset({"AddLoss", "AddMetric"})
_MERGES = {
    "sum": "Add",
    "mul": "Multiply",
    "concat": "Concatenate",
    "ave": "Average",
    "max": "Maximum",
    "dot": "Dot",
    "cos": "Dot",
}
_TEXT_LAYERS = frozenset({"TextVectorization", "StringLookup", "IntegerLookup", "Hashing", "HashedCrossing"})


def major_version(version: object) -> int:
    """1, 2 or 3: the Keras that `keras_version` of a file tells; files that do not say are of Keras 1."""
    head = str(version or "1").partition(".")[0]
    return int(head) if head in ("1", "2", "3") else 2


def read_config(config: Any, vocabulary: Vocabulary, *, version: int, shown: object) -> LayerSpec:
    """The model that `config` describes.

    Args:
        config: The parsed `model_config` or `config.json`.
        vocabulary: The names that may become objects.
        version: Major version of the Keras that wrote it.
        shown: The file's name, for errors.

    Raises:
        ConfigNotNativeError: It names what Keras 3 does not have; everything of the kind is listed.
        CorruptFileError: It is no Keras config.
    """
    reader = _Reader(vocabulary, version, shown)
    try:
        spec = reader.layer(config, outermost=True)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CorruptFileError(shown, f"its model config is malformed ({type(error).__name__}: {str(error)[:120]})") from error
    reader.report()
    return spec


class _Reader:
    """One pass over one config, gathering what Keras 3 does not have."""

    def __init__(self, vocabulary: Vocabulary, version: int, shown: object) -> None:
        self.vocabulary = vocabulary
        self.version = version
        self.shown = shown
        self.unknown: dict[str, list[str]] = {}
        self.code: list[str] = []
        self.calls: dict[str, list[str]] = {}
        self.arguments: list[str] = []

    def report(self) -> None:
        if self.unknown or self.code or self.calls or self.arguments:
            raise ConfigNotNativeError(
                self.shown, unknown=self.unknown, code=self.code, calls=self.calls, arguments=self.arguments
            )

    def layer(self, entry: Any, *, outermost: bool = False, names: Mapping[str, Any] | None = None) -> LayerSpec:
        """The spec of one layer's entry, `{class_name, config, name?, inbound_nodes?}`."""
        if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
            raise CorruptFileError(self.shown, f"its model config has {str(entry)[:80]!r} where a layer was expected")
        class_name: str = entry["class_name"]
        config = entry.get("config")
        if outermost and config is None:
            raise ConfigNotNativeError(self.shown, unknown={class_name: ["the model"]}, reason="It was saved without its config.")
        config = {"layers": config} if isinstance(config, list) else dict(config or {})
        name = str(entry.get("name") or config.get("name") or class_name.lower())
        calls = tuple(nodes.read_calls(entry.get("inbound_nodes") or [], names or {}, self.shown))
        shared = entry.get("shared_object_id")
        spec = self._spec(class_name, name, config, entry)
        return dataclasses.replace(spec, calls=calls, shared_id=shared if isinstance(shared, int) else None)

    def _spec(self, class_name: str, name: str, config: dict[str, Any], entry: dict[str, Any]) -> LayerSpec:
        bare = class_name.rpartition(">")[2]
        replacement = self.vocabulary.custom.get(name)
        if replacement is not None and (bare in CODE_CLASSES or bare in _CALLS):
            return LayerSpec(name, "layer", bare, {}, make=replacement)
        custom = self.vocabulary.custom_object(entry.get("registered_name"), class_name)
        if custom is not None:
            return LayerSpec(
                name, "layer", bare, config, make=self._keras3(class_name, self._values(config, name, custom=True), custom)
            )
        if bare in CODE_CLASSES:
            function = _function_name(config.get("function"))
            mine = self.vocabulary.custom_object(function) if bare == "Lambda" else None
            if mine is not None:
                return LayerSpec(name, "layer", bare, {}, make=mine)
            self.code.append(f"{bare} layer {name!r}" + (f" with the function {function!r}" if function else ""))
            return LayerSpec(name, "passing", bare, {})
        if bare == "InputLayer" or bare == "Input":
            return self._input(name, config)
        if bare in _FUNCTIONAL and "layers" in config:
            return self._functional(name, bare, config)
        if bare == "Sequential":
            return self._sequential(name, bare, config)
        if bare in _CALLS:
            return self._call(name, bare, config)
        if bare in _PASSING:
            return LayerSpec(name, "passing", bare, {})
        inner = config.get("layer")
        if bare == "TimeDistributed" and isinstance(inner, dict) and _is_model(inner):
            rest = {key: value for key, value in config.items() if key != "layer"}
            return dataclasses.replace(self._builtin(name, bare, rest), kind="wrapper", children=(self.layer(inner),))
        if bare == "Merge":
            bare, config = self._merge(name, config)
        if self.version >= 3 and self.vocabulary.is_operation(entry.get("module"), bare):
            return LayerSpec(name, "operation", bare, config, make=_plain_entry(entry))
        return self._builtin(name, bare, config)

    def _builtin(self, name: str, class_name: str, config: dict[str, Any]) -> LayerSpec:
        shape = config.get("batch_input_shape", config.get("batch_shape"))
        dtype = config.get("input_dtype") or config.get("dtype")
        cls_name, arguments = rename_arguments(class_name, config, version=self.version)
        cls = self.vocabulary.layer_class(cls_name)
        if cls is None:
            self.unknown.setdefault(class_name, []).append(name)
            return LayerSpec(name, "passing", class_name, {})
        arguments["name"] = new_name(name)
        arguments = self._values(self._known_arguments(cls_name, cls, arguments, name), name)
        if cls_name in _TEXT_LAYERS and isinstance(arguments.get("vocabulary"), str):
            self.code.append(f"{cls_name} {name!r} reads the file {arguments['vocabulary']!r}")
        if arguments.get("interpolation") == "bicubic" and self.version < 3 and keras.backend.backend() == "torch":
            warnings.warn(
                f"The {cls_name} {name!r} resizes by bicubic interpolation, for which PyTorch gives other numbers than "
                "TensorFlow did. Open the file on the TensorFlow backend where that matters.",
                stacklevel=2,
            )
        extra = {key: config[key] for key in ("num_constants", "causal") if config.get(key)}
        behind = what_follows(cls_name, arguments, version=self.version)
        return LayerSpec(
            name,
            "layer",
            class_name,
            arguments,
            make=self._keras3(cls_name, arguments),
            input_shape=_shape(shape),
            input_dtype=dtype if isinstance(dtype, str) else None,
            trainable=bool(config.get("trainable", True)),
            extra=extra,
            behind=None if behind is None else self._builtin(f"{name}_resized", *behind),
        )

    def _known_arguments(self, cls_name: str, cls: type, config: dict[str, Any], name: str) -> dict[str, Any]:
        """`config` less what the class does not take; what meant something is reported."""
        accepted = accepted_arguments(cls)
        dropped = DROPPED["*"] | DROPPED.get(cls_name, frozenset())
        kept = {}
        for key, value in config.items():
            if key in dropped or (key == "input_dim" and cls_name != "Embedding"):
                continue
            harmless = HARMLESS.get((cls_name, key), ()) + HARMLESS.get(("*", key), ())
            if key in accepted and value not in REFUSED.get((cls_name, key), ()):
                kept[key] = value
            elif key == "trainable":
                continue  # set on the layer once it is there
            elif not (
                value is None or value is False or value in ([], {}, "", *harmless) or (cls_name, key) == ("Attention", "causal")
            ):
                self.arguments.append(f"{key}={value!r} of the {cls_name} {name!r}")
        return kept

    def _values(self, config: dict[str, Any], owner: str, *, custom: bool = False) -> dict[str, Any]:
        values = {}
        for key, value in config.items():
            if key == "dtype" and not custom:
                policy = self._dtype(value, owner)
                if policy is not None:
                    values[key] = policy
            elif key.endswith("activation") and isinstance(value, str):
                values[key] = self._function(value, owner, config.get("dtype"))
            else:
                values[key] = self._value(value, owner, custom=custom)
        return values

    def _dtype(self, value: Any, owner: str) -> Any:
        """A dtype or policy of any version as Keras 3 takes it; None where it says nothing."""
        if isinstance(value, dict):
            inner = value.get("config")
            if not isinstance(inner, dict):
                return None
            if value.get("class_name") in ("DTypePolicy", "Policy", "PolicyV1"):
                value = inner.get("name")
            elif self.vocabulary.part_module(str(value.get("class_name"))) == "keras.dtype_policies":
                return self._value(value, owner)
            else:
                self.unknown.setdefault(str(value.get("class_name")), []).append(owner)
                return None
        if not isinstance(value, str) or value.startswith("_infer") or value == "infer":
            return None
        return value

    def _function(self, name: str, owner: str, dtype: Any = None) -> Any:
        custom = self.vocabulary.custom_object(name)
        if custom is not None:
            return custom
        if self.version < 3 and self.vocabulary.plain and name in SPELLED_OUT:
            return SPELLED_OUT[name](self._dtype(dtype, owner))
        if self.version < 3 and name in RENAMED_FUNCTIONS:
            return RENAMED_FUNCTIONS[name]
        if not self.vocabulary.is_function(name):
            self.unknown.setdefault(name, []).append(owner)
        return name

    def _value(self, value: Any, owner: str, *, custom: bool = False) -> Any:
        """An argument's value: objects in it in Keras 3's form, wrappers of old versions opened."""
        if isinstance(value, list):
            return [self._value(item, owner, custom=custom) for item in value]
        if not isinstance(value, dict):
            return value
        class_name = value.get("class_name")
        if not isinstance(class_name, str) and self.version == 1 and isinstance(value.get("name"), str):
            # Keras 1 wrote the arguments of regularizers and constraints beside their class.
            class_name, value = value["name"], {"config": {key: item for key, item in value.items() if key != "name"}}
        if not isinstance(class_name, str):
            return {key: self._value(item, owner, custom=custom) for key, item in value.items()}
        if class_name == "__tuple__":
            return tuple(
                self._value(item, owner, custom=custom) for item in value.get("items", value.get("config", {}).get("value", ()))
            )
        if class_name == "TensorShape":
            return tuple(value["items"])
        if class_name == "__lambda__":
            self.code.append(f"a lambda in {owner!r}")
            return None
        if class_name == "function":
            return self._function(str(value.get("config")), owner)
        if class_name in ("__numpy__", "__slice__", "__ellipsis__", "__bytes__", "DType", "TypeSpec", "InputSpec"):
            return value
        return self._object(value, class_name, owner)

    def _object(self, value: dict[str, Any], class_name: str, owner: str) -> Any:
        """A part with a class of its own: an initializer, a policy, or a layer in a wrapper."""
        inner = dict(value.get("config") or {})
        custom = self.vocabulary.custom_object(value.get("registered_name"), class_name)
        if custom is not None:
            return self._keras3(class_name, self._values(inner, owner, custom=True), custom)
        bare = class_name.rpartition(">")[2]
        if bare in _PARTS_RENAMED:
            bare, change = _PARTS_RENAMED[bare]
            inner = change(inner)
        module = self.vocabulary.part_module(bare)
        if module is not None:
            if module == "keras.initializers":
                inner = _initializer(inner)
            return {"module": module, "class_name": bare, "config": self._values(inner, owner), "registered_name": None}
        spec = self._spec(class_name, str(inner.get("name") or owner), inner, value)
        if spec.kind in ("functional", "sequential"):
            # A wrapper around a model: Keras rebuilds it from a config like any other part.
            self.arguments.append(f"a {class_name} inside {owner!r}")
        return spec.make

    def _keras3(self, class_name: str, config: Mapping[str, Any], custom: Any = None) -> dict[str, Any]:
        if custom is None:
            return {"module": "keras.layers", "class_name": class_name, "config": dict(config), "registered_name": None}
        return {"module": None, "class_name": class_name, "config": dict(config), "registered_name": class_name}

    def _input(self, name: str, config: dict[str, Any]) -> LayerSpec:
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        if shape is None and config.get("shape") is not None:
            shape = [None, *config["shape"]]
        if config.get("ragged"):
            self.arguments.append(f"ragged=True of the input {name!r}")
        dtype = self._dtype(config.get("input_dtype") or config.get("dtype"), name)
        arguments = {"dtype": dtype or "float32", "sparse": bool(config.get("sparse")), "optional": bool(config.get("optional"))}
        return LayerSpec(name, "input", "InputLayer", arguments, input_shape=_shape(self._value(shape, name)), input_dtype=dtype)

    def _functional(self, name: str, class_name: str, config: dict[str, Any]) -> LayerSpec:
        entries = config["layers"]
        ends = [config["input_layers"], config["output_layers"]]
        entries = _without_losses(entries, ends)
        names = {str(entry.get("name") or entry["config"]["name"]): entry for entry in entries}
        children = tuple(self.layer(entry, names=names) for entry in entries)
        exact = self.version >= 3
        return LayerSpec(
            name,
            "functional",
            class_name,
            {},
            children=children,
            inputs=nodes.read_tensors(config["input_layers"], exact=exact, shown=self.shown),
            outputs=nodes.read_tensors(config["output_layers"], exact=exact, shown=self.shown),
            trainable=bool(config.get("trainable", True)),
        )

    def _sequential(self, name: str, class_name: str, config: dict[str, Any]) -> LayerSpec:
        children = tuple(self.layer(entry) for entry in config.get("layers", ()))
        shape = self._value(config.get("build_input_shape"), name)
        return LayerSpec(
            name,
            "sequential",
            class_name,
            {},
            children=children,
            input_shape=_shape(shape),
            trainable=bool(config.get("trainable", True)),
        )

    def _call(self, name: str, class_name: str, config: dict[str, Any]) -> LayerSpec:
        if class_name == "TensorFlowOpLayer":
            node = config.get("node_def")
            function = f"raw_ops.{node['op']}" if isinstance(node, dict) and "op" in node else "raw_ops"
        else:
            function = str(config.get("function"))
        if not is_known_call(function):
            self.calls.setdefault(f"tf.{function}", []).append(name)
        return LayerSpec(name, "call", class_name, {**config, "function": function})

    def _merge(self, name: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        mode = config.get("mode", "sum")
        if config.get("mode_type", "raw") != "raw" or mode not in _MERGES:
            self.code.append(f"Merge layer {name!r} with a mode of its own")
            return "Add", {}
        arguments: dict[str, Any] = {"name": name}
        if mode == "concat":
            arguments["axis"] = config.get("concat_axis", -1)
        if mode in ("dot", "cos"):
            axes = config.get("dot_axes", -1)
            arguments.update(axes=tuple(axes) if isinstance(axes, list) else axes, normalize=mode == "cos")
        return _MERGES[mode], arguments


def _is_model(entry: dict[str, Any]) -> bool:
    name = str(entry.get("class_name"))
    return name == "Sequential" or (name in _FUNCTIONAL and "layers" in (entry.get("config") or {}))


def _without_losses(entries: list[dict[str, Any]], ends: Any) -> list[dict[str, Any]]:
    """The layers of a functional model less the TensorFlow calls that only `add_loss` or `add_metric` asked for."""
    texts = {entry.get("name") or entry["config"]["name"]: entry for entry in entries}
    found: set[str] = set()
    pending: list[Any] = [ends]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, list | tuple):
            pending += item
        elif isinstance(item, str) and item in texts and item not in found:
            found.add(item)
            pending.append(texts[item].get("inbound_nodes"))
    return [entry for name, entry in texts.items() if name in found or entry.get("class_name") not in _CALLS | _PASSING]


def _function_name(function: Any) -> str | None:
    """The name of a Lambda layer's function; None for an anonymous one."""
    if isinstance(function, dict) and function.get("class_name") == "function":
        function = function.get("config")
    return function if isinstance(function, str) and function.isidentifier() else None


def _initializer(config: dict[str, Any]) -> dict[str, Any]:
    config.pop("dtype", None)
    if config.get("distribution") == "normal":
        # Keras 2.2 and TensorFlow 1 cut this normal distribution off.
        config["distribution"] = "truncated_normal"
    return config


def _regularizer1(config: dict[str, Any]) -> dict[str, Any]:
    return {"l1": config.get("l1", 0.0), "l2": config.get("l2", 0.0)}


def _max_norm(config: dict[str, Any]) -> dict[str, Any]:
    if "m" in config:
        config["max_value"] = config.pop("m")
    return config


_PARTS_RENAMED: dict[str, tuple[str, Any]] = {
    "WeightRegularizer": ("L1L2", _regularizer1),
    "ActivityRegularizer": ("L1L2", _regularizer1),
    "L1L2Regularizer": ("L1L2", _regularizer1),
    "MaxNorm": ("MaxNorm", _max_norm),
    "NonNeg": ("NonNeg", dict),
}


def _plain_entry(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("module", "class_name", "config", "registered_name") if key in entry}


def _shape(value: Any) -> tuple[Any, ...] | None:
    if not isinstance(value, list | tuple) or not all(item is None or isinstance(item, int) for item in value):
        return None
    return tuple(value)
