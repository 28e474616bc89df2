"""Zeros around an image as the convolution's own padding, where a graph has them as an op before it.

Keras pads so before strides of two, PyTorch's exporters before everything. The op writes the whole image once more, and its
gradient cuts it out again: 7 % of a training step of MobileNetV2 on TensorFlow. What is odd about a pad or a convolution is left
as it is, for the op itself to refuse. Imports ir and conv_fusion.
"""

from dataclasses import replace

import numpy as np

from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering.conv_fusion import CONVOLUTIONS


def taken_in(graph: Graph) -> Graph:
    """`graph` with convolutions that pad themselves; pads that are wanted for more remain for that."""
    supplied = set(graph.inputs)
    made: dict[str, Node] = {}
    for node in graph.nodes.values():
        if node.op not in CONVOLUTIONS or node.inputs[0] in supplied:
            continue
        pad, own = graph.nodes.get(node.inputs[0].node), _own_widths(node)
        if pad is None or own is None:
            continue
        widths = _widths(graph, pad, node.attrs.get("data_format", "NHWC"), supplied)
        if widths is not None:
            total = tuple(a + b for a, b in zip(widths, own, strict=True))
            attributes = {**node.attrs, "padding": "EXPLICIT", "explicit_paddings": total}
            inputs = (pad.inputs[0], *node.inputs[1:])
            made[node.name] = replace(node, inputs=inputs, control=(*node.control, *pad.control), attrs=attributes)
    return replace(graph, nodes={**graph.nodes, **made}) if made else graph


def _own_widths(convolution: Node) -> tuple[int, ...] | None:
    """What a convolution adds itself before and after each of four axes; None where that depends on the image, or is odd."""
    padding = convolution.attrs.get("padding")
    if padding == "VALID":
        return (0,) * 8
    widths = convolution.attrs.get("explicit_paddings")
    if padding != "EXPLICIT" or not isinstance(widths, tuple) or len(widths) != 8:
        return None
    numbers = tuple(n for n in widths if isinstance(n, int) and n >= 0)
    return numbers if len(numbers) == 8 else None


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
    if pairs.dtype.kind != "i" or pairs.shape != (4, 2) or pairs[others, :].any() or (pairs < 0).any():
        return None
    return tuple(int(n) for n in pairs.ravel())
