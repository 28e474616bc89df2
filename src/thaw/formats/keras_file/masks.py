"""The masks of Keras 1 and 2 where Keras 3 works out others: they become tensors of the model that layers are given by hand.

Merging layers joined the masks that were there by AND. Keras 3 joins by OR, forgets them where one input has none, lets its
`Multiply` change what is masked, forgets the mask of a sequence that comes with states, takes it from what was attended to,
and makes none in a `TimeDistributed`. A model inside another, called with masks, runs as Keras 3 has it: that is warned of.
Source: tf_keras/src/layers/merging/base_merge.py, concatenate.py, rnn/time_distributed.py (`compute_mask`).
Imports Keras and the naming of operations.
"""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from typing import Any

import keras
from keras import ops

from thaw.formats.keras_file.operation_names import name_operations

__all__ = ["OldMasks"]

_MERGES = (
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Multiply,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Concatenate,
)


class OldMasks:
    """Calls layers on the symbolic tensors of one model, knowing the mask that each tensor had in old Keras."""

    def __init__(self) -> None:
        # The tensors are held too: an id means something only as long as its object lives.
        self._noted: dict[int, tuple[Any, Any]] = {}
        self._made: Counter[str] = Counter()

    def call(self, layer: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """`layer(*args, **kwargs)`, with masks where Keras 3 would not find the right ones by itself."""
        first = args[0] if args else None
        if isinstance(layer, _MERGES) and isinstance(first, list | tuple):
            return self._merged(layer, first, kwargs)
        if isinstance(layer, keras.layers.MultiHeadAttention):
            return self._attended(layer, args, kwargs)
        several = isinstance(first, list | tuple)
        tensors = list(first) if isinstance(first, list | tuple) else [first]
        masks = [self._of(tensor) for tensor in tensors]
        if isinstance(layer, keras.Model) and any(mask is not None for mask in masks):
            _warn_of_merges(layer)
        states = any(kwargs.get(name) is not None for name in ("initial_state", "constants")) and masks[0] is not None
        by_hand = states or any(id(tensor) in self._noted for tensor in tensors)
        takes = "mask" in inspect.signature(layer.call).parameters
        if by_hand and takes and "mask" not in kwargs:
            kwargs = {**kwargs, "mask": masks if several else masks[0]}
        result = layer(*args, **kwargs)
        if isinstance(layer, keras.layers.TimeDistributed):
            self._after_each(layer, first, masks[0], result)
        elif by_hand and not takes and not several and layer.supports_masking:
            self._note(result, masks[0])
        return result

    def _of(self, tensor: Any) -> Any:
        noted = self._noted.get(id(tensor))
        return noted[1] if noted else getattr(tensor, "_keras_mask", None)

    def _note(self, tensor: Any, mask: Any) -> None:
        if mask is not None and keras.utils.is_keras_tensor(tensor):
            self._noted[id(tensor)] = (tensor, mask)

    def _new(self, layer: Any, sources: Any, tensor: Any) -> Any:
        """`tensor`, computed from `sources` for the sake of `layer`, under names that no layer has."""
        self._made[layer.name] += 1
        name_operations(sources, tensor, f"{layer.name}_mask_{self._made[layer.name]}")
        return tensor

    def _merged(self, layer: Any, inputs: Any, kwargs: dict[str, Any]) -> Any:
        tensors, masks = inputs, [self._of(tensor) for tensor in inputs]
        there = [mask for mask in masks if mask is not None]
        if there and isinstance(layer, keras.layers.Multiply):
            # A copy has no mask: Keras 3 multiplies by 1 wherever one is False.
            inputs = [
                tensor if mask is None else self._new(layer, tensor, ops.copy(tensor))
                for tensor, mask in zip(inputs, masks, strict=True)
            ]
        result = layer(inputs, **kwargs)
        one = len(there) == len(masks) and all(mask is there[0] for mask in there)
        if not there or (one and inputs[0] is tensors[0] and not any(id(tensor) in self._noted for tensor in tensors)):
            return result
        along = isinstance(layer, keras.layers.Concatenate) and layer.axis not in (-1, len(result.shape) - 1)
        if along and len(there) == len(masks):
            self._note(result, self._new(layer, there, ops.concatenate(there, axis=layer.axis)))
        elif not along:
            self._note(result, self._new(layer, there, _all_of(there)))
        return result

    def _attended(self, layer: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        named = dict(zip(("query", "value", "key"), args, strict=False)) | kwargs
        sides = {side: named[side] for side in ("query", "value", "key") if named.get(side) is not None}
        masks = {side: self._of(tensor) for side, tensor in sides.items()}
        given = kwargs.get("attention_mask")
        if any(id(tensor) in self._noted for tensor in sides.values()):
            pairs = [ops.expand_dims(mask, -1 if side == "query" else -2) for side, mask in masks.items() if mask is not None]
            pairs += [] if given is None else [ops.cast(given, "bool")]
            kwargs = {**kwargs, "attention_mask": self._new(layer, [*masks.values(), given], _all_of(pairs))}
        elif _is_float(given) and not any(mask is not None for mask in masks.values()) and not kwargs.get("use_causal_mask"):
            # Alone, it was taken from 1 and multiplied by the least number there is; Keras 3 lets through whatever is not 0.
            kwargs = {**kwargs, "attention_mask": self._new(layer, given, ops.equal(given, 1))}
        result = layer(*args, **kwargs)
        for side, tensor in sides.items():
            self._note(tensor, masks[side])  # the layer has taken it away
        self._note(result[0] if isinstance(result, list | tuple) else result, masks["query"])
        return result

    def _after_each(self, layer: Any, steps: Any, mask: Any, result: Any) -> None:
        if isinstance(layer.layer, keras.layers.Embedding) and layer.layer.mask_zero:
            self._note(result, self._new(layer, steps, ops.not_equal(steps, 0)))
        elif mask is not None and len(mask.shape) > 2:
            self._note(result, self._new(layer, mask, ops.any(mask, axis=tuple(range(2, len(mask.shape))))))


def _is_float(tensor: Any) -> bool:
    return bool(keras.utils.is_keras_tensor(tensor) and keras.backend.is_float_dtype(tensor.dtype))


def _warn_of_merges(model: Any) -> None:
    inside = list(model.layers)
    for layer in inside:
        inside += layer.layers if isinstance(layer, keras.Model) else []
    merges = [layer.name for layer in inside if isinstance(layer, _MERGES)]
    if merges:
        warnings.warn(
            f"The model {model.name!r} is called on tensors with masks, and joins tensors inside ({', '.join(merges[:8])}): "
            "Keras 3 joins their masks by OR, and drops them where one tensor has none, where the Keras that wrote the file "
            "joined those that were there by AND. Compare its outputs where steps are masked.",
            stacklevel=2,
        )


def _all_of(masks: list[Any]) -> Any:
    found, *rest = masks
    for mask in rest:
        if mask is not found:
            found = ops.logical_and(found, mask)
    return found
