"""Loops that are a recurrent net over the rows of a list: what LSTMs and GRUs have in common, where a body is read for one.

A round takes one row, multiplies it and the last output with weights that stay the same, and carries and writes its output.
Whatever else a body does makes it no such loop. Imports fusion (which reads chains of ops), lists, loop_slices and trips.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering import fusion
from thaw.lowering.lists import TensorList
from thaw.lowering.loop_slices import READS, WRITES
from thaw.lowering.run import Context
from thaw.lowering.trips import Trips
from thaw.lowering.values import Handle, Value, dtype_of, on_device

WIDE = ({"float32"}, {"float64"})
"""Dtypes that the native ops take, all arguments alike."""


@dataclass(frozen=True)
class Held:
    """What does not change from round to round: an input of the loop, the variable that one names, or a constant."""

    place: int = -1
    is_variable: bool = False
    constant: np.ndarray | None = None

    def value(self, context: Context, values: Sequence[Value]) -> Value:
        """What it is in this run of the loop, on the device."""
        if self.constant is not None:
            return on_device(self.constant)
        found = values[self.place]
        return on_device(context.read(found.key) if isinstance(found, Handle) else found)


@dataclass(frozen=True)
class Rows:
    """Positions of the list whose rows a loop reads, and of the counter that it reads them at."""

    place: int
    counter: int

    def read(self, values: Sequence[Value], trips: Trips) -> Value | None:
        """All rows (rounds, batch, features) in the order of the rounds; None where they are not vectors of one length."""
        rows, history = values[self.place], numbers(trips, self.counter)
        if not isinstance(rows, TensorList) or len(rows.known_shape or ()) != 2 or not set(history) <= set(range(rows.length)):
            return None
        x, first = on_device(rows.array()), history[0]
        in_a_row = history == list(range(first, first + len(history)))
        return x[first : first + len(history)] if in_a_row else x[history]


Writes = Mapping[int, tuple[str, int]]
"""For each list that the output is written into, by position: ("counter", its position) or ("number", the index)."""


def numbers(trips: Trips, counter: int) -> list[int]:
    """What a counter is in each round."""
    return [int(n) for n in trips.counters[counter][: trips.count]]


def finished(
    values: Sequence[Value], trips: Trips, writes: Writes, outputs: Value, finals: Mapping[int, Value], output: int
) -> list[Value]:
    """The values of a loop after it: `outputs` of all rounds, `finals` by position, the last output among them at `output`."""
    result = list(values)
    for k, counted in trips.counters.items():
        result[k] = counted[-1]
    for k, value in finals.items():
        result[k] = value
    for k, (kind, where) in writes.items():
        if kind == "counter":
            result[k] = values[k].scatter(np.array(numbers(trips, where), np.int32), outputs)
        else:
            result[k] = values[k].set(np.int32(where), finals[output])
    return result


def alike(*values: Value) -> bool:
    """Whether all are of one dtype that the native ops take."""
    return {dtype_of(v) for v in values} in WIDE


def fits(gates: int, x: Value, output: Value, kernel: Value, recurrent: Value, biases: Sequence[Value]) -> bool:
    """Whether the shapes are those of one recurrent net with so many gates."""
    if len(output.shape) != 2 or int(output.shape[0]) != int(x.shape[1]):
        return False
    width = gates * int(output.shape[1])
    expected = [(int(x.shape[2]), width), (int(output.shape[1]), width), *[(width,)] * len(biases)]
    return [tuple(v.shape) for v in (kernel, recurrent, *biases)] == expected


def in_order(value: Value, order: Sequence[int]) -> Value:
    """`value` (..., gates * units) with its gates in another order."""
    if list(order) == list(range(len(order))):
        return value
    units = int(value.shape[-1]) // len(order)
    return ops.concatenate([value[..., n * units : (n + 1) * units] for n in order], axis=-1)


def total(values: Sequence[Value], like: Value) -> Value:
    """The sum of biases (gates * units); zeros where there is none, for weights `like` (.., gates * units)."""
    return sum(values[1:], values[0]) if values else ops.zeros((int(like.shape[-1]),), dtype_of(like))


class Reader:
    """Reads a body from its outputs backwards; methods give None where it is something else."""

    def __init__(self, body: Graph, fixed: frozenset[int], counters: Mapping[int, Any]) -> None:
        self.body = body
        fused = fusion.fused(body)
        self.nodes = fused.nodes
        self.chains = fusion.Chains(fused)
        self.fixed = fixed
        self.counters = counters
        self.places = {t: i for i, t in enumerate(body.inputs)}

    def place(self, tensor: Tensor) -> int | None:
        """Which input of the body `tensor` is, through Identity."""
        return self.places.get(self.chains.source(tensor))

    def changing(self) -> dict[int, Tensor]:
        """What is handed on at each position that neither stays the same nor counts; none of a body with effects."""
        if self.body.updates:
            return {}
        rest = set(range(len(self.body.outputs))) - self.fixed - set(self.counters)
        return {k: self.chains.source(self.body.outputs[k]) for k in sorted(rest)}

    def made(self, tensor: Tensor) -> Node | None:
        """The node that makes `tensor`."""
        return None if tensor in self.places else self.nodes.get(tensor.node)

    def writes(self, handed: Mapping[int, Tensor], value: Tensor) -> Writes | None:
        """Where `value` is written, if that is all that happens to what is handed on at these positions."""
        found = {k: self._write(k, self.made(tensor), value) for k, tensor in handed.items()}
        return None if None in found.values() else {k: w for k, w in found.items() if w is not None}

    def _write(self, k: int, node: Node | None, value: Tensor) -> tuple[str, int] | None:
        if node is None or node.op not in WRITES:
            return None
        where, index, item = (node.inputs[i] for i in WRITES[node.op])
        if self.place(where) != k or self.chains.source(item) != value:
            return None
        counter, number = self.place(index), self.chains.number(index)
        if counter is not None and counter in self.counters:
            return "counter", counter
        return None if number is None else ("number", int(number))

    def part(self, tensor: Tensor, gates: int) -> tuple[str, int] | None:
        """The node that splits all gates, and which of its parts `tensor` is."""
        split = self.chains.node(tensor, "Split")
        if split is None or split.attrs.get("num_split") != gates or self.chains.number(split.inputs[0]) not in {1.0, -1.0}:
            return None
        return split.name, self.chains.source(tensor).output

    def terms(self, tensor: Tensor) -> Iterator[Tensor]:
        """What is added up in `tensor`."""
        node = self.chains.node(tensor, *fusion.ADD, "BiasAdd")
        if node is None:
            yield tensor
        else:
            for part in node.inputs:
                yield from self.terms(part)

    def product(self, tensor: Tensor) -> tuple[Tensor, Held] | None:
        """What is multiplied with which weights."""
        node = self.chains.node(tensor, "MatMul")
        if node is None or node.attrs.get("transpose_a") or node.attrs.get("transpose_b"):
            return None
        held = self.held(node.inputs[1])
        return None if held is None else (node.inputs[0], held)

    def sum_of(self, tensor: Tensor) -> tuple[list[tuple[Tensor, Held]], tuple[Held, ...]] | None:
        """The products and the biases that are added up in `tensor`, if nothing else is."""
        products, biases = [], []
        for term in self.terms(tensor):
            product, held = self.product(term), self.held(term)
            if product is not None:
                products.append(product)
            elif held is not None:
                biases.append(held)
            else:
                return None
        return products, tuple(biases)

    def held(self, tensor: Tensor) -> Held | None:
        """What stays the same, if `tensor` does."""
        tensor = self.chains.source(tensor)
        if tensor in self.places:
            place = self.places[tensor]
            return Held(place) if place in self.fixed else None
        node = self.nodes.get(tensor.node)
        if node is not None and node.op == "ReadVariableOp":
            named = self.place(node.inputs[0])
            return Held(named, is_variable=True) if named is not None and named in self.fixed else None
        value = node.attrs.get("value") if node is not None and node.op == "Const" else None
        return Held(constant=value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else None

    def rows(self, tensor: Tensor) -> Rows | None:
        """The list and counter whose row `tensor` is."""
        read = self.chains.node(tensor, *READS)
        if read is None:
            return None
        where, index = (self.place(read.inputs[i]) for i in READS[read.op])
        if where is None or where not in self.fixed or index is None or index not in self.counters:
            return None
        return Rows(where, index)
