"""What a Keras config of any version says, in one form: the plain data between `config`, which reads it, and `build`.

Imports nothing of thaw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Call", "Kind", "LayerSpec", "Ref", "new_name", "walk"]

Kind = Literal["layer", "input", "functional", "sequential", "wrapper", "call", "operation", "passing"]


@dataclass(frozen=True, slots=True)
class Ref:
    """One tensor of a functional graph: output `tensor` of call number `node` of the layer named `layer`."""

    layer: str
    node: int
    tensor: int


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a layer in a functional graph.

    Attributes:
        args: Positional arguments, nested structures with a `Ref` in the place of each tensor.
        kwargs: The same, by keyword.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer of a model, in Keras 3's terms.

    Attributes:
        name: Its name in the model.
        kind: `layer` (of Keras or the user), `input`, a model of `children` (`functional`, `sequential`), a `wrapper` around its
            one child, which is a model, a TensorFlow `call`, one of Keras 3's own `operation`s, or `passing`: hands its input on.
        class_name: The class in the file.
        config: Arguments of the Keras 3 class; for a call its function.
        make: The Keras 3 dict that `deserialize_keras_object` takes, or the user's layer or function.
        calls: Its uses in the functional model around it.
        children: The layers inside, in the file's order.
        inputs: Of a functional model: its inputs, a structure of `Ref`s.
        outputs: The same for its outputs.
        shared_id: Equal for the mentions of one layer in several models.
        input_shape: Batch shape that an old config gives for a layer without an `InputLayer`.
        behind: A layer without weights that follows each use of this one: what Keras 3's own no longer does.
    """

    name: str
    kind: Kind
    class_name: str
    config: Mapping[str, Any]
    make: Any = None
    calls: tuple[Call, ...] = ()
    children: tuple[LayerSpec, ...] = ()
    inputs: Any = None
    outputs: Any = None
    shared_id: int | None = None
    input_shape: tuple[Any, ...] | None = None
    input_dtype: str | None = None
    trainable: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    behind: LayerSpec | None = None


def new_name(name: str) -> str:
    """A layer's name as Keras 3 takes it on every backend: old names could have slashes, and dots, which PyTorch refuses."""
    return name.replace("/", "_").replace(".", "_")


def walk(structure: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dicts."""
    if isinstance(structure, dict):
        return [leaf for value in structure.values() for leaf in walk(value)]
    if isinstance(structure, list | tuple):
        return [leaf for value in structure for leaf in walk(value)]
    return [structure]
