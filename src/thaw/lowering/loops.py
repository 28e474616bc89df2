"""Runs loops and conditions, each backend in its own way; `trips` says how long a loop is.

- Where values are at hand (PyTorch; JAX and TensorFlow outside of a trace): a Python loop, a Python `if`.
- JAX in a trace: a scan where the trip count is known; over a bound, rounds past the end masked; without either, a
  `while_loop` that can only go forward. Counters are rows of the scan and stay out of what it carries.
- TensorFlow in a trace: its own `while_loop` and `cond`, which differentiate.

Assignments inside are carried: a child context records them, the loop carries them, and at the end they are handed on.
Not here: what a list is (`lists`). Imports run, lists, trips and loop_kernels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from thaw.errors import BranchShapeError, LoopLimitError, LoopShapeError, LoweringError, StaticInputError
from thaw.graph.ir import Graph
from thaw.lowering import loop_kernels
from thaw.lowering.effects import draws_random, written
from thaw.lowering.lists import GrowthError, TensorList
from thaw.lowering.loop_slices import multiplied, take_apart, whole
from thaw.lowering.native_loops import at_once
from thaw.lowering.run import Context
from thaw.lowering.trips import BOUND, EXACT, LIMIT, UNBOUNDED, Simulator, Trips, invariants, rehearsed
from thaw.lowering.values import Handle, NotKnownError, Value, dtype_of, is_host, known, on_device

UNROLLED = 256
"""A traced loop whose values change their shapes is unrolled up to this many rounds."""


@dataclass(frozen=True)
class Loop:
    """A loop about to run: its name, graphs, start values, and which of these never change."""

    name: str
    condition: Graph
    body: Graph
    values: tuple[Value, ...]
    fixed: frozenset[int]


class Writes(dict[str, Value]):
    """Assignments of a body or branch by key, `own` being the ones made since."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        super().__init__(values)
        self.own: dict[str, None] = {}

    def __setitem__(self, key: str, value: Value) -> None:
        super().__setitem__(key, value)
        self.own[key] = None


class RoundSeeds(keras.random.SeedGenerator):  # type: ignore[misc]
    """Seeds for one round of a loop: the loop's seed moved on by the round and by how many were drawn in it.

    Keras draws from generators alone; this one has no state of its own that a trace could not change.
    """

    def __init__(self, base: Value, index: Value) -> None:  # on purpose not Keras' own, which makes a variable
        self.base = base
        self.index = index
        self.drawn = 0

    def next(self, ordered: bool = True) -> Value:
        """One more."""
        self.drawn += 1
        round_ = ops.cast(self.index, "int32")
        moves = ops.stack([round_ * 97 + 13, round_ * 0 + self.drawn * 31])
        return self.base + ops.cast(moves, dtype_of(self.base))


def loop_seed(context: Context) -> Value:
    """A seed drawn for a whole loop or condition, outside of it."""
    generator = context.next_seed()
    if generator is not None:
        return generator.next()
    dtype = "uint32" if keras.backend.backend() == "jax" else "int64"
    return on_device(np.random.default_rng().integers(0, 2**30, 2), dtype)


def truth(value: Value) -> bool | None:
    """A predicate as TensorFlow reads it (a number: not zero; otherwise: not empty); None where it is not known yet."""
    if loop_kernels.is_traced(value):
        return None
    try:
        value = known(value, "predicate")
    except NotKnownError:
        return None
    if not is_host(value):
        return None
    if np.ndim(value):
        return bool(np.size(value))
    return bool(len(value.item())) if value.dtype.kind in "OSU" else bool(value)


def run_loop(context: Context, name: str, condition: Graph, body: Graph, values: Sequence[Value]) -> list[Value]:
    """The final values of a loop.

    Raises:
        LoopLimitError: it does not end within `max_iterations`, or thaw's own limit.
        LoopGradientError: (JAX, when the gradient is taken) its length is not known while tracing.
    """
    fixed = invariants(body)
    start = tuple(
        context.read(v.key) if isinstance(v, Handle) and v.reference and k not in fixed else v for k, v in enumerate(values)
    )
    loop = Loop(name, condition, body, start, fixed)
    if not loop_kernels.is_staged() or all(on_host(v) for v in start):
        return _python(context, loop)
    simulator = Simulator(context, max(LIMIT, context.max_iterations or 0))
    trips = simulator.trips(condition, body, start)
    if trips.endless:
        raise LoopLimitError(name, simulator.limit, given=False)
    if trips.kind == UNBOUNDED and context.loop_bounds.get(id(body), -1) >= 0:
        trips = Trips(BOUND, context.loop_bounds[id(body)])
    if trips.kind == EXACT and trips.count == 0:
        return list(start)
    bounds = {k: n for k, n in simulator.bounds.items() if n >= 0} if trips.kind != UNBOUNDED else {}
    context = context.child(loop_bounds={**context.loop_bounds, **bounds})
    if keras.backend.backend() == "tensorflow":
        return _TensorFlow(context, loop, trips).run()
    return _Jax(context, loop, trips).run()


def on_host(value: Value) -> bool:
    """Whether `value` is numpy, or an object that holds no tensors."""
    if isinstance(value, (TensorList, loop_kernels.NativeList)):
        return value.is_host
    return is_host(value) or not ops.is_tensor(value)


def _python(context: Context, loop: Loop) -> list[Value]:
    """The loop, round by round."""
    limit = context.max_iterations or LIMIT
    values = [_at_hand(v) if k in loop.fixed else v for k, v in enumerate(loop.values)]
    body, lists = loop.body, list[Value]()
    trips = rehearsed(context, loop.condition, loop.body, values, limit)
    if keras.backend.backend() == "torch" and loop_kernels.wanted():
        whole_loop = None if trips is None else at_once(context, body, values, loop.fixed, trips)
        if whole_loop is not None:
            return whole_loop
        body, lists = multiplied(loop.body, context, values, loop.fixed)
    if trips is not None:
        return _counted(context, loop, body, [*values, *lists], trips)
    for _ in range(limit):
        goes_on = truth(context.call(loop.condition, values)[0])
        if goes_on is None:
            raise StaticInputError("While", loop.name, "condition")
        if not goes_on:
            return list(values)
        after = context.call(body, [*values, *lists])
        values = [v if k in loop.fixed else after[k] for k, v in enumerate(values)]
    if truth(context.call(loop.condition, values)[0]):
        raise LoopLimitError(loop.name, limit, given=context.max_iterations is not None)
    return list(values)


def _counted(context: Context, loop: Loop, body: Graph, values: list[Value], trips: Trips) -> list[Value]:
    """A loop of known length: `body` is asked for what neither stays the same nor is a counter. Takes its inputs, all of them."""
    counters = trips.counters
    changing = [k for k in range(len(loop.values)) if k not in loop.fixed and k not in counters]
    rest = context.resources.derived(
        body, f"outputs {changing}", lambda: replace(body, outputs=tuple(body.outputs[k] for k in changing))
    )
    child = context.child()
    for number in range(trips.count):
        for k, history in counters.items():
            values[k] = history[number]
        for k, value in zip(changing, context.call(rest, values, child), strict=True):
            values[k] = value
    for k, history in counters.items():
        values[k] = history[-1]
    return values[: len(loop.values)]


def _at_hand(value: Value) -> Value:
    """A whole number that never changes is fetched from the device once, not in every round."""
    if is_host(value) or not ops.is_tensor(value) or len(value.shape) or dtype_of(value) not in {"int32", "int64", "bool"}:
        return value
    return known(value, "bound")


class _Staged:
    """A loop in a trace. What it carries is a flat list of tensors: loop variables, then assigned variables."""

    def __init__(self, context: Context, loop: Loop, trips: Trips) -> None:
        self.context = context
        self.loop = loop
        self.trips = trips
        self.keys = written(context, loop.body, loop.values)
        self.seed = loop_seed(context) if draws_random(context, loop.body) else None
        self.changed: dict[str, None] = {}
        self.limit = context.max_iterations or LIMIT
        self.slices = whole(loop.body)

    def child(self, values: Sequence[Value], index: Value) -> Context:
        """The context of one round, assigned variables having these `values`."""
        writes = Writes({**(self.context.writes or {}), **dict(zip(self.keys, values, strict=True))})
        changes: dict[str, Any] = {"writes": writes}
        if self.seed is not None:
            changes["seed_generator"] = RoundSeeds(self.seed, index)
        return self.context.child(**changes)

    def carried_keys(self) -> list[Value]:
        return [on_device(self.context.read(key)) for key in self.keys]

    def body(self, values: Sequence[Value], keys: Sequence[Value], index: Value) -> tuple[list[Value], list[Value]]:
        """One round: the loop variables and assigned variables after it."""
        child = self.child(keys, index)
        after = self.context.call(self.slices.body, values, child)
        assert isinstance(child.writes, Writes)
        self.changed.update(child.writes.own)
        return after, [child.read(key) for key in self.keys]

    def condition(self, values: Sequence[Value], keys: Sequence[Value], index: Value) -> Value:
        child = self.child(keys, index)
        goes_on = self.context.call(self.loop.condition, values, child)[0]
        return ops.cast(on_device(goes_on), "bool")

    def hand_on(self, values: Sequence[Value]) -> None:
        """Makes the assignments that the loop carried."""
        for key, value in zip(self.keys, values, strict=True):
            if key in self.changed:
                hand_on(self.context, key, value)


def hand_on(context: Context, key: str, value: Value) -> None:
    """An assignment that a loop or branch carried out of it (where it was let through)."""
    if context.writes is not None:
        context.writes[key] = value
    else:
        context.variable(key).assign(value)


Carry: TypeAlias = tuple[list[Value], list[Value]]
"""What a scan carries: loop variables, assigned variables."""


class _ShapeChangeError(Exception):
    """Internal: a carried value changes its shape from round to round."""


class _Jax(_Staged):
    """A loop in a trace of JAX."""

    def run(self) -> list[Value]:
        if self.trips.kind == UNBOUNDED and not self.context.max_iterations:
            return self._forward_only()
        try:
            return self._scan()
        except (_ShapeChangeError, StaticInputError, LoweringError) as trouble:
            if isinstance(trouble, LoweringError) and not isinstance(trouble.__cause__, GrowthError):
                raise
            self.slices = whole(self.loop.body)
            known_length = self.trips.count if self.trips.kind == EXACT else None
            if known_length is not None and known_length <= UNROLLED:
                return self._unrolled()
            if isinstance(trouble, StaticInputError):
                if self.trips.kind == BOUND and self.trips.count <= UNROLLED:
                    return self._unrolled()
                raise
            raise LoopShapeError(self.loop.name, str(trouble), known_length, UNROLLED) from None

    def _unrolled(self) -> list[Value]:
        """One round after the other in the trace, so that counters are known in each."""
        loop, masked = self.loop, self.trips.kind == BOUND
        values, keys = list(loop.values), self.carried_keys()
        active: Value = ops.convert_to_tensor(True)
        for number in range(self.trips.count):
            inputs = list(values)
            for k, history in self.trips.counters.items():
                inputs[k] = history[number]
            if masked:
                active = ops.logical_and(active, self.condition(inputs, keys, np.int32(number)))
            after, new_keys = self.body(inputs, keys, np.int32(number))
            for k, value in enumerate(after):
                if k not in loop.fixed:
                    values[k] = _where(active, value, values[k]) if masked else value
            keys = [ops.where(active, n, o) if masked else n for n, o in zip(new_keys, keys, strict=True)]
        if not masked:
            for k, history in self.trips.counters.items():
                values[k] = history[-1]
        self.hand_on(keys)
        return values

    def _prepare(self, counters: Mapping[int, list[Value]]) -> None:
        """Decides what is carried, and with which start."""
        loop = self.loop
        self.counters = counters
        self.hosts = {k: np.stack([np.asarray(v) for v in history]) for k, history in counters.items()}
        changing = [
            k for k in range(len(loop.values)) if k not in loop.fixed and k not in counters and k not in self.slices.writes
        ]
        self.slots = [k for k in changing if _is_carried(loop.values[k])]
        self.empty = {k for k in self.slots if isinstance(loop.values[k], TensorList) and not _has_shape(loop.values[k])}
        start = {k: _tensor(loop.values[k]) for k in self.slots if k not in self.empty}
        keys = self.carried_keys()
        hosts = {k: on_device(rows[0]) for k, rows in self.hosts.items()}
        self.reads = [self._rows_read(place, counter) for place, counter in self.slices.reads]
        self.weights = [on_device(loop.values[place]) for place in self.slices.products]
        zeros = [ops.zeros((), dtype_of(w)) for w in self.weights]

        def once(carried: dict[int, Value], keys: list[Value], hosts: dict[int, Value], reads: list[Value], index: Value) -> Any:
            values = self._values(carried, hosts, [r[0] for r in reads], self.weights, zeros)
            after, new_keys = self.body(values, keys, index)
            kept = {k: _tensor(after[k]) for k in self.slots if not _still_empty(after[k])}
            written_rows = {k: on_device(after[k]) for k in self.slices.writes}
            return kept, new_keys, written_rows, after[len(loop.values) :]

        found, _, self.written, lefts = loop_kernels.shapes(once, start, keys, hosts, self.reads, np.int32(0))
        self.lefts = [tuple(left.shape) for left in lefts]
        for k in list(self.slots):
            if k not in found:
                self.slots.remove(k)  # a list into which nothing is ever written
            elif k in self.empty:
                start[k] = ops.zeros(found[k].shape, dtype_of(found[k]))
            elif tuple(found[k].shape) != tuple(start[k].shape):
                raise _ShapeChangeError(f"{tuple(start[k].shape)} becomes {tuple(found[k].shape)}")
        self.start = [start[k] for k in self.slots]
        self.start_keys = keys

    def _rows_read(self, place: int, counter: int) -> Value:
        """The rows of a list that the rounds read, in order."""
        first = int(self.trips.counters[counter][0])
        return on_device(self.loop.values[place].array())[first : first + self.trips.count]

    def _list_written(self, place: int, rows: Value, active: Value | None) -> TensorList:
        """A list after the loop, `rows` having been written into it one by one (where the loop was `active`)."""
        before: TensorList = self.loop.values[place]
        first = int(self.trips.counters[self.slices.writes[place]][0])
        array = on_device(before.array(tuple(rows.shape[1:])))
        rows = ops.cast(rows, dtype_of(array))
        if active is not None:
            there = ops.reshape(active, (-1, *[1] * (len(rows.shape) - 1)))
            rows = ops.where(there, rows, array[first : first + self.trips.count])
        if rows.shape[0] != array.shape[0]:
            rows = ops.slice_update(array, (first, *[0] * (len(array.shape) - 1)), rows)
        return TensorList(before.dtype, before.shape, stacked=rows)

    def _values(
        self,
        carried: Mapping[int, Value],
        hosts: Mapping[int, Value],
        reads: Sequence[Value] = (),
        weights: Sequence[Value] = (),
        zeros: Sequence[Value] = (),
    ) -> list[Value]:
        """The inputs of body and condition."""
        values = list(self.loop.values)
        for k, value in carried.items():
            values[k] = _like(self.loop.values[k], value)
        for k, value in hosts.items():
            values[k] = value
        return [*values, *reads, *[part for pair in zip(weights, zeros, strict=True) for part in pair]]

    def _round(self, carry: Carry, hosts: Mapping[int, Value], index: Value, *more: Sequence[Value]) -> tuple[Carry, Any, Any]:
        """One round: what is carried, the rows written, and the left sides of products."""
        values = self._values(dict(zip(self.slots, carry[0], strict=True)), hosts, *more)
        after, keys = self.body(values, carry[1], index)
        new = [_tensor(after[k]) for k in self.slots]
        carried = (
            [ops.cast(n, dtype_of(o)) if dtype_of(n) != dtype_of(o) else n for n, o in zip(new, carry[0], strict=True)],
            [ops.cast(on_device(n), dtype_of(o)) for n, o in zip(keys, carry[1], strict=True)],
        )
        return carried, {k: on_device(after[k]) for k in self.slices.writes}, after[len(self.loop.values) :]

    def _goes_on(self, carry: Carry, hosts: Mapping[int, Value], index: Value) -> Value:
        values = self._values(dict(zip(self.slots, carry[0], strict=True)), hosts)
        return self.condition(values, carry[1], index)

    def _results(self, carry: Carry, finals: Mapping[int, Value], lists: Mapping[int, TensorList]) -> list[Value]:
        self.hand_on(carry[1])
        return self._values(dict(zip(self.slots, carry[0], strict=True)), {**finals, **lists})

    def _scan(self) -> list[Value]:
        exact = self.trips.kind == EXACT
        given = self.trips.kind == UNBOUNDED
        count = self.context.max_iterations if given else self.trips.count
        assert count is not None
        if loop_kernels.wanted():
            self.slices = take_apart(
                self.context, self.loop.condition, self.loop.body, self.loop.values, self.loop.fixed, self.trips
            )
        self._prepare({} if given else self.trips.counters)
        hosts = {k: row[:count] for k, row in self.hosts.items()}
        rows = (hosts, self.reads, np.arange(count, dtype=np.int32))

        def step(carry: Any, row: Any, weights: Any = (), zeros: Any = ()) -> Any:
            hosts, reads, index = row
            new, written_rows, lefts = self._round(carry, hosts, index, reads, weights, zeros)
            return new, (written_rows, lefts)

        def masked(carry: Any, row: Any, weights: Any = (), zeros: Any = ()) -> Any:
            hosts, reads, index = row
            active, rounds, old = carry
            active = ops.logical_and(active, self._goes_on(old, hosts, index))
            # Past the end the counters of the first round stand in: 1 / (n - i) would give a gradient that is not a number.
            hosts = {k: ops.where(active, v, self.hosts[k][0]) for k, v in hosts.items()}
            new, written_rows, lefts = self._round(old, hosts, index, reads, weights, zeros)
            kept = tuple([ops.where(active, n, o) for n, o in zip(ns, os, strict=True)] for ns, os in zip(new, old, strict=True))
            return (active, rounds + ops.cast(active, "int32"), kept), ((written_rows, active), lefts)

        def scanned(step: Any, start: Any) -> Any:
            if self.weights:
                return loop_kernels.scan_with_weights(step, start, rows, count, self.weights, self.lefts)
            last, (stacked, _) = loop_kernels.scan(step, start, rows, count)
            return last, stacked

        start = (self.start, self.start_keys)
        if exact:
            carry, stacked = scanned(step, start)
            lists = {k: self._list_written(k, r, None) for k, r in stacked.items()}
            return self._results(carry, {k: history[-1] for k, history in self.counters.items()}, lists)
        before = (ops.convert_to_tensor(True), ops.convert_to_tensor(0, "int32"), start)
        (active, rounds, carry), (stacked, was_active) = scanned(masked, before)
        if given:
            goes_on = ops.logical_and(active, self._goes_on(carry, {}, np.int32(count)))
            loop_kernels.check_ended(goes_on, self.loop.name, count, given=True)
        lists = {k: self._list_written(k, r, was_active) for k, r in stacked.items()}
        return self._results(carry, {k: ops.take(row, rounds, axis=0) for k, row in self.hosts.items()}, lists)

    def _forward_only(self) -> list[Value]:
        self._prepare({})

        def condition(index: Value, *flat: Value) -> Value:
            return ops.logical_and(index < self.limit, self._goes_on(self._split(flat), {}, index))

        def body(index: Value, *flat: Value) -> list[Value]:
            (values, keys), _, _ = self._round(self._split(flat), {}, index)
            return [index + 1, *values, *keys]

        start = [ops.convert_to_tensor(0, "int32"), *self.start, *self.start_keys]
        index, *flat = loop_kernels.forward_only(condition, body, start, self.loop.name)
        carry = self._split(flat)
        goes_on = ops.logical_and(index >= self.limit, self._goes_on(carry, {}, index))
        loop_kernels.check_ended(goes_on, self.loop.name, self.limit, given=False)
        return self._results(carry, {}, {})

    def _split(self, flat: Sequence[Value]) -> Carry:
        return list(flat[: len(self.slots)]), list(flat[len(self.slots) :])


class _TensorFlow(_Staged):
    """A loop in a trace of TensorFlow: everything that changes is a tensor, lists are TensorFlow's own."""

    def run(self) -> list[Value]:
        loop = self.loop
        values = [loop_kernels.NativeList.of(v) if isinstance(v, TensorList) else v for v in loop.values]
        slots = [k for k, v in enumerate(values) if k not in loop.fixed and (is_host(v) or _is_data(v))]

        def full(flat: Sequence[Value]) -> tuple[list[Value], list[Value]]:
            inputs = list(values)
            for k, value in zip(slots, flat, strict=False):
                inputs[k] = _like(values[k], value)
            return inputs, list(flat[len(slots) :])

        def condition(index: Value, *flat: Value) -> Value:
            inputs, keys = full(flat)
            return self.condition(inputs, keys, index)

        def body(index: Value, *flat: Value) -> list[Value]:
            inputs, keys = full(flat)
            after, new = self.body(inputs, keys, index)
            return [index + 1, *[_handle(after[k], values[k]) for k in slots], *new]

        most = self.trips.count if self.trips.kind != UNBOUNDED else self.limit
        start = [ops.convert_to_tensor(0, "int32"), *[_handle(values[k], values[k]) for k in slots], *self.carried_keys()]
        index, *flat = loop_kernels.tensorflow_while(condition, body, start, most)
        results, keys = full(flat)
        if self.trips.kind == UNBOUNDED:
            goes_on = ops.logical_and(index >= most, self.condition(results, keys, index))
            loop_kernels.check_ended(goes_on, loop.name, most, given=self.context.max_iterations is not None)
        elif self.trips.kind == EXACT:
            for k, history in self.trips.counters.items():
                results[k] = history[-1]
        self.hand_on(keys)
        return results


def _is_data(value: Value) -> bool:
    return isinstance(value, loop_kernels.NativeList) or ops.is_tensor(value)


def _handle(value: Value, like: Value) -> Value:
    """What a loop of TensorFlow carries for `value`."""
    if isinstance(value, TensorList):
        value = loop_kernels.NativeList.of(value)
    if isinstance(value, loop_kernels.NativeList):
        return value.handle
    return on_device(value, None if isinstance(like, loop_kernels.NativeList) else dtype_of(like))


def _like(template: Value, value: Value) -> Value:
    """A carried tensor as the kind of value that it was."""
    if isinstance(template, TensorList):
        return TensorList(template.dtype, template.shape, stacked=value)
    if isinstance(template, loop_kernels.NativeList):
        return loop_kernels.NativeList(value, template.dtype, template.shape)
    return value


def _where(active: Value, new: Value, old: Value) -> Value:
    """`new` where the loop still runs."""
    if isinstance(new, TensorList):
        if _still_empty(new):
            return old
        shape = new.known_shape
        return TensorList(new.dtype, new.shape, stacked=ops.where(active, _tensor(new), on_device(old.array(shape))))
    if is_host(new) or ops.is_tensor(new):
        return ops.where(active, on_device(new), on_device(old))
    return old


def _is_carried(value: Value) -> bool:
    return is_host(value) or ops.is_tensor(value) or isinstance(value, TensorList)


def _has_shape(value: TensorList) -> bool:
    return value.known_shape is not None


def _still_empty(value: Value) -> bool:
    return isinstance(value, TensorList) and not _has_shape(value)


def _tensor(value: Value) -> Value:
    """A loop variable as one tensor."""
    return on_device(value.array() if isinstance(value, TensorList) else value)


def choose(
    context: Context, predicate: Value, branches: Sequence[Graph], values: Sequence[Value], index: int | None
) -> list[Value]:
    """What one of `branches` gives: the one at `index`, or, where that is None, at the traced `predicate`."""
    if index is not None:
        return context.call(branches[index], values)
    keys = list(dict.fromkeys(k for b in branches for k in written(context, b, values)))
    seeds = loop_seed(context) if any(draws_random(context, b) for b in branches) else None
    shared = _Outcome()

    def runner(graph: Graph) -> Callable[[], list[Value]]:
        def run() -> list[Value]:
            changes: dict[str, Any] = {"writes": Writes({**(context.writes or {}), **{k: context.read(k) for k in keys}})}
            if seeds is not None:
                changes["seed_generator"] = RoundSeeds(seeds, np.int32(0))
            child = context.child(**changes)
            results = context.call(graph, values, child)
            assert isinstance(child.writes, Writes)
            shared.changed.update(child.writes.own)
            return [*shared.flat(results), *[on_device(child.read(k)) for k in keys]]

        return run

    runs = [runner(b) for b in branches]
    if keras.backend.backend() == "jax":  # learns what the branches have in common before it makes them agree
        for run in runs:
            loop_kernels.shapes(run)
        alternatives = [loop_kernels.shapes(run) for run in runs]
        for number, found in enumerate(zip(*alternatives, strict=True)):
            if len({(tuple(f.shape), str(f.dtype)) for f in found}) > 1:
                raise BranchShapeError(context.node.name, number, [f"{f.dtype} of shape {tuple(f.shape)}" for f in found])
    flat = ops.cond(predicate, runs[1], runs[0]) if len(branches) == 2 else ops.switch(predicate, runs)
    results = list(flat)
    for key, value in zip(keys, results[len(results) - len(keys) :], strict=True):
        if key in shared.changed:
            hand_on(context, key, value)
    return shared.rebuilt(results[: len(results) - len(keys)])


class _Outcome:
    """What the branches of a condition answer with: which outputs are tensors, lists, or objects that pass through."""

    def __init__(self) -> None:
        self.changed: dict[str, None] = {}
        self.templates: list[Value] = []
        self.shapes: dict[int, tuple[int, ...]] = {}

    def flat(self, results: Sequence[Value]) -> list[Value]:
        """The tensors among `results`, lists stacked."""
        flat = []
        if not self.templates:
            self.templates = [None if ops.is_tensor(r) or is_host(r) else r for r in results]
        for i, result in enumerate(results):
            if isinstance(result, TensorList) and not loop_kernels.lists_are_native():
                shape = result.known_shape or self.shapes.get(i)
                if result.known_shape is not None:
                    self.shapes[i] = result.known_shape
                flat.append(on_device(result.array(shape)) if shape is not None else ops.zeros((result.length,)))
            elif isinstance(result, (TensorList, loop_kernels.NativeList)):
                flat.append(loop_kernels.NativeList.of(result).handle)
            elif is_host(result) or ops.is_tensor(result):
                flat.append(on_device(result))
        return flat

    def rebuilt(self, flat: Sequence[Value]) -> list[Value]:
        """The outputs again."""
        rest = iter(flat)
        results: list[Value] = []
        for i, template in enumerate(self.templates):
            if template is None:
                results.append(next(rest))
            elif isinstance(template, TensorList):
                value = next(rest)
                if loop_kernels.lists_are_native():
                    results.append(loop_kernels.NativeList(value, template.dtype, template.shape))
                elif i in self.shapes:
                    results.append(_like(template, value))
                else:
                    results.append(template)
            elif isinstance(template, loop_kernels.NativeList):
                results.append(_like(template, next(rest)))
            else:
                results.append(template)
        return results
