"""Chains of ops that run as one under PyTorch: GELU, layer normalization, the cell of an LSTM, found by what they compute.

TensorFlow has no op for them, so they lie in graphs as three to eleven ops, in the spelling of each publisher. PyTorch runs op
by op and keeps what each of them gives for the gradient; XLA and TensorFlow's optimizer put them together themselves.
Convolutions with what follows them are in `conv_fusion`. A rewritten graph answers alike and names its nodes alike; what is not
needed any more does not run. Imports ir and kernels.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import isclose, pi, sqrt
from typing import Any

import numpy as np

from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering import conv_fusion, conv_padding, kernels
from thaw.lowering.registry import Lowering, own
from thaw.lowering.values import Value, is_host, on_device

ADD = ("Add", "AddV2")


def gelu(x: Value, *, approximate: bool) -> Value:
    """The Gaussian error linear unit."""
    return kernels.gelu(on_device(x), approximate=approximate)


def layer_norm(x: Value, scale: Value, offset: Value, *, axes: tuple[int, ...], epsilon: float) -> Value:
    """`x` normalized over `axes`, scaled and moved."""
    return kernels.layer_norm(on_device(x), on_device(scale), on_device(offset), axes=axes, epsilon=epsilon)


def lstm_state(i: Value, f: Value, g: Value, c: Value) -> Value:
    """The next state of an LSTM's cell, of its input, forget and cell gates before their activations, and its state."""
    return kernels.lstm_state(*_tensors(i, f, g, c))


def lstm_output(o: Value, c: Value) -> Value:
    """What an LSTM's cell in state `c` answers through its output gate `o` (before its activation); any gated tanh."""
    return kernels.lstm_output(*_tensors(o, c))


def _tensors(*values: Value) -> list[Value]:
    return [on_device(v) if is_host(v) else v for v in values]


_ROWS = (
    own(gelu, ("x",), ("approximate",)),
    own(layer_norm, ("x", "scale", "offset"), ("axes", "epsilon")),
    own(lstm_state, ("i", "f", "g", "c"), ()),
    own(lstm_output, ("o", "c"), ()),
)
LOWERINGS: dict[str, Lowering] = {row.op: row for row in (*_ROWS, *conv_fusion.ROWS)}
"""Lowerings of the ops that only `fused` makes; no artifact has them, so they are not in the op table."""


def fused(graph: Graph, *, narrow: bool = False) -> Graph:
    """`graph` with such chains as one node each, where the backend has a kernel for it; else `graph` itself.

    Convolutions pad themselves on every backend. `narrow`: whether it computes in 16 bits, where its normalizations are wide.
    """
    if kernels.chosen("jax", "torch", "tensorflow"):
        graph = conv_padding.taken_in(graph)
    if not kernels.chosen("torch"):
        return graph
    made: dict[str, Node] = conv_fusion.made(graph, narrow=narrow)
    chains = Chains(graph)
    for node in graph.nodes.values():
        found = None
        if node.op == "Mul":
            found = chains.gelu(node) or chains.lstm_output(node)
        elif node.op in ADD:
            found = chains.layer_norm(node) or chains.lstm_state(node)
        if found is not None:
            op, inputs, attributes = found
            made[node.name] = Node(node.name, op, inputs, node.control, attributes)
    if not made:
        return graph
    return replace(graph, nodes={**graph.nodes, **made})


Found = tuple[str, tuple[Tensor, ...], dict[str, Any]]


class Chains:
    """Reads a graph backwards from the last node of a chain."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = graph.nodes
        self.supplied = set(graph.inputs)

    def node(self, tensor: Tensor, *ops: str) -> Node | None:
        """What computes `tensor`, through Identity, if it is one of `ops`."""
        source = self.source(tensor)
        node = self.nodes.get(source.node)
        return node if node is not None and node.op in ops and source not in self.supplied else None

    def source(self, tensor: Tensor) -> Tensor:
        """`tensor` before Identity."""
        for _ in range(len(self.nodes)):
            node = self.nodes.get(tensor.node)
            if node is None or node.op != "Identity" or tensor in self.supplied:
                break
            tensor = node.inputs[0]
        return tensor

    def number(self, tensor: Tensor) -> float | None:
        """The number that `tensor` is, for a constant or the root of one."""
        node = self.node(tensor, "Const", "Sqrt")
        if node is None:
            return None
        if node.op == "Sqrt":
            inner = self.number(node.inputs[0])
            return None if inner is None or inner < 0 else sqrt(inner)
        value = node.attrs["value"]
        if not isinstance(value, np.ndarray) or value.ndim or value.dtype.kind not in "fiuV":
            return None
        return float(value.astype(np.float64))

    def either(self, node: Node | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Both orders of the inputs of a sum or product."""
        if node is not None:
            a, b = node.inputs
            yield a, b
            yield b, a

    def scaled(self, tensor: Tensor) -> tuple[float, Tensor]:
        """`tensor` as a number times what is no product with a number."""
        factor = 1.0
        for _ in range(len(self.nodes)):
            tensor = self.source(tensor)
            node = self.node(tensor, "Mul", "Neg", "RealDiv")
            if node is None:
                break
            if node.op == "Neg":
                factor, tensor = -factor, node.inputs[0]
                continue
            a, b = node.inputs
            left, right = self.number(a), self.number(b)
            if node.op == "Mul" and left is not None:
                factor, tensor = factor * left, b
            elif right:
                factor, tensor = (factor * right if node.op == "Mul" else factor / right), a
            else:
                break
        return factor, tensor

    def gelu(self, node: Node) -> Found | None:
        """GELU that ends in a product: x/2 erfc(-x/√2), x (1 + erf(x/√2))/2, or with a tanh in place of erf."""
        outer, product = self.scaled(Tensor(node.name))
        for a, b in self.either(self.node(product, "Mul")):
            (first, x), (second, other) = self.scaled(a), self.scaled(b)
            approximate = self.doubled_share(other, x)
            if approximate is not None and isclose(outer * first * second, 0.5, rel_tol=1e-5):
                return "thaw.gelu", (x,), {"approximate": approximate}
        return None

    def doubled_share(self, tensor: Tensor, x: Tensor) -> bool | None:
        """Whether `tensor`, what GELU multiplies x/2 by, is the approximation (True) or exact (False); None: neither."""
        complement = self.node(tensor, "Erfc")
        if complement is not None:
            return False if self.is_scaled(complement.inputs[0], x, -sqrt(0.5)) else None
        for one, rest in self.either(self.node(tensor, *ADD)):
            curve = self.node(rest, "Erf", "Tanh")
            if curve is None or self.number(one) != 1.0:
                continue
            if curve.op == "Erf":
                return False if self.is_scaled(curve.inputs[0], x, sqrt(0.5)) else None
            return True if self.is_cubic(curve.inputs[0], x) else None
        return None

    def is_scaled(self, tensor: Tensor, x: Tensor, factor: float) -> bool:
        """Whether `tensor` is `factor` times `x`."""
        found, base = self.scaled(tensor)
        return base == x and isclose(found, factor, rel_tol=1e-5)

    def is_cubic(self, tensor: Tensor, x: Tensor) -> bool:
        """Whether `tensor` is √(2/π) (x + 0.044715 x³)."""
        factor, total = self.scaled(tensor)
        if not isclose(factor, sqrt(2 / pi), rel_tol=1e-5):
            return False
        for linear, cubic in self.either(self.node(total, *ADD)):
            share, cube = self.scaled(cubic)
            power = self.node(cube, "Pow")
            if self.source(linear) == x and isclose(share, 0.044715, rel_tol=1e-5) and power is not None:
                return self.source(power.inputs[0]) == x and self.number(power.inputs[1]) == 3.0
        return False

    def layer_norm(self, node: Node) -> Found | None:
        """`x m + (offset - mean m)` with m = scale / √(variance + epsilon), mean and variance being those of x."""
        for scaled, rest in self.either(node):
            moved = self.node(rest, "Sub")
            if moved is None:
                continue
            offset, shift = moved.inputs
            for x, factor in self.either(self.node(scaled, "Mul")):
                for mean, same in self.either(self.node(shift, "Mul")):
                    if self.source(same) != self.source(factor):
                        continue
                    found = self.normalization(self.source(x), mean, factor)
                    if found is not None:
                        scale, axes, epsilon = found
                        return "thaw.layer_norm", (x, scale, offset), {"axes": axes, "epsilon": epsilon}
        return None

    def normalization(self, x: Tensor, mean: Tensor, factor: Tensor) -> tuple[Tensor, tuple[int, ...], float] | None:
        """Scale, axes and epsilon, where `mean` is x's and `factor` is scale / √(variance + epsilon)."""
        axes = self.averaged(mean, x)
        for root, scale in self.either(self.node(factor, "Mul")):
            inverse = self.node(root, "Rsqrt")
            if inverse is None or axes is None:
                continue
            for variance, small in self.either(self.node(inverse.inputs[0], *ADD)):
                epsilon, average = self.number(small), self.node(variance, "Mean")
                if epsilon is None or average is None or self.averaged(variance, average.inputs[0]) != axes:
                    continue
                square = self.node(average.inputs[0], "SquaredDifference")
                for value, center in self.either(square):
                    stopped = self.node(center, "StopGradient")
                    held = self.source(stopped.inputs[0] if stopped is not None else center)
                    if self.source(value) == x and held == self.source(mean):
                        return scale, axes, epsilon
        return None

    def lstm_state(self, node: Node) -> Found | None:
        """`sigmoid(f) c + sigmoid(i) tanh(g)`."""
        for kept, new in self.either(node):
            for inward, curve in self.either(self.node(new, "Mul")):
                i, g = self.node(inward, "Sigmoid"), self.node(curve, "Tanh")
                if i is None or g is None:
                    continue
                for forget, c in self.either(self.node(kept, "Mul")):
                    f = self.node(forget, "Sigmoid")
                    if f is not None:
                        return "thaw.lstm_state", (i.inputs[0], f.inputs[0], g.inputs[0], c), {}
        return None

    def lstm_output(self, node: Node) -> Found | None:
        """`sigmoid(o) tanh(c)`."""
        for outward, curve in self.either(node):
            o, c = self.node(outward, "Sigmoid"), self.node(curve, "Tanh")
            if o is not None and c is not None:
                return "thaw.lstm_output", (o.inputs[0], c.inputs[0]), {}
        return None

    def averaged(self, tensor: Tensor, x: Tensor) -> tuple[int, ...] | None:
        """Over which axes `tensor` is the mean of `x`, which stay as axes of one."""
        node = self.node(tensor, "Mean")
        if node is None or not node.attrs.get("keep_dims") or self.source(node.inputs[0]) != self.source(x):
            return None
        axes = self.node(node.inputs[1], "Const")
        return None if axes is None else tuple(int(n) for n in np.ravel(axes.attrs["value"]))  # type: ignore[arg-type]
