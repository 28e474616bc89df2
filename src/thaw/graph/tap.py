"""Taps tensors in the middle of a graph: what a name or glob means, and what feeds a classifier's last layer.

Works on flat graphs (calls inlined), before control flow is made functional. Imports ir and errors only.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from thaw.errors import UnknownTensorError
from thaw.graph.ir import DType, Graph, Node, Shape, Tensor

PREDICATES = frozenset({
    "Less", "LessEqual", "Greater", "GreaterEqual", "Equal", "NotEqual", "LogicalAnd", "LogicalOr", "LogicalNot", "All", "Any",
    "IsNan", "IsInf", "IsFinite", "InTopK", "InTopKV2",
})  # fmt: skip
"""Ops whose output is bool whatever their inputs are."""

HEADS = frozenset({"Softmax", "Sigmoid", "LogSoftmax"})
PASSING = frozenset({"Identity", "BiasAdd", "Add", "AddV2", "Reshape", "Squeeze"})


def dtype_of_node(node: Node) -> DType | None:
    """The dtype of a node's outputs, as far as its attributes tell."""
    if node.op in PREDICATES:
        return "bool"
    for key in ("DstT", "output_type", "out_type", "Tout", "dtype", "T"):
        value = node.attrs.get(key)
        if isinstance(value, str):
            return "int64" if node.op in {"ArgMax", "ArgMin"} and key == "T" else value
    return None


def dtype_of(graph: Graph, tensor: Tensor) -> DType | None:
    """The dtype of `tensor`, as far as the attributes of its node tell."""
    node = graph.nodes.get(tensor.node)
    if node is None:
        return None
    for key in ("Tparams", "value_dtype"):
        value = node.attrs.get(key)
        if isinstance(value, str) and "dtype" not in node.attrs:
            return value
    return dtype_of_node(node)


def shape_of(graph: Graph, tensor: Tensor) -> Shape:
    """The shape of `tensor`, where its exporter wrote it down."""
    node = graph.nodes.get(tensor.node)
    shapes = node.attrs.get("_output_shapes") if node is not None else None
    if isinstance(shapes, tuple) and tensor.output < len(shapes):
        shape = shapes[tensor.output]
        if isinstance(shape, tuple) and all(n is None or isinstance(n, int) for n in shape):
            return tuple(None if n is None or n < 0 else n for n in shape)  # type: ignore[operator, misc]
    return None


def find_tensor(graph: Graph, name: str) -> Tensor:
    """The tensor that `name` picks: "node", "node:output", the end of a path, or a glob that matches one node.

    Raises:
        UnknownTensorError: it picks none, or several; lists the nearest.
    """
    node, _, output = name.rpartition(":") if name.rpartition(":")[2].isdigit() else (name, "", "0")
    if node in graph.nodes:
        return Tensor(node, int(output))
    for found in (
        [n for n in graph.nodes if n.endswith("/" + node)],
        [n for n in graph.nodes if fnmatchcase(n, node)],
    ):
        if len(found) == 1:
            return Tensor(found[0], int(output))
        if found:
            raise UnknownTensorError(name, found, several=True)
    raise UnknownTensorError(name, [n for n, made in graph.nodes.items() if made.op != "Const"])


def find_twin(graph: Graph, tensor: Tensor) -> Tensor | None:
    """The tensor of another variant's graph that bears the same name, or the same end of it; None where there is none."""
    parts = tensor.node.split("/")
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        found = [tail] if start == 0 and tail in graph.nodes else [n for n in graph.nodes if n == tail or n.endswith("/" + tail)]
        if len(found) == 1:
            return Tensor(found[0], tensor.output)
        if found:
            return None
    return None


def penultimate(graph: Graph) -> Tensor | None:
    """What feeds the last dense layer: the features to put a new head on; None where the graph does not end in one.

    The pattern, from the output back: softmax or sigmoid (or none), bias, matrix product with a weight. A new linear head on
    what feeds it can do all that one on its output can, and more, where the old classes say little about the new ones.
    """
    if len(graph.outputs) != 1:
        return None
    tensor = graph.outputs[0]
    for _ in range(12):
        node = graph.nodes.get(tensor.node)
        if node is None or tensor in graph.inputs:
            return None
        if node.op == "MatMul":
            return _source(graph, node.inputs[0])
        if node.op not in HEADS | PASSING or not node.inputs:
            return None
        tensor = node.inputs[0]
    return None


def _source(graph: Graph, tensor: Tensor) -> Tensor:
    """`tensor`, or what it is a passed-on copy of."""
    node: Node | None = graph.nodes.get(tensor.node)
    while node is not None and node.op == "Identity" and node.inputs and tensor not in graph.inputs:
        tensor = node.inputs[0]
        node = graph.nodes.get(tensor.node)
    return tensor


def tap(graph: Graph, tensors: Sequence[Tensor]) -> Graph:
    """`graph` with other outputs."""
    return Graph(graph.name, graph.nodes, graph.inputs, tuple(tensors), graph.updates)
