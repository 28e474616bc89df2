"""Reads how the layers of a functional model are wired, in the forms of Keras 1, 2 and 3.

Keras 1 and 2 write a use of a layer as a structure of `[layer, node, tensor, kwargs]`; Keras 3 writes the arguments, tensors
among them as `__keras_tensor__` objects. Plain data in, `Call`s and `Ref`s out.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import numpy as np

from thaw.errors import CorruptFileError
from thaw.formats.keras_file.spec import Call, Ref

__all__ = ["read_calls", "read_tensors"]

_CONSTANT = "_CONSTANT_VALUE"


def read_calls(entries: Any, names: Container[str], shown: object) -> Iterator[Call]:
    """The uses of one layer, from its `inbound_nodes`; `names` are the layers of the model around it."""
    for entry in entries:
        if isinstance(entry, dict) and "args" in entry and "kwargs" in entry:
            args = _new_arguments(entry["args"], shown)
            yield Call(tuple(args), _without_none(_new_arguments(entry["kwargs"], shown)))
        else:
            yield _old_call(entry, names, shown)


def read_tensors(structure: Any, *, exact: bool, shown: object) -> Any:
    """A model's `input_layers` or `output_layers`, with `Ref`s; Keras 1 and 2 do not tell one tensor from a list of one."""
    if isinstance(structure, dict):
        return {key: read_tensors(value, exact=True, shown=shown) for key, value in structure.items()}
    if _is_reference(structure):
        return Ref(*structure[:3])
    if not isinstance(structure, list | tuple):
        raise CorruptFileError(shown, f"its model config has {str(structure)[:80]!r} where a tensor was expected")
    items = [read_tensors(item, exact=True, shown=shown) for item in structure]
    return items[0] if len(items) == 1 and not exact else items


def _is_reference(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and _is_index(value[1])
        and _is_index(value[2])
    )


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _old_call(entry: Any, names: Container[str], shown: object) -> Call:
    found: list[dict[str, Any]] = []

    def read(value: Any) -> Any:
        if isinstance(value, list | tuple) and value and value[0] == _CONSTANT:
            found.append(value[3] if len(value) > 3 else {})
            return value[2]
        if _is_reference(value):
            found.append(value[3] if len(value) > 3 and value[3] else {})
            return Ref(*value[:3])
        if isinstance(value, dict):
            if value.get("class_name") == "__tuple__":
                return tuple(read(item) for item in value["items"])
            return {key: read(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [read(item) for item in value]
        raise CorruptFileError(shown, f"its model config has {str(value)[:80]!r} where a tensor was expected")

    first = read(entry)
    if isinstance(first, list) and len(first) == 1:
        # Every layer but TensorFlow calls takes one tensor as itself, and those take it back as a list.
        first = first[0]
    kwargs = found[0] if found else {}
    return Call((first,), _without_none(_old_arguments(kwargs, names)))


def _old_arguments(value: Any, names: Container[str]) -> Any:
    if isinstance(value, dict):
        if value.get("class_name") == "__tuple__":
            return tuple(_old_arguments(item, names) for item in value["items"])
        return {key: _old_arguments(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if len(value) == 3 and _is_reference(value) and value[0] in names:
            return Ref(*value)
        return [_old_arguments(item, names) for item in value]
    return value


def _new_arguments(value: Any, shown: object) -> Any:
    if isinstance(value, dict):
        inner = value.get("config")
        class_name = value.get("class_name")
        if class_name == "__keras_tensor__" and isinstance(inner, dict):
            history = inner.get("keras_history")
            if not isinstance(history, list) or not _is_reference(history):
                raise CorruptFileError(shown, f"a tensor of its model config has the history {str(history)[:80]!r}")
            return Ref(*history[:3])
        if class_name == "__slice__" and isinstance(inner, dict):
            return slice(*(_new_arguments(inner.get(key), shown) for key in ("start", "stop", "step")))
        if class_name == "__ellipsis__":
            return Ellipsis
        if class_name == "__tuple__":
            items = inner.get("value", ()) if isinstance(inner, dict) else value.get("items", ())
            return tuple(_new_arguments(item, shown) for item in items)
        if class_name in ("__tensor__", "__numpy__") and isinstance(inner, dict):
            return _constant(inner, shown)
        if isinstance(class_name, str) and "config" in value:
            raise CorruptFileError(shown, f"a call in its model config takes a {class_name!r}, which is no plain value")
        return {key: _new_arguments(item, shown) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_new_arguments(item, shown) for item in value]
    return value


def _constant(config: dict[str, Any], shown: object) -> Any:
    """An array that a Keras 3 config spells out, such as the positions that are added to an embedding."""
    dtype = str(config.get("dtype", "float32"))
    try:
        # Python's own lists say what they hold; bfloat16, which numpy lacks, is exact as float32.
        return np.asarray(config["value"], "float32" if dtype == "bfloat16" else dtype)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(shown, f"a constant of its model config is malformed ({str(error)[:80]})") from error


def _without_none(kwargs: Any) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if value is not None} if isinstance(kwargs, dict) else {}
