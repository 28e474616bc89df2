"""Convolutions with what follows them as one op, under PyTorch: bias, batch normalization by given statistics, activation.

Each of these ops writes an array as large as the one it reads, and PyTorch runs them one by one. A bias goes with the native
convolution; given statistics are a factor and an offset for each channel, which kernel and bias take up; relu and relu6 change in
place what nobody else reads. In training, where statistics are the batch's, normalization keeps its own pass and takes the
activation along. XLA and TensorFlow's optimizer put these together themselves. Imports ir, kernels and normalization.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from keras import ops

from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering import kernels, normalization
from thaw.lowering.registry import own
from thaw.lowering.values import Value, on_device, static_shape
from thaw.lowering.windows import resolve, spatial

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
NORMALIZATIONS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
BIASES = ("BiasAdd", "BiasAddV1")
ENDS = frozenset((*NORMALIZATIONS, *BIASES))
ACTIVATIONS = ("Relu", "Relu6")
SHAPE = ("strides", "padding", "explicit_paddings", "dilations")
"""Attributes of a convolution that the ops made here take over."""


def convolution(
    x: Value,
    kernel: Value,
    bias: Value,
    *,
    strides: Sequence[int],
    padding: str,
    explicit_paddings: Sequence[int] = (),
    dilations: Sequence[int] = (1, 1, 1, 1),
    depthwise: bool = False,
    activation: str = "",
) -> Value:
    """A convolution (or depthwise one) with its bias and activation."""
    x, kernel, bias = on_device(x), on_device(kernel), on_device(bias)
    if depthwise:
        height, width, channels, multiplier = static_shape(kernel)
        kernel = ops.reshape(kernel, (height, width, 1, int(channels or 0) * int(multiplier or 0)))
    return kernels.biased_convolution(
        x,
        kernel,
        bias,
        strides=spatial(strides, "NHWC"),
        padding=resolve("Conv2D", padding, explicit_paddings, "NHWC"),
        dilations=spatial(dilations, "NHWC"),
        activation=activation,
    )


def normalized_convolution(
    x: Value,
    kernel: Value,
    scale: Value,
    offset: Value,
    mean: Value,
    variance: Value,
    *bias: Value,
    epsilon: float = 0.0001,
    depthwise: bool = False,
    **options: Any,
) -> Value:
    """A convolution, normalized by given statistics (which receive no gradient), and its activation."""
    kernel, scale, offset = on_device(kernel), on_device(scale), on_device(offset)
    mean, variance = ops.stop_gradient(on_device(mean)), ops.stop_gradient(on_device(variance))
    factor = ops.rsqrt(variance + epsilon) * scale
    own_bias = (on_device(bias[0]) - mean) if bias else -mean
    lanes = ops.reshape(factor, static_shape(kernel)[2:]) if depthwise else factor
    return convolution(x, kernel * lanes, own_bias * factor + offset, depthwise=depthwise, **options)


def batch_norm(
    x: Value,
    scale: Value,
    offset: Value,
    mean: Value,
    variance: Value,
    *,
    activation: str,
    epsilon: float = 0.0001,
    exponential_avg_factor: float = 1.0,
    is_training: bool = True,
) -> tuple[Value, ...]:
    """Batch normalization and its activation; further outputs as FusedBatchNorm's."""
    return normalization.fused(x, scale, offset, mean, variance, epsilon, exponential_avg_factor, "NHWC", is_training, activation)


_CONVOLVES = (*SHAPE, "depthwise", "activation")
ROWS = (
    own(convolution, ("x", "kernel", "bias"), _CONVOLVES),
    own(normalized_convolution, ("x", "kernel", "scale", "offset", "mean", "variance"), (*_CONVOLVES, "epsilon"), variadic=True),
    own(
        batch_norm,
        ("x", "scale", "offset", "mean", "variance"),
        ("activation", "epsilon", "exponential_avg_factor", "is_training"),
    ),
)
"""Lowerings of the ops that `made` makes."""


def made(graph: Graph, *, narrow: bool) -> dict[str, Node]:
    """The nodes of `graph` that are others where such chains run as one, by name."""
    ends = [node for node in graph.nodes.values() if node.op in ENDS]
    if not ends:
        return {}  # before a large graph is asked who reads what
    chains = _Chains(graph)
    found: dict[str, Node] = {}
    for node in ends:
        if node.op in NORMALIZATIONS:
            found |= chains.normalization(node, narrow)
    for node in ends:
        if node.op in BIASES and node.name not in chains.taken:
            found |= chains.bias(node)
    return found


class _Chains:
    """Who reads what in a graph, and the chains in it."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = graph.nodes
        self.readers: dict[Tensor, list[Node]] = defaultdict(list)
        for node in graph.nodes.values():
            for tensor in node.inputs:
                self.readers[tensor].append(node)
        self.outside = Counter((*graph.outputs, *graph.inputs))
        self.awaited = {name for node in graph.nodes.values() for name in node.control} | set(graph.updates)
        self.taken: set[str] = set()  # biases that went into a normalization

    def alone(self, tensor: Tensor) -> Node | None:
        """The one node that reads `tensor`, if nothing else does."""
        readers = self.readers[tensor]
        return readers[0] if len(readers) == 1 and not self.outside[tensor] else None

    def producer(self, node: Node, *wanted: str) -> Node | None:
        """What makes the first input of `node`, if it is one of `wanted`, channels last, and made for `node` alone."""
        tensor = node.inputs[0]
        found = self.nodes.get(tensor.node)
        if found is None or found.op not in wanted or found.name in self.awaited or self.alone(tensor) is not node:
            return None
        return found if _channels_last(found) else None

    def activation(self, node: Node) -> dict[str, Node]:
        """The activation that alone reads the first output of `node`, as a node that does nothing."""
        reader = self.alone(Tensor(node.name))
        if reader is None or reader.op not in ACTIVATIONS:
            return {}
        return {reader.name: Node(reader.name, "Identity", reader.inputs, reader.control, {})}

    def _name(self, acts: dict[str, Node]) -> str:
        return next((self.nodes[name].op for name in acts), "")

    def _absorbed(self, node: Node) -> tuple[Node, Node | None] | None:
        """The convolution that a normalization by given statistics takes up, and the bias between them."""
        mixed = node.attrs.get("U", node.attrs.get("T")) != node.attrs.get("T")  # 16 bits, normalized in 32
        rest = any(self.readers[Tensor(node.name, i)] or self.outside[Tensor(node.name, i)] for i in range(1, 6))
        if node.attrs.get("is_training", True) or mixed or rest or not _channels_last(node):
            return None
        bias = self.producer(node, *BIASES)
        convolution = self.producer(bias or node, *CONVOLUTIONS)
        if convolution is None:
            return None
        if bias is not None:
            self.taken.add(bias.name)
        return convolution, bias

    def normalization(self, node: Node, narrow: bool) -> dict[str, Node]:
        """A normalization with the convolution before it, where its statistics are given, and the activation after it."""
        acts = self.activation(node)
        absorbed = None if narrow else self._absorbed(node)
        attributes = {"activation": self._name(acts), **_only(node, "epsilon")}
        if absorbed is not None:
            convolution, bias = absorbed
            parts = (*convolution.inputs, *node.inputs[1:5], *(bias.inputs[1:] if bias is not None else ()))
            attributes |= _shape(convolution)
            new = Node(node.name, "thaw.normalized_convolution", parts, (*node.control, *convolution.control), attributes)
        elif acts and _channels_last(node):
            attributes |= _only(node, "exponential_avg_factor", "is_training")
            new = Node(node.name, "thaw.batch_norm", node.inputs[:5], node.control, attributes)
        else:
            return {}
        return {node.name: new, **acts}

    def bias(self, node: Node) -> dict[str, Node]:
        """A bias with the convolution before it and the activation after it."""
        convolution = self.producer(node, *CONVOLUTIONS)
        if convolution is None or not _channels_last(node):
            return {}
        acts = self.activation(node)
        attributes = {"activation": self._name(acts), **_shape(convolution)}
        parts = (*convolution.inputs, node.inputs[1])
        return {node.name: Node(node.name, "thaw.convolution", parts, (*node.control, *convolution.control), attributes), **acts}


def _only(node: Node, *names: str) -> dict[str, Any]:
    return {name: node.attrs[name] for name in names if name in node.attrs}


def _shape(convolution: Node) -> dict[str, Any]:
    return {"depthwise": convolution.op == CONVOLUTIONS[1], **_only(convolution, *SHAPE)}


def _channels_last(node: Node) -> bool:
    return node.attrs.get("data_format", "NHWC") == "NHWC"
