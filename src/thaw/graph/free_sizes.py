"""Frees the lengths that a publisher fixed: image sizes, lengths of series, the batch. Not here: whether the ops go along.

The specs lose their lengths but the last axis' (channels, features); where a fixed batch was baked into the shape that a Reshape
asks for, it follows the batch that comes. Imports this room only.
"""

from dataclasses import replace

import numpy as np

from thaw.graph.inline_functions import inline_functions
from thaw.graph.ir import CompositeSpec, Graph, Node, Shape, Structure, Tensor, TensorSpec
from thaw.graph.program import Program, Variant, input_structures, tensors

STALE = "_output_shapes"
"""What exporters wrote down of shapes, which holds no more."""


def free_sizes(program: Program) -> Program:
    """`program` with every length of its inputs free, but that of their last axis."""
    return replace(
        program,
        variants=tuple(_variant(program, v) for v in program.variants),
        training_variants=tuple(_variant(program, v) for v in program.training_variants),
    )


def freed(shape: Shape) -> Shape:
    """`shape` with its lengths free: of a matrix the rows only, of more axes all but the last."""
    if shape is None or not shape:
        return shape
    return (*(None for _ in shape[:-1]), shape[-1]) if len(shape) > 1 else (None,)


def _variant(program: Program, variant: Variant) -> Variant:
    specs = [spec for s in input_structures(program, variant) for spec in tensors(s)]
    batches = {s.shape[0] for s in specs if s.shape and s.shape[0] is not None}
    flat = inline_functions(variant.trace.graph, variant.library)
    nodes = {
        n: replace(node, attrs={k: v for k, v in node.attrs.items() if k != STALE}) if STALE in node.attrs else node
        for n, node in flat.nodes.items()
    }
    if len(batches) == 1:
        nodes = _follow_batch(replace(flat, nodes=nodes), batches.pop())
    trace = replace(
        variant.trace,
        args=tuple(_structure(a) for a in variant.trace.args),
        kwargs={k: _structure(v) for k, v in variant.trace.kwargs.items()},
        outputs=_structure(variant.trace.outputs, unknown=True),
        graph=replace(flat, nodes=nodes),
    )
    return Variant(trace, variant.library, variant.update_ops, variant.kept, variant.absent)


def _structure(structure: Structure, *, unknown: bool = False) -> Structure:
    if isinstance(structure, TensorSpec):
        return replace(structure, shape=None if unknown else freed(structure.shape))
    if isinstance(structure, CompositeSpec):
        return structure
    if isinstance(structure, dict):
        return {k: _structure(v, unknown=unknown) for k, v in structure.items()}
    if isinstance(structure, tuple):
        return tuple(_structure(v, unknown=unknown) for v in structure)
    if isinstance(structure, list):
        return [_structure(v, unknown=unknown) for v in structure]
    return structure


def constant_target(graph: Graph, node: Node) -> np.ndarray | None:
    """The shape that a Reshape asks for, where it is a constant."""
    if node.op != "Reshape" or len(node.inputs) != 2:
        return None
    source = graph.nodes.get(node.inputs[1].node)
    value = source.attrs.get("value") if source is not None and source.op == "Const" else None
    return value if isinstance(value, np.ndarray) and value.ndim == 1 else None


def _follow_batch(graph: Graph, batch: int | None) -> dict[str, Node]:
    """The nodes of `graph`, where what is reshaped to (batch, ...) is reshaped to as many rows as there are."""
    fed = {t.node for t in graph.inputs}
    users: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        for tensor in node.inputs:
            users.setdefault(tensor.node, []).append(name)
    stack = list(fed)
    while stack:
        for name in users.get(stack.pop(), ()):
            if name not in fed:
                fed.add(name)
                stack.append(name)
    nodes = dict(graph.nodes)
    for name, node in graph.nodes.items():
        target = constant_target(graph, node)
        if target is None or not target.size or target[0] != batch or node.inputs[0].node not in fed:
            continue
        shape = f"{name}/rows"
        if (target[1:] > 0).all():
            nodes[shape] = _constant(shape, np.concatenate([[-1], target[1:]]).astype(target.dtype))
        elif target.size > 1:
            dtype = "int64" if target.dtype == np.int64 else "int32"
            nodes[f"{shape}/of"] = Node(f"{shape}/of", "Shape", (node.inputs[0],), (), {"out_type": dtype})
            for part, value in (("from", [0]), ("to", [1])):
                nodes[f"{shape}/{part}"] = _constant(f"{shape}/{part}", np.array(value, np.int32))
            cut = tuple(Tensor(f"{shape}/{part}") for part in ("of", "from", "to"))
            nodes[f"{shape}/first"] = Node(f"{shape}/first", "Slice", cut, (), {})
            nodes[f"{shape}/rest"] = _constant(f"{shape}/rest", target[1:])
            nodes[f"{shape}/axis"] = _constant(f"{shape}/axis", np.array(0, np.int32))
            parts = tuple(Tensor(f"{shape}/{part}") for part in ("first", "rest", "axis"))
            nodes[shape] = Node(shape, "ConcatV2", parts, (), {})
        else:
            continue
        nodes[name] = replace(node, inputs=(node.inputs[0], Tensor(shape)))
    return nodes


def _constant(name: str, value: np.ndarray) -> Node:
    return Node(name, "Const", (), (), {"value": value, "dtype": value.dtype.name})
