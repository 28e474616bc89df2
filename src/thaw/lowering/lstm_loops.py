"""Loops that are an LSTM over the rows of a list, which PyTorch's native op runs at once instead of round by round.

Found by what a round computes, in any publisher's spelling: the sums of the gates from a row and the last output (two products,
or one of both side by side), and the cell that `fusion` recognizes. Clipped, masked, projecting cells and dropout within are
none, and run as they are written. Imports recurrences, which reads the rest of the body.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thaw.graph.ir import Node, Tensor
from thaw.lowering import fusion, torch_kernels
from thaw.lowering.recurrences import Held, Reader, Rows, Writes, alike, finished, fits, in_order, total
from thaw.lowering.run import Context
from thaw.lowering.trips import Trips
from thaw.lowering.values import Value, dtype_of, on_device

GATES = 4


@dataclass(frozen=True)
class Lstm:
    """Where the parts of an LSTM stand in a loop.

    Attributes:
        rows: what is read.
        kernel, recurrent: weights of a row and of the last output, (features, 4 units) and (units, 4 units); `recurrent` is
            None where both lie in `kernel`, one above the other.
        biases: (4 units) each; they add up.
        order: which quarter of the sums is the input, forget, cell and output gate.
        added: the number that goes with each of these gates (forget_bias).
        output, state: positions of the last output and of the cell's state.
        writes: where the output is written.
    """

    rows: Rows
    kernel: Held
    recurrent: Held | None
    biases: tuple[Held, ...]
    order: tuple[int, ...]
    added: tuple[float, ...]
    output: int
    state: int
    writes: Writes

    def run(self, context: Context, values: Sequence[Value], trips: Trips, x: Value) -> list[Value] | None:
        """The final values of the loop over the rows `x`; None where shapes or dtypes are not for the native op.

        An LSTM of 128 over 50 steps (batch of 32), round by round and at once: 29 and 14 ms to predict, 74 and 31 to train.
        """
        output, state = on_device(values[self.output]), on_device(values[self.state])
        kernel, biases = self.kernel.value(context, values), [b.value(context, values) for b in self.biases]
        features = int(x.shape[-1])
        recurrent = kernel[features:] if self.recurrent is None else self.recurrent.value(context, values)
        kernel = kernel[:features] if self.recurrent is None else kernel
        if not alike(x, output, state, kernel, recurrent, *biases) or tuple(output.shape) != tuple(state.shape):
            return None
        if not fits(GATES, x, output, kernel, recurrent, biases):
            return None
        bias = in_order(total(biases, kernel), self.order)
        if any(self.added):
            bias = bias + on_device(np.repeat(self.added, int(output.shape[1])).astype(dtype_of(kernel)))
        weights = in_order(kernel, self.order), in_order(recurrent, self.order)
        outputs, last, cell = torch_kernels.lstm(x, output, state, *weights, bias)
        return finished(values, trips, self.writes, outputs, {self.output: last, self.state: cell}, self.output)


class LstmReader(Reader):
    """Reads a body for an LSTM."""

    def read(self) -> Lstm | None:
        """The LSTM that the whole body is."""
        handed = self.changing()
        made = {k: self.made(tensor) for k, tensor in handed.items()}
        states = [k for k, node in made.items() if node is not None and node.op == "thaw.lstm_state"]
        outputs = [k for k, node in made.items() if node is not None and node.op == "thaw.lstm_output"]
        if len(states) != 1 or len(outputs) != 1:
            return None
        (state,), (output,) = states, outputs
        cell, gated = made[state], made[output]
        assert cell is not None and gated is not None
        writes = self.writes({k: t for k, t in handed.items() if k not in {state, output}}, handed[output])
        through = self.chains.source(gated.inputs[1]) == handed[state] and self.place(cell.inputs[3]) == state
        gates = [self._gate(t) for t in (*cell.inputs[:3], gated.inputs[0])]
        found = [gate for gate in gates if gate is not None]
        if writes is None or not through or len(found) != GATES or len({name for name, _, _ in found}) != 1:
            return None
        order = tuple(part for _, part, _ in found)
        sums = self._sums(self.nodes[found[0][0]].inputs[1], output)
        if sums is None or sorted(order) != list(range(GATES)):
            return None
        rows, kernel, recurrent, biases = sums
        return Lstm(rows, kernel, recurrent, biases, order, tuple(added for _, _, added in found), output, state, writes)

    def _gate(self, tensor: Tensor) -> tuple[str, int, float] | None:
        """The split that a gate comes from, which part it is, and the number that is added to it."""
        added = 0.0
        for sum_, other in self.chains.either(self.chains.node(tensor, *fusion.ADD)):
            number = self.chains.number(other)
            if number is not None:
                tensor, added = sum_, number
        part = self.part(tensor, GATES)
        return None if part is None else (*part, added)

    def _sums(self, tensor: Tensor, output: int) -> tuple[Rows, Held, Held | None, tuple[Held, ...]] | None:
        """Rows, kernel, recurrent kernel and biases of the sum of all gates."""
        found = self.sum_of(tensor)
        if found is None:
            return None
        by_place: dict[str, Held] = {}
        rows: Rows | None = None
        for left, weights in found[0]:
            beside = self._beside(left, output)
            what = "recurrent" if self.place(left) == output else "kernel" if beside is None else "both"
            if what != "recurrent":
                rows = self.rows(left if beside is None else beside)
            if what in by_place or (what != "recurrent" and rows is None):
                return None
            by_place[what] = weights
        if rows is None or set(by_place) not in ({"both"}, {"kernel", "recurrent"}):
            return None
        return rows, by_place.get("kernel", by_place.get("both", Held())), by_place.get("recurrent"), found[1]

    def _beside(self, tensor: Tensor, output: int) -> Tensor | None:
        """What stands beside the last output in `tensor`."""
        node: Node | None = self.chains.node(tensor, "ConcatV2")
        if node is None or len(node.inputs) != 3 or self.chains.number(node.inputs[2]) not in {1.0, -1.0}:
            return None
        return node.inputs[0] if self.place(node.inputs[1]) == output else None
