"""Zeros around an image as the convolution's own padding, where a graph has them as an op before it.

Keras pads so before strides of two, PyTorch's exporters before everything. The op writes the whole image once more, and its
gradient cuts it out again: 7 % of a training step of MobileNetV2 on TensorFlow. Imports ir.
"""

import numpy as np

from thaw.graph.ir import Graph, Node, Tensor

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


def taken_in(graph: Graph) -> Graph:
    """`graph` with convolutions that pad themselves; pads that are wanted for more remain for that."""
    supplied = set(graph.inputs)
    made: dict[str, Node] = {}
    for node in graph.nodes.values():
        if node.op not in _CONVOLUTIONS or node.attrs.get("padding") not in {"VALID", "EXPLICIT"}:
            continue
        pad = graph.nodes.get(node.inputs[0].node)
        if pad is None or node.inputs[0] in supplied:
            continue
        widths = _widths(graph, pad, node.attrs.get("data_format", "NHWC"), supplied)
        if widths is not None:
            own = node.attrs.get("explicit_paddings") or (0,) * 8
            total = tuple(a + int(b) for a, b in zip(widths, own, strict=True))  # type: ignore[arg-type]
            attributes = {**node.attrs, "padding": "EXPLICIT", "explicit_paddings": total}
            inputs = (pad.inputs[0], *node.inputs[1:])
            made[node.name] = Node(node.name, node.op, inputs, (*node.control, *pad.control), attributes)
    return Graph(graph.name, {**graph.nodes, **made}, graph.inputs, graph.outputs, graph.updates) if made else graph


def _widths(graph: Graph, pad: Node, data_format: object, supplied: set[Tensor]) -> tuple[int, ...] | None:
    """What `pad` adds before and after each of four axes, if it is zeros around rows and columns."""
    if pad.op not in {"Pad", "PadV2"} or any(t in supplied for t in pad.inputs[1:]):
        return None
    constants = [graph.nodes.get(t.node) for t in pad.inputs[1:]]
    values = [np.asarray(n.attrs["value"]) for n in constants if n is not None and n.op == "Const"]
    if len(values) != len(constants) or (len(values) == 2 and values[1].any()):
        return None
    pairs = values[0]
    others = (0, 1) if data_format == "NCHW" else (0, 3)
    if pairs.shape != (4, 2) or pairs[others, :].any() or (pairs < 0).any():
        return None
    return tuple(int(n) for n in pairs.ravel())
