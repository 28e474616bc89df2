"""Gives ops that no gradient passes one that stands in for it: straight through the op, or of a soft version of it.

"straight_through" keeps every value as it was and lets the gradient of a smooth stand-in flow; "soft" computes the stand-in
itself. Stand-ins: the identity for rounding, casts and StopGradient, tanh for Sign, a sigmoid for comparisons, a softmax for
ArgMax. Imports this room only.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from thaw.graph.ir import FunctionName, Graph, Node, Tensor

WAYS = ("straight_through", "soft")

ROUNDING = frozenset({"Round", "Rint", "Floor", "Ceil"})
STOPS = frozenset({"StopGradient", "PreventGradient"})
ABOVE = frozenset({"Greater", "GreaterEqual"})
BELOW = frozenset({"Less", "LessEqual"})
RELAXABLE = ROUNDING | STOPS | ABOVE | BELOW | {"Sign", "Cast", "ArgMax"}
"""Ops that can be relaxed."""

CONSUMERS = frozenset({"Cast", "OneHot", "Gather", "GatherV2", "Select", "SelectV2"})
"""Ops that bring an index or a bool back to floats; between them and the hard op there may be identities."""


def matches(node: Node, wanted: str) -> bool:
    """Whether `wanted`, an op type, a node's name, the end of one, or a glob, means `node`."""
    name = node.name
    return (
        wanted == node.op
        or wanted == name
        or name.endswith("/" + wanted)
        or wanted.endswith("/" + name)
        or fnmatchcase(name, wanted)
    )


def relax(graph: Graph, library: Mapping[str, Graph], rules: Sequence[tuple[str, str]]) -> tuple[Graph, list[str]]:
    """`graph` with the ops that `rules` (what, how) mean relaxed, in bodies and branches too; and the names of those ops."""
    edit = _Edit(graph)
    done: list[str] = []
    for what, how in rules:
        for node in [n for n in graph.nodes.values() if n.op in RELAXABLE and matches(n, what)]:
            if edit.relax(node, how):
                done.append(node.name)
    for node in list(edit.nodes.values()):
        attrs = dict(node.attrs)
        for key, value in node.attrs.items():
            before = value if isinstance(value, tuple) else (value,)
            after = [_inside(part, library, rules, done) for part in before]
            if any(part is not None for part in after):
                kept = tuple(old if new is None else new for new, old in zip(after, before, strict=True))
                attrs[key] = kept if isinstance(value, tuple) else kept[0]
        if attrs != dict(node.attrs):
            edit.nodes[node.name] = replace(node, attrs=attrs)
    return edit.graph(), done


def _inside(part: object, library: Mapping[str, Graph], rules: Sequence[tuple[str, str]], done: list[str]) -> Graph | None:
    """A body or branch with its ops relaxed; None where nothing in it is meant."""
    body = library.get(part.name) if isinstance(part, FunctionName) else part
    if not isinstance(body, Graph):
        return None
    relaxed, found = relax(body, library, rules)
    done.extend(found)
    return relaxed if found else None


class _Edit:
    """A graph being changed: new nodes, and tensors that stand in for others."""

    def __init__(self, graph: Graph) -> None:
        self.original = graph
        self.nodes = dict(graph.nodes)
        self.outputs = graph.outputs
        self.made: set[str] = set()

    def graph(self) -> Graph:
        """The changed graph."""
        return replace(self.original, nodes=self.nodes, outputs=self.outputs)

    def emit(self, near: str, op: str, *inputs: Tensor, **attrs: Any) -> Tensor:
        """Adds a node; its first output."""
        name = f"{near}/relaxed_{len(self.made)}_{op}"
        self.made.add(name)
        self.nodes[name] = Node(name, op, inputs, (), attrs)
        return Tensor(name)

    def constant(self, near: str, value: float | int | np.ndarray, dtype: str = "float32") -> Tensor:
        """Adds a constant."""
        return self.emit(near, "Const", value=np.asarray(value, dtype))

    def stand_in(self, old: Tensor, make: Callable[[], Tensor]) -> bool:
        """Lets what `make` adds stand for `old` wherever that is used."""
        before = set(self.nodes)
        new = make()
        for name in before:
            node = self.nodes[name]
            if old in node.inputs:
                self.nodes[name] = replace(node, inputs=tuple(new if t == old else t for t in node.inputs))
        self.outputs = tuple(new if t == old else t for t in self.outputs)
        return True

    def through(self, near: str, hard: Tensor, soft: Tensor, how: str) -> Tensor:
        """The value of `hard` with the gradient of `soft`; with "soft", `soft` itself."""
        if how == "soft":
            return soft
        stopped = self.emit(near, "StopGradient", self.emit(near, "Sub", hard, soft))
        return self.emit(near, "AddV2", soft, stopped)

    def relax(self, node: Node, how: str) -> bool:
        """Relaxes one op; whether there was anything to do."""
        x, near, hard = node.inputs[0], node.name, Tensor(node.name)
        if node.op in STOPS:
            return self.stand_in(hard, lambda: x)
        if node.op in ROUNDING:
            return self.stand_in(hard, lambda: self.through(near, hard, self.smooth_steps(near, x) if how == "soft" else x, how))
        if node.op == "Sign":
            return self.stand_in(hard, lambda: self.through(near, hard, self.emit(near, "Tanh", x), how))
        if node.op == "Cast":
            return self.relax_cast(node, how)
        if node.op == "ArgMax":
            return self.relax_consumers(node, how, self.softmax(near, x, node.inputs[1]))
        first, second = node.inputs if node.op in ABOVE else node.inputs[::-1]
        return self.relax_consumers(node, how, self.emit(near, "Sigmoid", self.emit(near, "Sub", first, second)))

    def smooth_steps(self, near: str, x: Tensor) -> Tensor:
        """`x - sin(2 pi x) / (2 pi)`, which rises where a rounded value jumps."""
        turns = self.emit(near, "Sin", self.emit(near, "Mul", x, self.constant(near, 2 * math.pi)))
        return self.emit(near, "Sub", x, self.emit(near, "Mul", turns, self.constant(near, 1 / (2 * math.pi))))

    def softmax(self, near: str, x: Tensor, axis: Tensor) -> Tensor:
        """The softmax of `x` along any axis."""
        keep = {"keep_dims": True}
        raised = self.emit(near, "Exp", self.emit(near, "Sub", x, self.emit(near, "Max", x, axis, **keep)))
        return self.emit(near, "RealDiv", raised, self.emit(near, "Sum", raised, axis, **keep))

    def consumers(self, tensor: Tensor) -> Iterable[tuple[Node, int]]:
        """Who brings `tensor` back to floats, seen through identities: (node, which of its inputs)."""
        for node in list(self.nodes.values()):
            for position, used in enumerate(node.inputs):
                if used != tensor or node.name in self.made:
                    continue
                if node.op == "Identity":
                    yield from self.consumers(Tensor(node.name))
                elif node.op in CONSUMERS:
                    yield node, position

    def relax_cast(self, node: Node, how: str) -> bool:
        """A cast to integers, where its result is cast back: the value rounded towards zero, the gradient straight through."""
        if str(node.attrs.get("DstT", "")).startswith(("float", "bfloat", "half", "complex")):
            return False
        done = False
        for user, _ in self.consumers(Tensor(node.name)):
            if user.op == "Cast" and str(user.attrs.get("DstT", "")).startswith(("float", "bfloat", "half")):
                back = Tensor(user.name)
                done |= self.stand_in(back, lambda back=back: self.through(node.name, back, node.inputs[0], "straight_through"))  # type: ignore[misc]
        return done

    def relax_consumers(self, node: Node, how: str, soft: Tensor) -> bool:
        """An index or bool: each op that brings it back to floats gets what it would compute from probabilities."""
        done = False
        near = node.name
        for user, position in list(self.consumers(Tensor(near))):
            value = self.expected(node, user, position, soft)
            if value is not None:
                hard = Tensor(user.name)
                done |= self.stand_in(hard, lambda hard=hard, value=value: self.through(near, hard, value, how))  # type: ignore[misc]
        return done

    def expected(self, node: Node, user: Node, position: int, soft: Tensor) -> Tensor | None:
        """What `user` computes on average, where the index or bool that `node` gives is drawn with the probabilities `soft`."""
        near, to_float = node.name, str(user.attrs.get("DstT", "")).startswith(("float", "bfloat", "half"))
        if node.op != "ArgMax":
            if user.op == "Cast" and to_float:
                return soft
            if user.op in {"Select", "SelectV2"} and position == 0:
                difference = self.emit(near, "Sub", user.inputs[1], user.inputs[2])
                return self.emit(near, "AddV2", user.inputs[2], self.emit(near, "Mul", soft, difference))
            return None
        if user.op == "Cast" and to_float:  # the mean of the index is the sum of one less its distribution function
            rest = self.emit(near, "Sub", self.constant(near, 1.0), self.emit(near, "Cumsum", soft, node.inputs[1]))
            return self.emit(near, "Sum", rest, node.inputs[1])
        if user.op == "OneHot" and position == 0:
            span = self.emit(near, "Sub", user.inputs[2], user.inputs[3])
            return self.emit(near, "AddV2", user.inputs[3], self.emit(near, "Mul", soft, span))
        if user.op in {"Gather", "GatherV2"} and position == 1:
            return self.emit(near, "MatMul", soft, user.inputs[0])
        return None
