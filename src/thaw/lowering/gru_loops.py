"""Loops that are a GRU over the rows of a list, which PyTorch's native op runs at once instead of round by round.

The GRU that resets after the product, as Keras 2 exports it: `z h + (1 - z) tanh(x_h + r h_h)`, the gates z and r being sigmoids
of `x_z + h_z` and `x_r + h_r`, x and h the two products with their biases. Any other runs as it is written. Imports recurrences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from thaw.graph.ir import Tensor
from thaw.lowering import fusion, torch_kernels
from thaw.lowering.recurrences import Held, Reader, Rows, Writes, alike, finished, fits, in_order, total
from thaw.lowering.run import Context
from thaw.lowering.trips import Trips
from thaw.lowering.values import Value, on_device

GATES = 3


@dataclass(frozen=True)
class Gru:
    """Where the parts of a GRU stand in a loop.

    Attributes:
        rows: what is read.
        kernel, recurrent: weights of a row and of the last output, (features, 3 units) and (units, 3 units).
        biases, inner: biases of the two products, (3 units) each; those of one product add up.
        order: which third of the products is the reset gate, the update gate, and the new output.
        output: position of the last output.
        writes: where the output is written.
    """

    rows: Rows
    kernel: Held
    recurrent: Held
    biases: tuple[Held, ...]
    inner: tuple[Held, ...]
    order: tuple[int, ...]
    output: int
    writes: Writes

    def run(self, context: Context, values: Sequence[Value], trips: Trips, x: Value) -> list[Value] | None:
        """The final values of the loop over the rows `x`; None where shapes or dtypes are not for the native op.

        A GRU of 128 over 50 steps (batch of 32), round by round and at once: 49 and 14 ms to predict, 96 and 52 to train.
        """
        output = on_device(values[self.output])
        kernel, recurrent = self.kernel.value(context, values), self.recurrent.value(context, values)
        biases = [total([b.value(context, values) for b in of], kernel) for of in (self.biases, self.inner)]
        if not alike(x, output, kernel, recurrent, *biases) or not fits(GATES, x, output, kernel, recurrent, biases):
            return None
        outputs, last = torch_kernels.gru(x, output, *[in_order(v, self.order) for v in (kernel, recurrent, *biases)])
        return finished(values, trips, self.writes, outputs, {self.output: last}, self.output)


class GruReader(Reader):
    """Reads a body for a GRU."""

    def read(self) -> Gru | None:
        """The GRU that the whole body is."""
        handed = self.changing()
        for output, tensor in handed.items():
            for kept, new in self.chains.either(self.chains.node(tensor, *fusion.ADD)):
                parts = self._parts(kept, new, output)
                writes = None if parts is None else self.writes({k: t for k, t in handed.items() if k != output}, tensor)
                if parts is None or writes is None:
                    continue
                x, h, order = parts
                outer, inner = self._sum(x), self._sum(h)
                rows = None if outer is None else self.rows(outer[0])
                if outer is not None and inner is not None and rows is not None and self.place(inner[0]) == output:
                    return Gru(rows, outer[1], inner[1], outer[2], inner[2], order, output, writes)
        return None

    def _parts(self, kept: Tensor, new: Tensor, output: int) -> tuple[Tensor, Tensor, tuple[int, ...]] | None:
        """Of `z h + (1 - z) n`: the two products that gates come from, and the order of the gates r, z, n in both."""
        for z, last in self.chains.either(self.chains.node(kept, "Mul")):
            for rest, curve in self.chains.either(self.chains.node(new, "Mul")):
                minus, tanh = self.chains.node(rest, "Sub"), self.chains.node(curve, "Tanh")
                if self.place(last) != output or minus is None or tanh is None or self.chains.number(minus.inputs[0]) != 1.0:
                    continue
                if self.chains.source(minus.inputs[1]) != self.chains.source(z):
                    continue
                found = self._gates(z, tanh.inputs[0])
                if found is not None:
                    return found
        return None

    def _gates(self, z: Tensor, sum_: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]] | None:
        for x_new, reset in self.chains.either(self.chains.node(sum_, *fusion.ADD)):
            for r, h_new in self.chains.either(self.chains.node(reset, "Mul")):
                curves = [self.chains.node(t, "Sigmoid") for t in (r, z)]
                sums = [self.chains.node(c.inputs[0], *fusion.ADD) if c is not None else None for c in curves]
                news = self.part(x_new, GATES), self.part(h_new, GATES)
                if None in sums or news[0] is None or news[1] is None:
                    continue
                # Which of the two products a term of a gate belongs to, its split says.
                pairs = [{p[0]: p[1] for t in s.inputs if (p := self.part(t, GATES)) is not None} for s in sums if s is not None]
                pairs.append({news[0][0]: news[0][1], news[1][0]: news[1][1]})
                x, h = news[0][0], news[1][0]
                if x == h or any(set(pair) != {x, h} or pair[x] != pair[h] for pair in pairs):
                    continue
                order = tuple(pair[x] for pair in pairs)
                if sorted(order) == list(range(GATES)):
                    return self.nodes[x].inputs[1], self.nodes[h].inputs[1], order
        return None

    def _sum(self, tensor: Tensor) -> tuple[Tensor, Held, tuple[Held, ...]] | None:
        """Of a product with biases: what is multiplied, with what, and the biases."""
        found = self.sum_of(tensor)
        return None if found is None or len(found[0]) != 1 else (*found[0][0], found[1])
