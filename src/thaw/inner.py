"""The inner layers of a `thaw.KerasLayer`: one for each scope of the publisher's variable names.

`block_16_expand`, `MobilenetV2/expanded_conv_16/expand` or `bilm/RNN_0` become layers of those names, nested as the scopes are;
a level with a single child folds into one. They hold the weights and the flag that says whether they train; what they compute
is part of the program of the layer that owns them. Imports keras and errors.
"""

import weakref
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras

from thaw.errors import UnknownLayerError
from thaw.graph.artifact import VariableSource
from thaw.lowering import kernels


class TrainableTree:
    """The flag that lives on the leaves: setting it sets every leaf below, reading it answers "does anything below train".

    Mixed into the inner layers and into the layer that owns them. `_inner` are the children; `_own` the weights held here, as
    (variable, source, advised, statistic).
    """

    _inner: "list[InnerLayer]"

    def _leaves(self) -> "Iterator[InnerLayer | Any]":
        yield self
        for child in self._inner:
            yield from child._leaves()

    def _set_leaves(self, value: bool, *, follow_advice: bool) -> None:
        """Sets every weight below; with `follow_advice` what the publisher left out stays frozen."""
        for leaf in self._leaves():
            leaf._train_statistics = value
            for weight in leaf._own:
                weight.variable.trainable = value and not weight.statistic and (weight.advised or not follow_advice)

    @property
    def trainable(self) -> bool:
        """Whether anything below trains."""
        if not hasattr(self, "_inner"):
            return True  # Keras asks before the tree stands
        return any(
            any(w.variable.trainable for w in leaf._own)
            or (leaf._train_statistics and any(w.statistic for w in leaf._own) and all(w.statistic for w in leaf._own))
            for leaf in self._leaves()
        )

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"`trainable` is {value!r} ({type(value).__name__}). Expected True or False.")
        if hasattr(self, "_inner"):
            self._set_trainable(value)

    def _set_trainable(self, value: bool) -> None:
        raise NotImplementedError

    @property
    def layers(self) -> "list[InnerLayer]":
        """The layers right below, in the order in which the graph uses them."""
        return list(self._inner)

    def get_layer(self, name: str | int | None = None, index: int | None = None) -> "InnerLayer":
        """The inner layer of that name, path or index.

        Args:
            name: the name of a layer right below; or the publisher's path of one at any depth ("MobilenetV2/Conv/BatchNorm",
                or the end of it, where it is unique), or a pattern ("*expand*") that matches one; an int counts as `index`.
            index: position among `layers`; negative counts from the end.

        Raises:
            UnknownLayerError: there is none, or several; lists what there is, nearest first.
        """
        if isinstance(name, int):
            name, index = None, name
        children = self._inner
        if index is not None:
            if not -len(children) <= index < len(children):
                raise UnknownLayerError(str(index), [c.name for c in children], self.name)  # type: ignore[attr-defined]
            return children[index]
        if name is None:
            raise UnknownLayerError("None", [c.name for c in children], self.name)  # type: ignore[attr-defined]
        for child in children:
            if child.name == name:
                return child
        below = [leaf for child in children for leaf in child._leaves()]
        for test in (
            lambda leaf: leaf.source_path == name,
            lambda leaf: leaf.name == name,
            lambda leaf: leaf.source_path.endswith("/" + name),
            lambda leaf: fnmatchcase(leaf.source_path, name) or fnmatchcase(leaf.name, name),
        ):
            found = [leaf for leaf in below if test(leaf)]
            if len(found) == 1:
                return found[0]
            if found:
                raise UnknownLayerError(name, [leaf.source_path for leaf in found], self.name, several=True)  # type: ignore[attr-defined]
        raise UnknownLayerError(name, [leaf.source_path for leaf in below], self.name)  # type: ignore[attr-defined]


class Weight:
    """A weight and what is known of it: its variable, its source, the publisher's advice, whether it is a moving statistic."""

    __slots__ = ("advised", "source", "statistic", "variable")

    def __init__(self, variable: Any, source: VariableSource, advised: bool, statistic: bool) -> None:
        self.variable = variable
        self.source = source
        self.advised = advised
        self.statistic = statistic


class InnerLayer(TrainableTree, keras.layers.Layer):  # type: ignore[misc]
    """One scope of the publisher's variable names, as a Keras layer.

    Attributes:
        source_path: the publisher's name of the scope, "MobilenetV2/expanded_conv_16/expand".
        layers: inner layers right below.
        trainable: setting it sets every weight below (what the publisher left out of his advice as well, where the layer
            holds nothing that he advised to train); reading it answers whether anything below trains.
    """

    def __init__(self, name: str, source_path: str, *, dtype: Any) -> None:
        super().__init__(name=name, dtype=dtype)
        self.source_path = source_path
        self._train_statistics = False
        self._holder = _Holder()
        self._inner = []
        self.built = True

    @property
    def _own(self) -> list[Weight]:
        return self._holder.weights

    @property
    def output(self) -> Any:
        """What this layer answers with, as a symbolic tensor that is computed from `input` of the layer that owns it.

        It is the last tensor of the layer's scope that the graph around it uses. `keras.Model(layer.input,
        layer.get_layer(x).output)` is a model that shares the weights.

        Raises:
            UnknownTensorError: nothing that could be fed on is computed from its weights.
        """
        owner = self._holder.owner() if self._holder.owner is not None else None
        if owner is None:
            raise AttributeError(
                f"The inner layer {self.name!r} belongs to no layer any more; keep the KerasLayer that it is of."
            )
        return owner._output_of(self)

    def _set_trainable(self, value: bool) -> None:
        advised = any(w.advised for leaf in self._leaves() for w in leaf._own)
        self._set_leaves(value, follow_advice=advised)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Refuses: an inner layer computes only as part of the layer that owns it."""
        raise NotImplementedError(
            f"The inner layer {self.name!r} was called by itself. It holds weights and computes only as part of its "
            "KerasLayer; for its output use `keras.Model(layer.input, layer.get_layer(name).output)`."
        )

    def load_own_variables(self, store: Any) -> None:
        """Restores the weights."""
        super().load_own_variables(store)
        self._holder.restored = True

    def __repr__(self) -> str:
        return f"<InnerLayer {self.source_path}, {self.count_params():,} parameters, trainable={self.trainable}>"


class _Holder:
    """Keeps the list of weights out of reach of Keras' attribute tracking, which would track each variable twice."""

    def __init__(self) -> None:
        self.weights: list[Weight] = []
        self.restored = False
        self.owner: weakref.ref[Any] | None = None


def add_source(
    layer: Any, source: VariableSource, leaf: str, *, dtype: Any, advised: bool, statistic: bool, value: Any, shared: Any = None
) -> Any:
    """Adds the Keras variable of `source` to `layer` under the name `leaf`; `value` is called for its initial value.

    `shared` is the variable of another layer to hold instead of one of its own.
    """
    floating = source.dtype.startswith(("float", "bfloat"))
    if shared is not None:
        variable, trains = shared, shared.trainable
        variable.trainable = floating and not statistic  # decides in which order Keras stores it, as below
        layer.shared_weights = [*getattr(layer, "shared_weights", ()), variable]  # Keras finds variables in such a list
        variable.trainable = trains
    else:
        variable = layer.add_weight(
            name=leaf,
            shape=source.shape,
            dtype=dtype,
            initializer=lambda shape, dtype=None: kernels.own_copy(value()),
            trainable=floating and not statistic,
            autocast=not statistic,  # as Keras' own: in float16 they would stand still
        )
        variable.source_name = source.name
        # For the selection language: what the publisher left out thaws by name only, a statistic never.
        variable.left_out = not advised
        variable.is_statistic = statistic
    layer._holder.weights.append(Weight(variable, source, advised and floating and not statistic, statistic or not floating))
    return variable


def variable_dtype(source: VariableSource, policy: str) -> str:
    """The dtype of the Keras variable: the policy's for float32, else the source's, narrowed where the backend has no 64 bits."""
    if source.dtype == "float32":
        return policy
    if source.dtype in {"int64", "uint64", "float64"}:
        return str(keras.backend.standardize_dtype(keras.ops.zeros((), dtype=source.dtype).dtype))
    return source.dtype


class Scope:
    """A level of the publisher's names while the tree is built: sources held here and levels below."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self.sources: list[tuple[str, VariableSource]] = []
        self.below: dict[str, Scope] = {}


def scopes(sources: Sequence[VariableSource]) -> Scope:
    """The tree of scopes of the sources' names; levels with a single child and nothing else folded into one.

    A folded level keeps the first of its names, which is unique among its neighbours, and the whole path.
    """
    root = Scope("", "")
    for source in sources:
        *parts, leaf = source.name.split("/")
        scope = root
        for part in parts:
            path = f"{scope.path}/{part}" if scope.path else part
            scope = scope.below.setdefault(part or "_", Scope(part or "_", path))
        scope.sources.append((leaf or "_", source))
    while len(root.below) == 1 and not root.sources:
        (child,) = root.below.values()
        if not child.below:
            break
        root = child
    work = list(root.below.values())
    while work:
        scope = work.pop()
        while len(scope.below) == 1 and not scope.sources:
            (child,) = scope.below.values()
            scope.path, scope.sources, scope.below = child.path, child.sources, child.below
        work.extend(scope.below.values())
    return root
