"""Puts stored arrays into built layers, as flat lists by layer: the form of `.h5` files and of Keras' SavedModels.

A nested model's list mixes the weights of its layers; names and shapes tell in which order. Nothing is set before
everything fits. Reads no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from thaw.errors import WeightsMismatchError
from thaw.formats.keras_file.build import Built
from thaw.formats.keras_file.layouts import Array, converted, stored_count
from thaw.formats.keras_file.spec import LayerSpec, new_name

__all__ = ["Stored", "assign_weights", "assign_weights_into"]

# Random layers of Keras 2.5 to 2.15 stored the state of their generator.
_STATE = re.compile(r"(state_?var|rng_state|seed_generator_state)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored array with the name that Keras gave its weight, as `conv1/kernel:0`."""

    name: str
    value: Array

    @property
    def parts(self) -> list[str]:
        """The components of the name as Keras 3 has them, without the `:0`."""
        return [new_name(part) for part in self.name.partition(":")[0].split("/")]


def assign_weights(built: Built, stored: Mapping[str, Sequence[Stored]], *, version: int, backend: str, shown: object) -> None:
    """Sets every weight of a model.

    Args:
        built: The model.
        stored: The arrays of each of its layers, by the layer's name.
        version: Major version of the Keras that wrote them.
        backend: The backend that it ran on.
        shown: The file's name, for errors.

    Raises:
        WeightsMismatchError: A layer's arrays are missing, too many, or of another shape; all such layers are listed.
    """
    pairs = [
        (child.name, _leaves(built, child, layer), stored.get(child.name, ())) for child, layer in built.children(built.spec)
    ]
    _assign(pairs, version, backend, shown)


def assign_weights_into(model: Any, stored: Mapping[str, Sequence[Stored]], *, version: int, backend: str, shown: object) -> None:
    """Sets the weights of a model that the user built: by layer name where all names agree, else in order.

    Raises:
        WeightsMismatchError: The layers or their shapes are others.
    """
    layers = [layer for layer in model.layers if layer.weights]
    names = [name for name, arrays in stored.items() if arrays]
    if {layer.name for layer in layers} != set(names):
        if len(layers) != len(names):
            problem = f"the file has weights for {len(names)} layers ({', '.join(names[:8])}), the model has {len(layers)}"
            raise WeightsMismatchError(shown, [problem])
        pairs = [(layer.name, _own_leaves(layer), stored[name]) for layer, name in zip(layers, names, strict=True)]
    else:
        pairs = [(layer.name, _own_leaves(layer), stored[layer.name]) for layer in layers]
    _assign(pairs, version, backend, shown)


def _leaves(built: Built, spec: LayerSpec, layer: Any) -> list[Any]:
    """The layers inside a model, in the file's order; a layer that is no model is its own leaf."""
    if spec.kind not in ("functional", "sequential", "wrapper"):
        return [layer]
    leaves: list[Any] = []
    for child, inner in built.children(spec):
        leaves += [leaf for leaf in _leaves(built, child, inner) if not any(leaf is other for other in leaves)]
    return leaves


def _own_leaves(layer: Any) -> list[Any]:
    inner = getattr(layer, "layers", None)
    return [leaf for item in inner for leaf in _own_leaves(item)] if isinstance(inner, list) and inner else [layer]


def _assign(pairs: Sequence[tuple[str, list[Any], Sequence[Stored]]], version: int, backend: str, shown: object) -> None:
    problems: list[str] = []
    ready: list[tuple[Any, list[Array]]] = []
    for name, leaves, arrays in pairs:
        try:
            shares = _shares(leaves, list(arrays), version)
        except ValueError as error:
            problems.append(f"layer {name!r}: {error}")
            continue
        for leaf, share in zip(leaves, shares, strict=True):
            values = _converted(leaf, share, version, backend)
            wanted = [tuple(weight.shape) for weight in leaf.weights]
            if type(leaf) is keras.layers.Discretization and len(values) == 1 and values[0].ndim == 2:
                # What its data looked like is an array and no weight; the boundaries follow from it.
                wanted = [(2, values[0].shape[1])]
            found = [value.shape for value in values]
            if wanted != found:
                inside = "" if leaf.name == name else f" (inside {name!r})"
                problems.append(f"layer {leaf.name!r}{inside} has the shapes {wanted}, the file {found}")
            ready.append((leaf, values))
    if problems:
        raise WeightsMismatchError(shown, problems)
    for leaf, values in ready:
        if type(leaf) is keras.layers.Discretization and values:
            leaf.summary = values[0]
            leaf.finalize_state()
            continue
        for weight, value in zip(leaf.weights, values, strict=True):
            weight.assign(value)
        finalize = getattr(leaf, "finalize_state", None)
        if finalize is not None and values:
            finalize()


def _converted(leaf: Any, share: Sequence[Stored], version: int, backend: str) -> list[Array]:
    try:
        return converted(leaf, [item.value for item in share], version=version, backend=backend)
    except (ValueError, IndexError):
        # Arrays of a rank that the layout cannot have: the shapes are compared next, and reported.
        return [item.value for item in share]


def _shares(leaves: list[Any], arrays: list[Stored], version: int) -> list[list[Stored]]:
    """`arrays` split among the leaves, each share in the order of the leaf's weights."""
    if not any(leaf.weights for leaf in leaves):
        arrays = [item for item in arrays if not _STATE.search(item.name)]
    counts = [stored_count(leaf, version) for leaf in leaves]
    if len(arrays) != sum(counts):
        without_state = [item for item in arrays if not _STATE.search(item.name)]
        if len(without_state) != sum(counts):
            raise ValueError(f"expects {sum(counts)} arrays, and the file has {len(arrays)}")
        arrays = without_state
    if len(leaves) == 1:
        return [arrays]
    best: list[list[Stored]] | None = None
    fewest = None
    for order in _orders(leaves, counts, version):
        shares: list[list[Stored]] = [[] for _ in leaves]
        for (leaf, _), item in zip(order, arrays, strict=True):
            shares[leaf].append(item)
        # In flat orders a leaf's arrays come in the order of its weights; only which arrays are its own is in question.
        misfits = sum(_misfits(leaf, share) for leaf, share in zip(leaves, shares, strict=True))
        if fewest is None or misfits < fewest:
            best, fewest = shares, misfits
    if fewest:
        named = _shares_by_name(leaves, arrays)
        best = named if named is not None else best
    assert best is not None
    return best


def _orders(leaves: list[Any], counts: list[int], version: int) -> Iterator[list[tuple[int, int]]]:
    """The ways in which Keras lined up a nested model's weights: trainable ones before the others, or layer by layer."""
    places = [(leaf, index) for leaf, count in enumerate(counts) for index in range(count)]

    def moving(place: tuple[int, int]) -> bool:
        leaf = leaves[place[0]]
        trainable = counts[place[0]] - len(leaf.non_trainable_weights)
        return place[1] >= trainable

    def static(place: tuple[int, int]) -> bool:
        # As if nothing were frozen: a model frozen or thawed after its layers were saved with other flags.
        leaf = leaves[place[0]]
        names = [str(weight.name) for weight in leaf.weights]
        return place[1] < len(names) and names[place[1]] in ("moving_mean", "moving_variance", "mean", "variance", "count")

    for late in (moving, static):
        yield [place for place in places if not late(place)] + [place for place in places if late(place)]
    yield places


def _misfits(leaf: Any, share: Sequence[Stored]) -> int:
    """How many of a leaf's arrays look like another's, by shape and name."""
    wrong = 0
    for weight, item in zip(leaf.weights, share, strict=False):
        parts = item.parts
        last = re.sub(r"_\d+$", "", parts[-1])
        own = str(weight.name)
        if item.value.size != _size(weight) or own not in (parts[-1], last):
            wrong += 2
        elif len(parts) > 1 and leaf.name not in parts:
            wrong += 1
    return wrong


def _shares_by_name(leaves: list[Any], arrays: Sequence[Stored]) -> list[list[Stored]] | None:
    """Each leaf's arrays by name and shape; None where the names do not tell."""
    shares = []
    for leaf in leaves:
        share = []
        for weight in leaf.weights:
            found = [
                item
                for item in arrays
                if leaf.name in item.parts and item.parts[-1] == weight.name and item.value.shape == tuple(weight.shape)
            ]
            if len(found) != 1:
                return None
            share.append(found[0])
        shares.append(share)
    return shares


def _size(weight: Any) -> int:
    size = 1
    for length in weight.shape:
        size *= int(length)
    return size
