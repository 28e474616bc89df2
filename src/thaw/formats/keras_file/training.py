"""Compiles a model as its file says, where Keras 3 knows the optimizer and the losses; else leaves it uncompiled.

What a file says about training is a convenience: whatever is not known is noted in the log and never an error. The
optimizer starts afresh; its old moments are not read.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

import keras

from thaw.formats.keras_file.vocabulary import Vocabulary, accepted_arguments

__all__ = ["compile_as_saved"]

_LOG = logging.getLogger(__name__)
_OPTIMIZER_ARGUMENTS = {"lr": "learning_rate", "rho": "rho", "beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "epsilon"}
# Arguments that Keras 1 and 2 wrote and that Keras 3's own defaults or schedules have replaced.
_DROPPED = frozenset({"decay", "is_legacy_optimizer", "jit_compile", "schedule_decay", "name"})


class _Unknown(Exception):
    """Something of the training config that Keras 3 does not have."""


def compile_as_saved(model: Any, training: Any, vocabulary: Vocabulary) -> None:
    """Compiles `model` by a `training_config` (Keras 1, 2) or `compile_config` (Keras 2.12 on, 3)."""
    if not isinstance(training, Mapping):
        return
    try:
        optimizer = _optimizer(training.get("optimizer_config", training.get("optimizer")), vocabulary)
        loss = _loss(training.get("loss"), vocabulary)
        # Keras 2 did not always write which output a metric is of.
        metrics = _metrics(training.get("metrics")) if len(model.outputs) == 1 else None
        weights = training.get("loss_weights")
        with keras.saving.custom_object_scope(vocabulary.custom):
            model.compile(optimizer=optimizer, loss=loss, metrics=metrics, loss_weights=weights or None)
    except Exception as error:  # whatever a file says about training must not keep its model from opening
        _LOG.info("%s is left uncompiled, since its training config says %s", model.name, error)


def _optimizer(config: Any, vocabulary: Vocabulary) -> Any:
    if isinstance(config, str):
        return keras.optimizers.get(config)
    if not isinstance(config, Mapping) or not isinstance(config.get("class_name"), str):
        raise _Unknown("no optimizer")
    name = config["class_name"].rpartition(">")[2]
    custom = vocabulary.custom_object(config.get("registered_name"), config["class_name"])
    if custom is not None and hasattr(custom, "from_config"):
        return custom.from_config(dict(config.get("config") or {}))
    by_lower = {key.lower(): value for key, value in vars(keras.optimizers).items() if isinstance(value, type)}
    cls = by_lower.get(name.lower())
    if cls is None or not issubclass(cls, keras.optimizers.Optimizer) or name.lower() in ("optimizer", "lossscaleoptimizer"):
        raise _Unknown(f"optimizer {name!r}")
    arguments = {}
    for key, value in dict(config.get("config") or {}).items():
        new = _OPTIMIZER_ARGUMENTS.get(key, key)
        if key in _DROPPED or new not in accepted_arguments(cls):
            continue
        if isinstance(value, Mapping):
            value = _schedule(value)
        arguments[new] = value
    return cls(**arguments)


def _schedule(config: Mapping[str, Any]) -> Any:
    if config.get("class_name") == "__tensor__" or "class_name" not in config:
        raise _Unknown("a learning rate that is no number")
    cls = vars(keras.optimizers.schedules).get(str(config["class_name"]).rpartition(">")[2])
    if not isinstance(cls, type):
        raise _Unknown(f"schedule {config['class_name']!r}")
    return cls(**{key: value for key, value in dict(config.get("config") or {}).items() if not isinstance(value, Mapping)})


def _loss(config: Any, vocabulary: Vocabulary) -> Any:
    if config is None:
        return None
    if isinstance(config, list | tuple):
        return [_loss(item, vocabulary) for item in config]
    if isinstance(config, str):
        if config not in vocabulary.custom:
            found = keras.losses.get(config)
            if not inspect.isroutine(found) and not isinstance(found, keras.losses.Loss):
                raise _Unknown(f"loss {config!r}")
            return config
        return vocabulary.custom[config]
    if not isinstance(config, Mapping):
        raise _Unknown(f"loss {config!r}")
    if "class_name" not in config:
        return {key: _loss(value, vocabulary) for key, value in config.items()}
    if config["class_name"] == "function":
        return _loss(config.get("config"), vocabulary)
    name = str(config["class_name"]).rpartition(">")[2]
    cls = vocabulary.custom_object(config["class_name"]) or vars(keras.losses).get(name)
    if not isinstance(cls, type):
        raise _Unknown(f"loss {name!r}")
    arguments = {key: value for key, value in dict(config.get("config") or {}).items() if key in accepted_arguments(cls)}
    if arguments.get("reduction") == "auto":
        arguments["reduction"] = "sum_over_batch_size"
    if any(isinstance(value, Mapping) for value in arguments.values()):
        raise _Unknown(f"loss {name!r} with a function of its own")
    return cls(**arguments)


def _metrics(config: Any) -> list[Any] | None:
    """The names of the metrics that are Keras' own; anything nested or custom is left out."""
    found: list[Any] = []
    pending = list(config) if isinstance(config, list | tuple) else []
    while pending:
        item = pending.pop(0)
        if isinstance(item, list | tuple):
            pending = [*item, *pending]
            continue
        if isinstance(item, Mapping):
            inner = item.get("config")
            item = inner.get("fn", item.get("class_name")) if isinstance(inner, Mapping) else inner
        if item in ("accuracy", "acc"):
            found.append("accuracy")
        elif isinstance(item, str) and (hasattr(keras.metrics, item) and item not in ("get", "serialize", "deserialize")):
            found.append(item)
    return found or None
