"""Which names of a Keras config may become objects: an allow-list, so that no config chooses what is imported or run.

A name stands for a public class of `keras.layers`, `keras.initializers`, ..., for a class that the user's own code
registered with Keras, or for an entry of `custom_objects`. Modules named in a config are never imported. Imports Keras' public
names and errors only.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

__all__ = ["CODE_CLASSES", "CustomObjects", "Vocabulary", "accepted_arguments"]

CustomObjects = Mapping[str, Callable[..., Any]]

# Public layers that run code or open files which their config names.
CODE_CLASSES = frozenset({"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})

# Where objects inside a layer's config come from. The order settles names that occur twice.
_NAMESPACES: dict[str, Any] = {
    "keras.initializers": keras.initializers,
    "keras.regularizers": keras.regularizers,
    "keras.constraints": keras.constraints,
    "keras.dtype_policies": keras.dtype_policies,
    "keras.optimizers.schedules": keras.optimizers.schedules,
    "keras.optimizers": keras.optimizers,
    "keras.losses": keras.losses,
    "keras.metrics": keras.metrics,
}

# Keras 3 writes operations of its own into functional models; those that call functions found in the config stay out.
_OPERATION_MODULES = ("keras.src.ops.", "keras.ops")
_OPERATIONS_OF_FUNCTIONS = frozenset({
    "AssociativeScan",
    "Cond",
    "CustomGradient",
    "ForiLoop",
    "Map",
    "Scan",
    "Switch",
    "VectorizedMap",
    "WhileLoop",
})


class Vocabulary:
    """The names known to one reading: Keras' own and the user's.

    Args:
        custom_objects: The user's classes and functions, by the name that the config uses.
        plain: Whether only Keras' own objects may come in, none of thaw's.
    """

    def __init__(self, custom_objects: CustomObjects | None = None, *, plain: bool = False) -> None:
        self.plain = plain
        self.custom = dict(custom_objects or {})

    def custom_object(self, *names: str | None) -> Callable[..., Any] | None:
        """The user's object under any of `names`, with or without its package, as in `Package>Name`; else None.

        It is known under the first of the names from then on, which is how Keras will ask for it.
        """
        for name in names:
            if not name:
                continue
            for form in (name, name.rpartition(">")[2]):
                found = self.custom.get(form) or keras.saving.get_registered_object(form)
                if found is not None:
                    self.custom.setdefault(name, found)
                    return found
        return None

    def layer_class(self, name: str) -> type | None:
        """Keras' public layer class called `name`, without its package; None where there is none or it runs code."""
        bare = name.rpartition(">")[2]
        found = vars(keras.layers).get(bare)
        is_layer = isinstance(found, type) and issubclass(found, keras.layers.Layer)
        return found if is_layer and bare not in CODE_CLASSES else None

    def part_module(self, name: str) -> str | None:
        """The public module of Keras that has the initializer, regularizer, loss, ... class called `name`."""
        bare = name.rpartition(">")[2]
        for module, namespace in _NAMESPACES.items():
            if isinstance(vars(namespace).get(bare), type):
                return module
        return None

    def is_function(self, name: str) -> bool:
        """Whether `name` is an activation of Keras or a function of the user's."""
        found = vars(keras.activations).get(name)
        return inspect.isfunction(found) and name not in ("deserialize", "serialize", "get")

    def is_operation(self, module: object, name: str) -> bool:
        """Whether a Keras 3 config means one of Keras' own operations that call no function of the config's."""
        return isinstance(module, str) and module.startswith(_OPERATION_MODULES) and name not in _OPERATIONS_OF_FUNCTIONS


def accepted_arguments(cls: type) -> set[str]:
    """The keyword arguments that `cls(...)` takes, through every base that it passes `**kwargs` on to."""
    names: set[str] = set()
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None:
            continue
        parameters = inspect.signature(init).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    # Those that only bases know, and that their subclasses set themselves.
    return names - {"self"}
