"""How often a loop runs, found before it runs: its counters are simulated on the host, everything else is "unknown".

A counter is a loop variable that is numpy at the start and whose next value follows from counters and host values alone, by
whatever arithmetic: `i + 1`, `i - 2`, `k * 3`. The condition is evaluated with all other values unknown, an unknown that
cannot exceed a known bound remembered as such: `(i < n) and unknown` ends by n, `i < min(n, unknown)` too. Not here: running
the loop (`thaw.lowering.loops`). Imports run and values.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thaw.graph.ir import FunctionName, Graph, Node, Tensor
from thaw.lowering.registry import LOWERINGS
from thaw.lowering.run import PLACES, Context, Step, bind, callee, order
from thaw.lowering.values import Value, is_host

LIMIT = 100_000
"""Rounds after which a loop counts as endless."""

MOST_NODES = 2_000_000
"""Nodes evaluated after which nothing more is found out: branches within branches may double their number a hundred times."""

MOST_REHEARSED, MOST_BYTES = 64, 256
"""How many lengths of loops are remembered, and up to which size they may hang on a start value."""

EXACT, BOUND, UNBOUNDED = "exact", "bound", "unbounded"
WHILE = frozenset({"While", "StatelessWhile"})
IF = frozenset({"If", "StatelessIf"})
OF_SHAPE = frozenset({"Shape", "ShapeN", "Size", "Rank"})


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that is not known on the host: at most `upper`, where that is known; `ends` where a counter can settle it."""

    upper: Any = None
    ends: bool = False


UNKNOWN = Unknown()


@dataclass
class Trips:
    """What is known of a loop's length.

    Attributes:
        kind: EXACT: it runs `count` times; BOUND: at most so; UNBOUNDED: nothing is known.
        count: see `kind`.
        counters: for each counter (by position), its value at the start of each round and at the end: `count + 1` values.
        endless: whether the condition was certain to hold for LIMIT rounds.
    """

    kind: str
    count: int
    counters: dict[int, list[Value]] = field(default_factory=dict)
    endless: bool = False


def invariants(body: Graph) -> frozenset[int]:
    """Positions of the inputs of a loop that its body hands on unchanged."""
    found = set()
    for index, (source, tensor) in enumerate(zip(body.inputs, body.outputs, strict=True)):
        for _ in range(len(body.nodes)):
            if tensor == source or body.nodes[tensor.node].op != "Identity":
                break
            tensor = body.nodes[tensor.node].inputs[0]
        if tensor == source:
            found.add(index)
    return frozenset(found)


def rehearsed(context: Context, condition: Graph, body: Graph, values: Sequence[Value], limit: int) -> Trips | None:
    """The exact length of a loop without loops within it, simulated once for start values that look alike.

    None: it is not known, or more than `limit`.
    What runs round by round need then neither ask the condition nor move the counters, which an LSTM on PyTorch spends a third
    of its prediction on.
    """
    if condition.updates:
        return None
    values = [UNKNOWN if is_host(v) and (v.nbytes > MOST_BYTES or v.dtype.kind in "OSU") else v for v in values]
    known: dict[Any, tuple[Trips | None, Graph, Graph]] = context.resources.objects.setdefault("rehearsed loops", {})
    key = (id(body), id(condition), limit, *map(_look, values))
    if key not in known:
        simulator = Simulator(context, limit)
        found = None if simulator.loops_in(body) else simulator.trips(condition, body, values)
        if len(known) == MOST_REHEARSED:
            del known[next(iter(known))]
        length = found if found is not None and found.kind == EXACT else None
        known[key] = length, condition, body  # the graphs are kept as well, so that their ids stay their own
    return known[key][0]


def _look(value: Value) -> Any:
    """What of a start value a simulation may depend on."""
    if is_host(value):
        return value.dtype.str, value.shape, value.tobytes()
    shape = getattr(value, "shape", None)
    return type(value), None if shape is None else tuple(shape), getattr(value, "length", None)


class Simulator:
    """Simulates loops on the host; `bounds` gathers what it learns of loops within the one that it was asked about."""

    def __init__(self, context: Context, limit: int) -> None:
        self.context = context
        self.limit = limit
        self.bounds: dict[int, int] = {}
        self._steps: dict[int, Step | None] = {}
        self._orders: dict[tuple[int, tuple[Tensor, ...]], list[Node]] = {}
        self._invariants: dict[int, frozenset[int]] = {}
        self._loops: dict[int, tuple[Tensor, ...]] = {}
        self._of_unknowns: dict[tuple[int, tuple[Tensor, ...]], list[Value]] = {}
        self._left = MOST_NODES

    def trips(self, condition: Graph, body: Graph, values: Sequence[Value]) -> Trips:
        """How often the loop of these two graphs runs from `values` (numpy, device values, handles, or `Unknown`)."""
        if id(body) not in self._invariants:
            self._invariants[id(body)] = invariants(body)
        fixed = self._invariants[id(body)]
        counters = {k for k, v in enumerate(values) if k not in fixed and is_host(v) and v.dtype.kind not in "OSU"}
        inner = self.loops_in(body)
        while True:
            found, failed = self._rounds(condition, body, values, fixed, counters, inner)
            if found is None:
                counters -= failed
                continue
            if found.kind == UNBOUNDED and inner:  # not every round was seen
                self._forget(body)
            return found

    def _forget(self, graph: Graph) -> None:
        """Takes back what was learnt of the loops in `graph`."""
        for node in graph.nodes.values():
            parts = ("body",) if node.op in WHILE else ("then_branch", "else_branch") if node.op in IF else ()
            for inner in (self.context.graph(_function(node, part)) for part in parts):
                if node.op in WHILE:
                    self.bounds[id(inner)] = -1
                self._forget(inner)

    def _rounds(
        self,
        condition: Graph,
        body: Graph,
        values: Sequence[Value],
        fixed: frozenset[int],
        counters: set[int],
        inner: tuple[Tensor, ...],
    ) -> tuple[Trips | None, set[int]]:
        """One simulation with a guess of which variables are counters; the ones that turned out not to be."""
        now = {k: values[k] for k in sorted(counters)}
        history: dict[int, list[Value]] = {k: [v] for k, v in now.items()}
        wanted = [body.outputs[k] for k in now]
        certain = True
        for count in range(self.limit + 1):
            inputs = [v if k in fixed else now.get(k, UNKNOWN) for k, v in enumerate(values)]
            goes_on = self.evaluate(condition, inputs, condition.outputs)[0]
            if isinstance(goes_on, Unknown):
                certain = False
                if not goes_on.ends or not counters:
                    break
            elif not bool(np.asarray(goes_on).any() if np.ndim(goes_on) == 0 else np.size(goes_on)):
                return Trips(EXACT if certain else BOUND, count, history), set()
            if count == self.limit:
                break
            after = self.evaluate(body, inputs, [*wanted, *inner])[: len(wanted)]
            failed = {
                k
                for k, v in zip(now, after, strict=True)
                if not is_host(v) or np.shape(v) != np.shape(now[k]) or v.dtype != now[k].dtype
            }
            if failed:
                return None, failed
            now = dict(zip(now, after, strict=True))
            for k, v in now.items():
                history[k].append(v)
        return Trips(UNBOUNDED, 0, endless=certain and bool(counters)), set()

    def loops_in(self, graph: Graph) -> tuple[Tensor, ...]:
        """The loops of a graph, and the conditions that hold some."""
        if id(graph) not in self._loops:
            self._loops[id(graph)] = tuple(
                Tensor(n.name) for n in graph.nodes.values() if n.op in WHILE or (n.op in IF and self._holds_loop(n))
            )
        return self._loops[id(graph)]

    def _holds_loop(self, node: Node) -> bool:
        """Whether a branch of an If holds a loop."""
        return any(self.loops_in(self.context.graph(_function(node, part))) for part in ("then_branch", "else_branch"))

    def evaluate(self, graph: Graph, inputs: Sequence[Value], wanted: Iterable[Tensor]) -> list[Value]:
        """The `wanted` tensors of a graph, `Unknown` where they do not follow from what is known."""
        wanted = tuple(wanted)
        if all(v is UNKNOWN for v in inputs):  # what follows from nothing is found once
            if (id(graph), wanted) not in self._of_unknowns:
                self._of_unknowns[id(graph), wanted] = self._evaluate(graph, inputs, wanted)
            return list(self._of_unknowns[id(graph), wanted])
        return self._evaluate(graph, inputs, wanted)

    def _evaluate(self, graph: Graph, inputs: Sequence[Value], wanted: tuple[Tensor, ...]) -> list[Value]:
        values: dict[Tensor, Value] = dict(zip(graph.inputs, inputs, strict=True))
        key = (id(graph), wanted)
        if key not in self._orders:
            self._orders[key] = order(graph, [t for t in wanted if t not in values])
        self._left -= len(self._orders[key])
        if self._left < 0:
            return [UNKNOWN] * len(wanted)
        for node in self._orders[key]:
            if node.op == "Const":
                values[Tensor(node.name)] = node.attrs["value"]
                continue
            if node.op in PLACES and not node.inputs:
                values.setdefault(Tensor(node.name), UNKNOWN)
                continue
            outputs = self._outputs(node, [values.get(t, UNKNOWN) for t in node.inputs])
            for index, value in enumerate(outputs):
                values.setdefault(Tensor(node.name, index), value)
        return [values.get(t, UNKNOWN) for t in wanted]

    def _outputs(self, node: Node, arguments: list[Value]) -> Sequence[Value]:
        if node.op in WHILE:
            return self._while(node, arguments)
        if node.op in IF:
            return self._if(node, arguments)
        called = callee(node, self.context.resources.library)
        if called is not None:
            graph = self.context.graph(called)
            return self.evaluate(graph, arguments, graph.outputs)
        if all(is_host(a) for a in arguments):
            return self._apply(node, arguments)
        if (node.op in OF_SHAPE or node.op == "Identity") and not isinstance(arguments[0], Unknown):
            return self._apply(node, arguments)
        return (_unknown(node.op, arguments),)

    def _apply(self, node: Node, arguments: list[Value]) -> Sequence[Value]:
        """What the op's lowering makes of host values; `Unknown` where it is not on the host or differs from call to call."""
        if id(node) not in self._steps:
            row = LOWERINGS.get(node.op)
            usable = row is not None and not row.stateful and not row.context
            self._steps[id(node)] = Step(node, row, bind(node, row, self.context.compute_dtype), []) if row and usable else None
        step = self._steps[id(node)]
        if step is None:
            return (UNKNOWN,)
        try:
            result = step.lowering.function(*arguments, **step.attributes)
        except Exception:  # whatever is wrong shows when the loop runs
            return (UNKNOWN,)
        results = result if isinstance(result, (tuple, list)) else (result,)
        return [r if is_host(r) or node.op == "Identity" else UNKNOWN for r in results]

    def _while(self, node: Node, arguments: list[Value]) -> Sequence[Value]:
        condition, body = (self.context.graph(_function(node, part)) for part in ("cond", "body"))
        found = self.trips(condition, body, arguments)
        fixed = self._invariants[id(body)]
        if found.kind == UNBOUNDED:
            self.bounds[id(body)] = -1
        elif self.bounds.get(id(body), 0) >= 0:
            self.bounds[id(body)] = max(self.bounds.get(id(body), 0), found.count)
        finals = found.counters if found.kind == EXACT else {}
        return [v if k in fixed else finals[k][-1] if k in finals else UNKNOWN for k, v in enumerate(arguments)]

    def _if(self, node: Node, arguments: list[Value]) -> Sequence[Value]:
        then, other = (self.context.graph(_function(node, part)) for part in ("then_branch", "else_branch"))
        predicate, captured = arguments[0], arguments[1:]
        taken = [then, other] if not is_host(predicate) else [then if predicate.any() else other]
        results = [self.evaluate(g, captured, (*g.outputs, *self.loops_in(g)))[: len(g.outputs)] for g in taken]
        return results[0] if len(taken) == 1 else [UNKNOWN] * len(then.outputs)


def _function(node: Node, part: str) -> FunctionName | Graph:
    value = node.attrs[part]
    assert isinstance(value, (FunctionName, Graph))
    return value


def _least(a: Value, b: Value) -> Value:
    bounds = [x.upper if isinstance(x, Unknown) else x for x in (a, b)]
    known = [x for x in bounds if x is not None]
    return Unknown(np.minimum(*known) if len(known) == 2 else known[0] if known else None)


def _below(small: Value, great: Value, strict: bool) -> Value:
    """`small < great` (or <=) with at least one unknown: false once `small` has reached the upper bound of `great`."""
    if is_host(small) and isinstance(great, Unknown) and great.upper is not None:
        reached = small >= great.upper if strict else small > great.upper
        return np.asarray(False) if np.all(reached) else Unknown(ends=True)
    return UNKNOWN


def _and(a: Value, b: Value) -> Value:
    known = [x for x in (a, b) if not isinstance(x, Unknown)]
    if any(not np.all(x) for x in known):
        return np.asarray(False)
    return Unknown(ends=bool(known) or any(isinstance(x, Unknown) and x.ends for x in (a, b)))


def _or(a: Value, b: Value) -> Value:
    known = [x for x in (a, b) if not isinstance(x, Unknown)]
    if any(np.all(x) for x in known):
        return np.asarray(True)
    return Unknown(ends=all(isinstance(x, Unknown) and x.ends for x in (a, b)))


RULES: Mapping[str, Callable[..., Value]] = {
    "Minimum": _least,
    "LogicalAnd": _and,
    "LogicalOr": _or,
    "Less": lambda a, b: _below(a, b, True),
    "LessEqual": lambda a, b: _below(a, b, False),
    "Greater": lambda a, b: _below(b, a, True),
    "GreaterEqual": lambda a, b: _below(b, a, False),
    "Identity": lambda a: a,
    "Squeeze": lambda a: a,
}
"""What is known of the result of an op on an unknown."""


def _unknown(op: str, arguments: Sequence[Value]) -> Value:
    rule = RULES.get(op)
    if rule is None:
        return UNKNOWN
    return rule(*[a if is_host(a) or isinstance(a, Unknown) else UNKNOWN for a in arguments])
