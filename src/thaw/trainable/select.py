"""The selection language: which layers and variables of a model a user means.

A selection is made of names, globs, `re.compile(...)` patterns, layers, variables, indices, slices, layer classes,
predicates, and their combinations (`any_of`, `all_of`, `not_`). Selecting changes nothing: flags.py does.
Variables are told apart by identity, never by value. May import errors and hooks of this package.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import keras

from thaw.errors import NothingCanTrainError, NothingSelectedError, NotInModelError
from thaw.trainable import hooks


@dataclass(frozen=True, slots=True)
class Combined:
    """Parts of the selection language joined by `any`, `all` or `not`. Made by any_of, all_of and not_."""

    how: str
    parts: tuple[object, ...]

    def __repr__(self) -> str:
        name = {"any": "any_of", "all": "all_of", "not": "not_"}[self.how]
        return f"{name}({', '.join(map(repr, self.parts))})"


What: TypeAlias = (
    str
    | re.Pattern[str]
    | int
    | slice
    | Combined
    | type[keras.Layer]
    | keras.Layer
    | keras.Variable
    | Callable[[keras.Layer], bool]
    | Sequence["What"]
)


def any_of(*what: What) -> Combined:
    """What at least one of `what` picks. Each of them must pick something.

    Example:
        thaw.unfreeze(model, thaw.all_of(thaw.any_of("block4_*", "block5_*"), keras.layers.Conv2D))
    """
    return Combined("any", what)


def all_of(*what: What) -> Combined:
    """What every one of `what` picks, e.g. `all_of("block5_*", keras.layers.Conv2D)`."""
    return Combined("all", what)


def not_(*what: What) -> Combined:
    """All but what any of `what` picks.

    Example:
        thaw.freeze(model, thaw.not_("head"))
    """
    return Combined("not", what)


@dataclass(frozen=True, slots=True)
class Place:
    """One layer where it stands in a model: `path` is made of the layers' own names, "" for the model itself."""

    layer: keras.Layer
    path: str

    @property
    def names(self) -> tuple[str, ...]:
        """What a user may call it. The model itself answers to its name alone, so that globs pass it over."""
        own = getattr(self.layer, "path", None)
        return tuple(dict.fromkeys(n for n in (self.layer.name, self.path, own) if n))


@dataclass(frozen=True, slots=True)
class Leaf:
    """One variable where it stands in a model. `may_train` is False for statistics, seeds, integers and the like."""

    variable: keras.Variable
    owner: keras.Layer
    path: str
    may_train: bool

    @property
    def names(self) -> tuple[str, ...]:
        """What a user may call it: its name, its path in the model and in Keras, and its name in the source file."""
        source = str(getattr(self.variable, "source_name", "") or "").removesuffix(":0")
        return tuple(dict.fromkeys(n for n in (self.variable.name, self.path, self.variable.path, source) if n))


@dataclass(frozen=True, slots=True)
class Map:
    """Every layer and variable of a model, in graph order, each once (shared ones where they are met first)."""

    root: keras.Layer
    places: tuple[Place, ...]
    leaves: tuple[Leaf, ...]
    follow_advice: bool = False
    """Whether a layer means only what its publisher lists as trainable, if it holds any such."""

    def below(self, layer: keras.Layer) -> set[int]:
        """Ids of the variables at or below `layer` that may train."""
        inner = {id(part) for part in hooks.all_layers(layer)}
        held = [leaf.variable for leaf in self.leaves if leaf.may_train and id(leaf.owner) in inner]
        advised = [variable for variable in held if not hooks.left_out(variable)]
        return {id(variable) for variable in (advised if self.follow_advice and advised else held)}

    def known_names(self) -> list[str]:
        """Names to suggest: layers first, then variables."""
        named = [place.path for place in self.places if place.path] + [leaf.path for leaf in self.leaves if leaf.may_train]
        return list(dict.fromkeys(named))


def survey(model: keras.Layer) -> Map:
    """The layers and variables of `model` with their paths, in graph order. Equal paths get `#2`, `#3`, ..."""
    places: list[Place] = []
    leaves: list[Leaf] = []
    seen: set[int] = set()
    used: dict[str, int] = {}

    def unique(path: str) -> str:
        used[path] = used.get(path, 0) + 1
        return path if used[path] == 1 else f"{path}#{used[path]}"

    def visit(layer: keras.Layer, path: str) -> None:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        places.append(Place(layer, path))
        for variable, may_train in hooks.own_variables(layer):
            if id(variable) not in seen:
                seen.add(id(variable))
                name = f"{path}/{variable.name}" if path else str(variable.name)
                leaves.append(Leaf(variable, layer, unique(name), may_train))
        for child in [*hooks.children(layer), *hooks.uncounted_children(layer)]:
            if id(child) not in seen:
                visit(child, unique(f"{path}/{child.name}" if path else str(child.name)))

    visit(model, "")
    return Map(model, tuple(places), tuple(leaves))


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selection matched, and what a change of flags did with it.

    Attributes:
        variables: the variables picked, in graph order.
        layers: the layers all of whose own trainable variables are picked.
        paths: the variables' paths in the model.
        lifted: names of containers that blocked training and were lifted (unfreeze only).
        kept: (path, reason) of what was picked but stays frozen (unfreeze only).
    """

    variables: tuple[keras.Variable, ...]
    layers: tuple[keras.Layer, ...]
    paths: tuple[str, ...]
    lifted: tuple[str, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.variables)

    def __iter__(self) -> Iterator[keras.Variable]:
        return iter(self.variables)

    def __contains__(self, thing: object) -> bool:
        return any(thing is v for v in self.variables) or any(thing is layer for layer in self.layers)

    def __repr__(self) -> str:
        shown = ", ".join(self.paths[:6]) + (f", ... ({len(self.paths) - 6} more)" if len(self.paths) > 6 else "")
        text = f"{len(self.variables)} variables in {len(self.layers)} layers: {shown}"
        text += f"; lifted {', '.join(self.lifted)}" if self.lifted else ""
        text += "".join(f"; kept {path} frozen ({reason})" for path, reason in self.kept)
        return f"<Selection of {text}>"


def select(model: keras.Layer, *what: What) -> Selection:
    """What `what` means in `model`; everything that may train where nothing is given. Changes nothing.

    Args:
        model: any Keras model or layer.
        *what: any number of
            names ("block5_conv1", "kernel", "encoder/dense/bias", names of the source file),
            globs ("block5_*", "*/bias"), patterns (`re.compile("conv[12]")`, searched in paths),
            layers, variables, indices and slices into the model's layers in graph order (`-3`, `slice(-3, None)`),
            layer classes (`keras.layers.Conv2D`), predicates over layers and variables
            (`lambda x: "norm" in x.name`), earlier selections, lists, and `any_of`, `all_of`, `not_` of these.
            A layer means every variable
            below it that may train. Upper and lower case are told apart unless nothing matches otherwise.

    Returns:
        What matched, in graph order.

    Raises:
        SelectionError: a part of `what` picks nothing; the message lists the nearest names.

    Example:
        thaw.select(model, "block5_*", keras.layers.Dense).paths
    """
    return select_in(survey(model), what)


def select_in(found: Map, what: tuple[What, ...]) -> Selection:
    """As `select`, in a model that was surveyed before."""
    picked = _union(found, what) if what else found.below(found.root)
    chosen = [leaf for leaf in found.leaves if id(leaf.variable) in picked]
    layers = []
    for place in found.places:
        own = [id(variable) for variable, may_train in hooks.own_variables(place.layer) if may_train]
        if own and all(key in picked for key in own):
            layers.append(place.layer)
    return Selection(tuple(leaf.variable for leaf in chosen), tuple(layers), tuple(leaf.path for leaf in chosen))


def _union(found: Map, what: Iterable[object]) -> set[int]:
    picked: set[int] = set()
    for item in what:
        picked |= _pick(found, item)
    return picked


def _pick(found: Map, item: object) -> set[int]:
    """Ids of the variables that `item` means. Never empty."""
    model = str(found.root.name)
    if isinstance(item, Combined):
        picked = _combine(found, item)
        if not picked:
            raise NothingSelectedError(item, model, found.known_names())
        return picked
    if isinstance(item, list | tuple | Selection):
        return _union(found, item)
    if isinstance(item, keras.Variable) or hooks.is_native(item):
        leaf = next((leaf for leaf in found.leaves if leaf.variable is item or hooks.value_is(leaf.variable, item)), None)
        if leaf is None:
            raise NotInModelError("variable", str(getattr(item, "path", getattr(item, "name", "?"))), model)
        if not (leaf.may_train or hooks.could_train(leaf.variable)):
            raise NothingCanTrainError(leaf.path, model, [leaf.path])
        return {id(leaf.variable)}
    layers, leaves = _matches(found, item)
    if not layers and not leaves:
        raise NothingSelectedError(item, model, found.known_names())
    picked = set().union(*(found.below(layer) for layer in layers)) | {id(leaf.variable) for leaf in leaves}
    if not picked:
        raise NothingCanTrainError(item, model, [str(layer.name) for layer in layers])
    return picked


def _combine(found: Map, item: Combined) -> set[int]:
    every = {id(leaf.variable) for leaf in found.leaves if leaf.may_train}
    if item.how == "any" or not item.parts:
        return _union(found, item.parts)
    if item.how == "not":
        return every - _union(found, item.parts)
    return set.intersection(*(_pick(found, part) for part in item.parts))


def _matches(found: Map, item: object) -> tuple[list[keras.Layer], list[Leaf]]:
    """The layers and variables that `item` matches, before asking what may train."""
    if isinstance(item, str):
        return _named(found, item)
    if isinstance(item, re.Pattern):
        layers = [p.layer for p in found.places if p.path and any(item.search(n) for n in p.names)]
        return layers, [leaf for leaf in found.leaves if leaf.may_train and any(item.search(n) for n in leaf.names)]
    if isinstance(item, keras.Layer):
        if not any(place.layer is item for place in found.places):
            raise NotInModelError("layer", str(item.name), str(found.root.name))
        return [item], []
    if isinstance(item, bool):
        return [], []
    if isinstance(item, int | slice):
        ordered = hooks.children(found.root)
        if isinstance(item, slice):
            return ordered[item], []
        return ([ordered[item]] if -len(ordered) <= item < len(ordered) else []), []
    if isinstance(item, type):
        return [p.layer for p in found.places if p.path and isinstance(p.layer, item)], []
    if callable(item):
        layers = [p.layer for p in found.places if p.path and _asks(item, p.layer)]
        return layers, [leaf for leaf in found.leaves if leaf.may_train and _asks(item, leaf.variable)]
    return [], []


def _asks(predicate: Callable[[object], object], thing: object) -> bool:
    """Whether `predicate` says yes; one that asks a variable for what only layers have says no."""
    try:
        return bool(predicate(thing))
    except AttributeError:
        return False


def _named(found: Map, name: str) -> tuple[list[keras.Layer], list[Leaf]]:
    """Exact names before globs, globs before parts of paths; all of these again with upper and lower case alike."""
    if name == found.root.name:
        return [found.root], []
    tests: list[Callable[[str, str], bool]] = [
        lambda candidate, wanted: candidate == wanted,
        fnmatch.fnmatchcase,
        lambda candidate, wanted: f"/{wanted.strip('/')}/" in f"/{candidate}/",
    ]
    for fold in (str, str.casefold):
        for test in tests:
            wanted = fold(name)
            layers = [p.layer for p in found.places if p.path and any(test(fold(n), wanted) for n in p.names)]
            leaves = [leaf for leaf in found.leaves if any(test(fold(n), wanted) for n in leaf.names)]
            # What was left out or never trains is picked by its whole name only, never by a pattern.
            whole = test is tests[0] and "/" in name
            picked = [leaf for leaf in leaves if leaf.may_train or (whole and hooks.could_train(leaf.variable))]
            if layers or picked:
                return layers, picked
    return [], []


def from_text(text: str) -> What:
    """One part of the selection language as typed on a command line.

    `-3` is an index, `-3:` a slice, `/conv[12]/` a pattern, `class:Conv2D` a layer class, `!head` all but head, and
    everything else a name or glob.
    """
    if text.startswith("!"):
        return not_(from_text(text[1:]))
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"(-?\d+)?:(-?\d+)?", text):
        start, _, stop = text.partition(":")
        return slice(int(start) if start else None, int(stop) if stop else None)
    if len(text) > 2 and text.startswith("/") and text.endswith("/"):
        return re.compile(text[1:-1])
    if text.startswith("class:"):
        kind = getattr(keras.layers, text.removeprefix("class:"), None)
        if isinstance(kind, type):
            layer_class: type[keras.Layer] = kind
            return layer_class
        raise NothingSelectedError(text, "keras.layers", [f"class:{name}" for name in dir(keras.layers)])
    return text
