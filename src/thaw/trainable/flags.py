"""freeze, unfreeze, only_training, and the present choice of what trains as a value.

Flags are written on the leaves, variable by variable and layer by layer, because what a container's setter does depends
on the backend. Nothing here compiles or rebuilds: watch.py lets a change take effect. May import errors and this package.
"""

import dataclasses
import json
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import keras

from thaw.errors import ChoiceMismatchError
from thaw.trainable import hooks
from thaw.trainable.select import Map, Selection, What, select, select_in, survey

_roots: "weakref.WeakSet[keras.Layer]" = weakref.WeakSet()


_followers: list[Callable[[keras.Layer], None]] = []


def follow(follower: Callable[[keras.Layer], None]) -> None:
    """Call `follower(model)` after every change of flags that is made here."""
    _followers.append(follower)


def _changed(model: keras.Layer) -> None:
    remember_root(model)
    for follower in _followers:
        follower(model)


def remember_root(model: keras.Layer) -> None:
    """Let unfreeze of a part of `model` see `model`, so that it can lift a frozen root. Keeps no model alive."""
    _roots.add(model)


def freeze(model: keras.Layer, *what: What) -> Selection:
    """Stop `what` from training (everything, where nothing is given); takes effect in the next step.

    A compiled model is watched from here on, see `thaw.watch`.

    A frozen layer's batch-normalization statistics stop as well. The flag of `model` itself is left alone: a frozen
    root would block every later thaw below it.

    Args:
        model: any Keras model or layer.
        *what: the selection language, see `thaw.select`.

    Returns:
        What was selected.

    Example:
        thaw.freeze(model, slice(0, -3))
    """
    selection = select(model, *what)
    for variable in selection:
        hooks.set_flag(variable, False)
    _tell_containers(model, stopped=selection.layers)
    _changed(model)
    return selection


def unfreeze(model: keras.Layer, *what: What, batch_norm: bool = True, left_out: bool = False) -> Selection:
    """Let `what` train (everything that may, where nothing is given); takes effect in the next step.

    A compiled model is watched from here on, see `thaw.watch`.

    Containers that would block it are lifted, their other contents left as they are. The base kernel of a layer with
    LoRA stays frozen.

    Args:
        model: any Keras model or layer.
        *what: the selection language, see `thaw.select`.
        batch_norm: False keeps batch normalizations frozen, with their statistics, even where `what` picks them.
        left_out: also thaw the weights that the model's maker left out of training, never statistics. Without it they are
            thawed where they are named themselves ("*" names them all), or where a picked layer holds no others.

    Returns:
        What was selected; `.lifted` names the containers that blocked it, `.kept` what stays frozen and why.

    Example:
        thaw.unfreeze(model, "block5_*", batch_norm=False)
    """
    found = survey(model)
    found = _with_left_out(found) if left_out else dataclasses.replace(found, follow_advice=True)
    selection = select_in(found, what)
    owners = {id(leaf.variable): leaf for leaf in found.leaves}
    thawed, kept = [], []
    for variable in selection:
        leaf = owners[id(variable)]
        if hooks.lora_base(leaf.owner) is variable:
            kept.append((leaf.path, "LoRA trains in its place"))
        elif not batch_norm and hooks.is_batch_norm(leaf.owner):
            kept.append((leaf.path, "batch_norm=False"))
        else:
            hooks.set_flag(variable, True)
            thawed.append(leaf.owner)
    for path in kept:
        leaf = next(leaf for leaf in found.leaves if leaf.path == path[0])
        hooks.set_flag(leaf.variable, False)
        if hooks.is_batch_norm(leaf.owner):
            hooks.set_own_flag(leaf.owner, False)
    lifted = _tell_containers(model, started=thawed)
    lifted += _lift_roots_above(model)
    _changed(model)
    return dataclasses.replace(selection, lifted=tuple(lifted), kept=tuple(kept))


def _with_left_out(found: Map) -> Map:
    leaves = [dataclasses.replace(leaf, may_train=leaf.may_train or hooks.could_train(leaf.variable)) for leaf in found.leaves]
    return dataclasses.replace(found, leaves=tuple(leaves))


def _tell_containers(model: keras.Layer, stopped: Iterable[keras.Layer] = (), started: Iterable[keras.Layer] = ()) -> list[str]:
    """Make the layers' own flags say what is true of their variables; returns the containers that were lifted.

    A layer with variables of its own gets its flag from the change; a container from what is below it. The root's flag
    only ever goes up.
    """
    for layer in stopped:
        hooks.set_own_flag(layer, False)
    for layer in started:
        hooks.set_own_flag(layer, True)
    lifted = []
    for layer in hooks.all_layers(model):
        if hooks.computes_flag(layer):
            continue
        own = [variable for variable, may_train in hooks.own_variables(layer) if may_train]
        below = [v for inner in hooks.all_layers(layer) for v, may_train in hooks.own_variables(inner) if may_train]
        if not below:
            continue
        trains = any(variable.trainable for variable in below)
        if trains and not hooks.own_flag(layer) and (not own or layer is model):
            lifted.append(str(layer.name))
            hooks.set_own_flag(layer, True)
        elif not trains and layer is not model and not own:
            hooks.set_own_flag(layer, False)
    return lifted


def _lift_roots_above(model: keras.Layer) -> list[str]:
    """Lift every known root that holds `model` and is frozen itself."""
    lifted = []
    for root in list(_roots):
        if root is not model and not hooks.own_flag(root) and any(x is model for x in hooks.all_layers(root)):
            hooks.set_own_flag(root, True)
            lifted.append(str(root.name))
    return lifted


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """Which variables train and which layers are switched on, as plain data: comparable, hashable, JSON-able.

    Example:
        before = thaw.trainable(model)
        ...
        before.apply(model)
    """

    variables: tuple[tuple[str, bool], ...]
    layers: tuple[tuple[str, bool], ...]

    @property
    def trains(self) -> tuple[str, ...]:
        """Paths of the variables that train."""
        blocked = ("", False) in self.layers
        return () if blocked else tuple(path for path, flag in self.variables if flag)

    def to_json(self) -> str:
        """This choice as JSON, for `from_json`."""
        return json.dumps({"variables": dict(self.variables), "layers": dict(self.layers)})

    @classmethod
    def from_json(cls, text: str) -> "Choice":
        """The choice that `to_json` wrote."""
        read = json.loads(text)
        both = [tuple((str(path), bool(flag)) for path, flag in read[part].items()) for part in ("variables", "layers")]
        return cls(both[0], both[1])

    def fits(self, model: keras.Layer) -> bool:
        """Whether `apply` would find every variable of this choice in `model`."""
        return self._found_in(model) is not None

    def apply(self, model: keras.Layer) -> None:
        """Put this choice back on `model`, or on another model of the same architecture.

        Variables are found by their paths or, where automatic names differ, by order if all counts are equal.

        Raises:
            ChoiceMismatchError: a variable of this choice is not in `model`. Nothing is changed then.
        """
        found = self._found_in(model)
        if found is None:
            here = [leaf.path for leaf in survey(model).leaves]
            raise ChoiceMismatchError(str(model.name), [path for path, _ in self.variables if path not in here], here)
        leaves, places = found
        for path, flag in self.layers:
            if path in places:
                hooks.set_own_flag(places[path], flag)
        for path, flag in self.variables:
            hooks.set_flag(leaves[path], flag)
        _changed(model)

    def _found_in(self, model: keras.Layer) -> tuple[dict[str, keras.Variable], dict[str, keras.Layer]] | None:
        found = survey(model)
        leaves = {leaf.path: leaf.variable for leaf in found.leaves}
        places = {place.path: place.layer for place in found.places if _holds_weights(place.layer)}
        if all(path in leaves for path, _ in self.variables):
            return leaves, places
        if [_tail(path) for path in leaves] != [_tail(path) for path, _ in self.variables]:
            return None
        leaves = dict(zip((path for path, _ in self.variables), leaves.values(), strict=True))
        if len(places) == len(self.layers):
            places = dict(zip((path for path, _ in self.layers), places.values(), strict=True))
        return leaves, places


def _tail(path: str) -> str:
    return path.rpartition("/")[2].partition("#")[0]


def trainable(model: keras.Layer) -> Choice:
    """The present choice of what trains in `model`, as a value that can be stored, compared and put back."""
    found = survey(model)
    variables = tuple((leaf.path, bool(leaf.variable.trainable)) for leaf in found.leaves)
    # Layers without a weight at or below them have nothing to choose, and often names of the moment (input_layer_7).
    weighty = [p for p in found.places if not hooks.computes_flag(p.layer) and _holds_weights(p.layer)]
    return Choice(variables, tuple((p.path, hooks.own_flag(p.layer)) for p in weighty))


def _holds_weights(layer: keras.Layer) -> bool:
    return any(may_train for inner in hooks.all_layers(layer) for _, may_train in hooks.own_variables(inner))


@contextmanager
def only_training(model: keras.Layer, *what: What, batch_norm: bool = True) -> Iterator[Selection]:
    """Within the block `what` trains and nothing else; afterwards the choice is as before.

    Example:
        with thaw.only_training(model, "head"):
            model.fit(data)
    """
    before = trainable(model)
    select(model, *what)
    freeze(model)
    try:
        yield unfreeze(model, *what, batch_norm=batch_norm)
    finally:
        before.apply(model)
