"""Training steps for artifacts whose publisher left no training variant: batch statistics, and dropout.

A fused batch normalization that reads its mean and variance from variables normalizes by the batch instead, and moves the
variables towards the batch's statistics. Dropout is put where an exporter left an identity in its place, else on the outputs.
Imports this room only.
"""

from dataclasses import replace

import numpy as np

from thaw.graph.ir import Graph, Node, Tensor
from thaw.graph.moving_statistics import FUSED, HANDLES


def normalize_by_batch(graph: Graph, momentum: float) -> Graph:
    """`graph` with its fused batch normalizations in training mode; their moving statistics keep `momentum` of themselves."""
    nodes = dict(graph.nodes)
    updates = list(graph.updates)
    for node in graph.nodes.values():
        if node.op not in FUSED or node.attrs.get("is_training", True) is not False:
            continue
        handles = [_handle(graph, t) for t in node.inputs[3:5]]
        if None in handles:
            continue  # statistics that are constants cannot move
        nodes[node.name] = replace(node, attrs={**node.attrs, "is_training": True})
        for output, handle in enumerate(handles, 1):
            assert handle is not None
            near = f"{node.name}/moving_{output}"
            rate = Node(f"{near}/rate", "Const", (), (), {"value": np.array(1.0 - momentum, "float32")})
            away = Node(f"{near}/away", "Sub", (node.inputs[2 + output], Tensor(node.name, output)))
            step = Node(f"{near}/step", "Mul", (Tensor(away.name), Tensor(rate.name)))
            op = "AssignSubVariableOp" if handle.op == "VarHandleOp" else "AssignSub"
            assign = Node(f"{near}/assign", op, (Tensor(handle.name), Tensor(step.name)))
            nodes |= {n.name: n for n in (rate, away, step, assign)}
            updates.append(assign.name)
    return replace(graph, nodes=nodes, updates=tuple(updates))


def _handle(graph: Graph, tensor: Tensor) -> Node | None:
    """The variable whose value `tensor` is."""
    node = graph.nodes.get(tensor.node)
    while node is not None and node.op in {"Identity", "ReadVariableOp", "Cast"} and node.inputs:
        node = graph.nodes.get(node.inputs[0].node)
    return node if node is not None and node.op in HANDLES else None


def drop_out(graph: Graph, rate: float, floats: tuple[int, ...]) -> Graph:
    """`graph` with dropout: at the identities that an exporter left of it, else on the outputs at the positions `floats`."""
    places = [Tensor(n.name) for n in graph.nodes.values() if n.op == "Identity" and _was_dropout(n.name)]
    places = places or list(dict.fromkeys(graph.outputs[i] for i in floats))
    nodes = dict(graph.nodes)
    dropped: dict[Tensor, Tensor] = {}
    for index, tensor in enumerate(places):
        near = f"{tensor.node}/dropout_{index}"
        one = Node(f"{near}/one", "Const", (), (), {"value": np.array(rate, "float32")})
        scale = Node(f"{near}/scale", "Const", (), (), {"value": np.array(1.0 / (1.0 - rate), "float32")})
        shape = Node(f"{near}/shape", "Shape", (tensor,), (), {"out_type": "int32"})
        drawn = Node(f"{near}/uniform", "RandomUniform", (Tensor(shape.name),), (), {"dtype": "float32"})
        kept = Node(f"{near}/kept", "GreaterEqual", (Tensor(drawn.name), Tensor(one.name)))
        mask = Node(f"{near}/mask", "Cast", (Tensor(kept.name),), (), {"DstT": "float32"})
        larger = Node(f"{near}/scaled", "Mul", (tensor, Tensor(scale.name)))
        result = Node(f"{near}/result", "Mul", (Tensor(larger.name), Tensor(mask.name)))
        nodes |= {n.name: n for n in (one, scale, shape, drawn, kept, mask, larger, result)}
        dropped[tensor] = Tensor(result.name)
    for name, node in graph.nodes.items():
        if any(t in dropped for t in node.inputs):
            nodes[name] = replace(nodes[name], inputs=tuple(dropped.get(t, t) for t in nodes[name].inputs))
    return replace(graph, nodes=nodes, outputs=tuple(dropped.get(t, t) for t in graph.outputs))


def _was_dropout(name: str) -> bool:
    return any("dropout" in part.lower() for part in name.split("/"))
