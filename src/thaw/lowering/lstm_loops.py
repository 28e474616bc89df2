"""Loops that are an LSTM over the rows of a list, which PyTorch's native op runs at once instead of round by round.

Found by what a round computes, in any publisher's spelling: the sums of the gates from a row and the last output (two products,
or one of both side by side), the cell that `fusion` recognizes, and what is carried and written being that cell's state and
output alone. Clipped, masked, projecting cells and dropout within are none, and run as they are written. Imports fusion, lists,
loop_slices and trips.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering import fusion, torch_kernels
from thaw.lowering.lists import TensorList
from thaw.lowering.loop_slices import READS, WRITES
from thaw.lowering.run import Context
from thaw.lowering.trips import Trips
from thaw.lowering.values import Handle, Value, dtype_of, on_device

GATES = 4
WIDE = ({"float32"}, {"float64"})


@dataclass(frozen=True)
class Held:
    """What does not change from round to round: an input of the loop, the variable that one names, or a constant."""

    place: int = -1
    is_variable: bool = False
    constant: np.ndarray | None = None

    def value(self, context: Context, values: Sequence[Value]) -> Value:
        """What it is in this run of the loop."""
        if self.constant is not None:
            return self.constant
        found = values[self.place]
        return context.read(found.key) if isinstance(found, Handle) else found


@dataclass(frozen=True)
class Lstm:
    """Where the parts of an LSTM stand in a loop.

    Attributes:
        rows: position of the list that is read.
        counter: position of the counter that it is read at.
        kernel, recurrent: weights of a row and of the last output, (features, 4 units) and (units, 4 units); `recurrent` is
            None where both lie in `kernel`, one above the other.
        biases: (4 units) each; they add up.
        order: which quarter of the sums is the input, forget, cell and output gate.
        added: the number that goes with each of these gates (forget_bias).
        output, state: positions of the last output and of the cell's state.
        writes: for each list that the output is written into, the index: a counter's position, or a number.
    """

    rows: int
    counter: int
    kernel: Held
    recurrent: Held | None
    biases: tuple[Held, ...]
    order: tuple[int, ...]
    added: tuple[float, ...]
    output: int
    state: int
    writes: Mapping[int, tuple[str, int]]


def native(context: Context, body: Graph, values: Sequence[Value], fixed: frozenset[int], trips: Trips) -> list[Value] | None:
    """The final values of a loop of known length that is an LSTM; None: it is none, or not for the native op.

    An LSTM of 128 over 50 steps (batch of 32), round by round and at once: 22 and 12 ms to predict, 67 and 28 to train.
    """
    what = f"lstm {sorted(fixed)} {sorted(trips.counters)}"
    found: Lstm | None = context.resources.derived(body, what, lambda: _Reader(body, fixed, trips.counters).lstm())
    if found is None or trips.count < 2:
        return None
    rows = values[found.rows]
    history = _numbers(trips, found.counter)
    if not isinstance(rows, TensorList) or len(rows.known_shape or ()) != 2 or not set(history) <= set(range(rows.length)):
        return None
    held = [found.kernel, *([found.recurrent] if found.recurrent else []), *found.biases]
    x, output, state = on_device(rows.array()), on_device(values[found.output]), on_device(values[found.state])
    weights = [on_device(h.value(context, values)) for h in held]
    if {dtype_of(v) for v in (x, output, state, *weights)} not in WIDE or not _fits(found, x, output, state, weights):
        return None
    kernel, recurrent, bias = _in_order(found, weights, int(x.shape[-1]))
    outputs, last, cell = torch_kernels.lstm(_rows_at(x, history), output, state, kernel, recurrent, bias)
    result = list(values)
    for k, counted in trips.counters.items():
        result[k] = counted[-1]
    result[found.output], result[found.state] = last, cell
    for k, (kind, where) in found.writes.items():
        if kind == "counter":
            result[k] = values[k].scatter(np.array(_numbers(trips, where), np.int32), outputs)
        else:
            result[k] = values[k].set(np.int32(where), last)
    return result


def _numbers(trips: Trips, counter: int) -> list[int]:
    return [int(n) for n in trips.counters[counter][: trips.count]]


def _rows_at(x: Value, history: list[int]) -> Value:
    """The rows of `x` in the order in which the rounds read them; without a copy where they stand in a row."""
    if history == list(range(history[0], history[0] + len(history))):
        return x[history[0] : history[0] + len(history)]
    return x[history]


def _fits(found: Lstm, x: Value, output: Value, state: Value, weights: Sequence[Value]) -> bool:
    """Whether the shapes are those of one LSTM."""
    if len(output.shape) != 2 or tuple(output.shape) != tuple(state.shape) or int(output.shape[0]) != int(x.shape[1]):
        return False
    units, features = int(output.shape[1]), int(x.shape[2])
    matrices = [(features, GATES * units), (units, GATES * units)] if found.recurrent else [(features + units, GATES * units)]
    expected = [*matrices, *[(GATES * units,)] * len(found.biases)]
    return [tuple(w.shape) for w in weights] == expected


def _in_order(found: Lstm, weights: Sequence[Value], features: int) -> tuple[Value, Value, Value]:
    """Kernel, recurrent kernel and bias with their gates as the native op has them: input, forget, cell, output."""
    kernel, *rest = weights
    recurrent = rest.pop(0) if found.recurrent else kernel[features:]
    kernel = kernel if found.recurrent else kernel[:features]
    units = int(recurrent.shape[0])
    bias = sum(rest[1:], rest[0]) if rest else ops.zeros((GATES * units,), dtype_of(kernel))

    def ordered(value: Value) -> Value:
        if found.order == tuple(range(GATES)):
            return value
        parts = [value[..., n * units : (n + 1) * units] for n in found.order]
        return ops.concatenate(parts, axis=-1)

    bias = ordered(bias)
    if any(found.added):
        bias = bias + on_device(np.repeat(found.added, units).astype(dtype_of(kernel)))
    return ordered(kernel), ordered(recurrent), bias


class _Reader:
    """Reads a body for an LSTM; its methods give None where it is something else."""

    def __init__(self, body: Graph, fixed: frozenset[int], counters: Mapping[int, Any]) -> None:
        self.body = body
        self.fused = fusion.fused(body)
        self.chains = fusion.Chains(self.fused)
        self.fixed = fixed
        self.counters = counters
        self.places = {t: i for i, t in enumerate(body.inputs)}

    def place(self, tensor: Tensor) -> int | None:
        """Which input of the body `tensor` is, through Identity."""
        return self.places.get(self.chains.source(tensor))

    def lstm(self) -> Lstm | None:
        """The LSTM that the whole body is."""
        changing = {
            k: self.chains.source(tensor)
            for k, tensor in enumerate(self.body.outputs)
            if k not in self.fixed and k not in self.counters
        }
        made = {k: self.fused.nodes.get(t.node) for k, t in changing.items()}
        states = [k for k, node in made.items() if node is not None and node.op == "thaw.lstm_state"]
        outputs = [k for k, node in made.items() if node is not None and node.op == "thaw.lstm_output"]
        if len(states) != 1 or len(outputs) != 1 or self.body.updates:
            return None
        (state,), (output,) = states, outputs
        writes = {k: self._write(k, node, changing[output]) for k, node in made.items() if k not in (state, output)}
        cell, gated = made[state], made[output]
        assert cell is not None and gated is not None
        if (
            None in writes.values()
            or self.chains.source(gated.inputs[1]) != changing[state]
            or self.place(cell.inputs[3]) != state
        ):
            return None
        gates = [self._gate(t) for t in (*cell.inputs[:3], gated.inputs[0])]
        splits = {gate[0].name for gate in gates if gate is not None}
        if None in gates or len(splits) != 1 or sorted(g[1] for g in gates if g) != list(range(GATES)):
            return None
        sums = self._sums(self.fused.nodes[splits.pop()].inputs[1], output)
        if sums is None:
            return None
        return Lstm(
            *sums,
            order=tuple(g[1] for g in gates if g),
            added=tuple(g[2] for g in gates if g),
            output=output,
            state=state,
            writes={k: w for k, w in writes.items() if w is not None},
        )

    def _write(self, k: int, node: Node | None, value: Tensor) -> tuple[str, int] | None:
        """Where the output is written, if all that happens to a list is that."""
        if node is None or node.op not in WRITES:
            return None
        where, index, item = (node.inputs[i] for i in WRITES[node.op])
        if self.place(where) != k or self.chains.source(item) != value:
            return None
        counter, number = self.place(index), self.chains.number(index)
        if counter is not None and counter in self.counters:
            return "counter", counter
        return None if number is None else ("number", int(number))

    def _gate(self, tensor: Tensor) -> tuple[Node, int, float] | None:
        """The Split that a gate comes from, which quarter it is, and the number that is added to it."""
        added = 0.0
        for sum_, other in self.chains.either(self.chains.node(tensor, *fusion.ADD)):
            number = self.chains.number(other)
            if number is not None:
                tensor, added = sum_, number
        split = self.chains.node(tensor, "Split")
        if split is None or split.attrs.get("num_split") != GATES or self.chains.number(split.inputs[0]) not in (1.0, -1.0):
            return None
        return split, self.chains.source(tensor).output, added

    def _sums(self, tensor: Tensor, output: int) -> tuple[int, int, Held, Held | None, tuple[Held, ...]] | None:
        """Rows, counter, kernel, recurrent kernel and biases of the sum of all gates."""
        kernel: Held | None = None
        recurrent: Held | None = None
        row, side_by_side = (-1, -1), False
        biases: list[Held] = []
        for term in self._terms(tensor):
            product = self.chains.node(term, "MatMul")
            held = self._held(product.inputs[1] if product is not None else term)
            if held is None:
                return None
            if product is None:
                biases.append(held)
                continue
            if product.attrs.get("transpose_a") or product.attrs.get("transpose_b"):
                return None
            if self.place(product.inputs[0]) == output and recurrent is None:
                recurrent = held
                continue
            read = self._row(product.inputs[0], output)
            if read is None or kernel is not None:
                return None
            kernel, (row, side_by_side) = held, read
        if kernel is None or (recurrent is None) != side_by_side:
            return None
        return *row, kernel, recurrent, tuple(biases)

    def _terms(self, tensor: Tensor) -> Iterator[Tensor]:
        node = self.chains.node(tensor, *fusion.ADD, "BiasAdd")
        if node is None:
            yield tensor
        else:
            for part in node.inputs:
                yield from self._terms(part)

    def _held(self, tensor: Tensor) -> Held | None:
        tensor = self.chains.source(tensor)
        if tensor in self.places:
            place = self.places[tensor]
            return Held(place) if place in self.fixed else None
        node = self.fused.nodes.get(tensor.node)
        if node is not None and node.op == "ReadVariableOp":
            named = self.place(node.inputs[0])
            return Held(named, is_variable=True) if named is not None and named in self.fixed else None
        value = node.attrs.get("value") if node is not None and node.op == "Const" else None
        return Held(constant=value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else None

    def _row(self, tensor: Tensor, output: int) -> tuple[tuple[int, int], bool] | None:
        """List and counter of the row that `tensor` is, and whether the last output stands beside it."""
        beside = self.chains.node(tensor, "ConcatV2")
        if beside is not None:
            if len(beside.inputs) != 3 or self.chains.number(beside.inputs[2]) not in (1.0, -1.0):
                return None
            if self.place(beside.inputs[1]) != output:
                return None
            tensor = beside.inputs[0]
        read = self.chains.node(tensor, *READS)
        if read is None:
            return None
        where, index = (self.place(read.inputs[i]) for i in READS[read.op])
        if where is None or where not in self.fixed or index is None or index not in self.counters:
            return None
        return (where, index), beside is not None
