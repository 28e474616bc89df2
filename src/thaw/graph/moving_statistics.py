"""Finds what a training graph updates (moving averages, counters), and freezes it layer by layer.

A batch normalization in a frozen inner layer must run in inference mode inside a training step, as Keras' own does: its
moving statistics stay, and it normalizes by them instead of by the batch. `find_updates` tells which update belongs to
which variable and which tensor is the batch's statistic; `freeze_updates` rewrites the graph. Imports ir and prune only.
"""

from collections.abc import Collection
from dataclasses import dataclass

from thaw.graph.ir import Graph, Node, Tensor
from thaw.graph.prune import ASSIGNMENTS

HANDLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})
FUSED = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
PASSING = frozenset({"Identity", "Squeeze", "Reshape", "Cast", "StopGradient", "ExpandDims", "EnsureShape", "Snapshot"})
"""Ops that hand a statistic on with at most another shape."""
SCALING = frozenset({"Mul", "Sub", "AddV2", "Add", "RealDiv", "Neg", "Select", "SelectV2"}) | PASSING
"""Ops between the batch's statistic and the assignment of the average."""


@dataclass(frozen=True, slots=True)
class Update:
    """One assignment in a training graph.

    Attributes:
        key: of the variable that changes.
        node: the assignment's name.
        statistic: the batch's statistic that the average moves to; None for counters and the like.
        fused: name of the fused batch normalization whose output the statistic is; None for one spelt out in single ops.
    """

    key: str
    node: str
    statistic: Tensor | None = None
    fused: str | None = None


def variable_key(graph: Graph, tensor: Tensor) -> str | None:
    """The key of the variable whose handle, reference or value `tensor` is; None where it is something else."""
    name = tensor.node
    for _ in range(32):
        node = graph.nodes.get(name)
        if node is None:
            return None
        if node.op in HANDLES:
            return str(node.attrs.get("shared_name") or node.name)
        if (
            node.op not in {"Identity", "ReadVariableOp", "Cast", "Enter", "RefEnter", "ReadVariableXlaSplitND"}
            or not node.inputs
        ):
            return None
        name = node.inputs[0].node
    return None


def find_updates(graph: Graph) -> tuple[Update, ...]:
    """Every assignment among the updates of `graph`, with the batch statistic that it averages where it is one."""
    found = []
    for name in graph.updates:
        node = graph.nodes[name]
        if node.op not in ASSIGNMENTS or not node.inputs:
            continue
        key = variable_key(graph, node.inputs[0])
        if key is not None:
            statistic = _statistic(graph, key, node) if len(node.inputs) > 1 else None
            fused = _fused_origin(graph, statistic) if statistic is not None else None
            found.append(Update(key, name, statistic, fused))
    return tuple(found)


def _statistic(graph: Graph, key: str, assignment: Node) -> Tensor | None:
    """The value that an average of the variable `key` moves to: what stands beside the variable's own value.

    Three spellings: `average -= (average - value) * rate`, `average = average * momentum + value * (1 - momentum)`, and a fused
    batch normalization that gives the new average itself (`exponential_avg_factor`).
    """
    if assignment.op in {"AssignVariableOp", "Assign"} and _fused_origin(graph, assignment.inputs[1], PASSING) is not None:
        return assignment.inputs[1]
    stack = [assignment.inputs[1]]
    for _ in range(64):
        if not stack:
            return None
        tensor = stack.pop()
        node = graph.nodes.get(tensor.node)
        if node is None or node.op not in SCALING:
            continue
        own = [variable_key(graph, t) == key for t in node.inputs]
        if node.op == "Sub" and any(own):
            return node.inputs[0 if own[1] else 1]
        if node.op in {"AddV2", "Add"} and len(node.inputs) == 2:
            scaled = [_scales(graph, t, key) for t in node.inputs]
            if any(scaled) and not all(scaled):
                return _unscaled(graph, node.inputs[0 if scaled[1] else 1])
        stack.extend(node.inputs)
    return None


def _scales(graph: Graph, tensor: Tensor, key: str) -> bool:
    """Whether `tensor` is a multiple of the variable `key`."""
    node = graph.nodes.get(tensor.node)
    if variable_key(graph, tensor) == key:
        return True
    return node is not None and node.op == "Mul" and any(variable_key(graph, t) == key for t in node.inputs)


def _unscaled(graph: Graph, tensor: Tensor) -> Tensor:
    """What `tensor` is a constant multiple of."""
    node = graph.nodes.get(tensor.node)
    if node is not None and node.op == "Mul":
        for factor, other in (node.inputs, reversed(node.inputs)):
            if graph.nodes[factor.node].op in {"Const", "Sub"} and graph.nodes[other.node].op != "Const":
                return other
    return tensor


def _fused_origin(graph: Graph, statistic: Tensor, through: frozenset[str] = SCALING) -> str | None:
    """The fused batch normalization that gives `statistic`, seen through reshapes and corrections."""
    stack = [statistic]
    for _ in range(32):
        if not stack:
            return None
        tensor = stack.pop()
        node = graph.nodes.get(tensor.node)
        if node is None:
            continue
        if node.op in FUSED and tensor.output in {1, 2}:
            return node.name
        if node.op in through:
            stack.extend(reversed(node.inputs))
    return None


def freeze_updates(graph: Graph, updates: tuple[Update, ...], frozen: Collection[str]) -> Graph:
    """`graph` without the updates of the variables `frozen`, and with the moving statistics in place of the batch's there."""
    stopped = [u for u in updates if u.key in frozen]
    if not stopped:
        return graph
    nodes = dict(graph.nodes)
    remaining = tuple(u for u in graph.updates if u not in {s.node for s in stopped})
    by_fused: dict[str, dict[int, str]] = {}
    replaced: dict[Tensor, Tensor] = {}
    for update in stopped:
        if update.statistic is None:
            continue
        if update.fused is not None:
            output = _fused_output(graph, update)
            by_fused.setdefault(update.fused, {})[output] = update.key
        else:
            replaced[_used_elsewhere(graph, update)] = _read(graph, nodes, update)
    for name, keys in by_fused.items():
        if set(keys) == {1, 2}:
            node = nodes[name]
            moving = [_read_key(nodes, f"{name}/frozen_{output}", keys[output], graph) for output in (1, 2)]
            attrs = {k: v for k, v in node.attrs.items() if k != "exponential_avg_factor"} | {"is_training": False}
            nodes[name] = Node(name, node.op, (*node.inputs[:3], *moving), node.control, attrs)
    if replaced:
        reads = {t.node for t in replaced.values()}
        for name, node in nodes.items():
            if name not in reads and any(t in replaced for t in node.inputs):
                inputs = tuple(replaced.get(t, t) for t in node.inputs)
                nodes[name] = Node(name, node.op, inputs, node.control, node.attrs)
    outputs = tuple(replaced.get(t, t) for t in graph.outputs)
    return Graph(graph.name, nodes, graph.inputs, outputs, remaining)


def _fused_output(graph: Graph, update: Update) -> int:
    """1 where the update averages the fused op's mean, 2 for its variance."""
    assert update.statistic is not None
    stack = [update.statistic]
    while stack:
        tensor = stack.pop()
        if tensor.node == update.fused:
            return tensor.output
        node = graph.nodes.get(tensor.node)
        if node is not None and node.op in SCALING:
            stack.extend(reversed(node.inputs))
    return 1


def _used_elsewhere(graph: Graph, update: Update) -> Tensor:
    """The batch statistic itself: walked up through reshapes to the tensor that the normalization reads too."""
    assert update.statistic is not None
    tensor = update.statistic
    for _ in range(8):
        users = [n for n in graph.nodes.values() if tensor in n.inputs]
        node = graph.nodes.get(tensor.node)
        if len(users) > 1 or tensor in graph.outputs or node is None or node.op not in PASSING:
            return tensor
        tensor = node.inputs[0]
    return update.statistic


def _read(graph: Graph, nodes: dict[str, Node], update: Update) -> Tensor:
    """A read of the moving statistic, in the shape of the batch statistic that it stands in for."""
    tensor = _used_elsewhere(graph, update)
    read = _read_key(nodes, f"{update.node}/frozen", update.key, graph)
    if tensor == update.statistic:
        return read
    shape = Node(f"{update.node}/frozen_shape", "Shape", (tensor,), (), {"T": "float32", "out_type": "int32"})
    reshape = Node(f"{update.node}/frozen_reshape", "Reshape", (read, Tensor(shape.name)), (), {})
    nodes[shape.name], nodes[reshape.name] = shape, reshape
    return Tensor(reshape.name)


def _read_key(nodes: dict[str, Node], name: str, key: str, graph: Graph) -> Tensor:
    """A new read of the variable `key`, from the handle that the graph has."""
    handle = next(n for n in graph.nodes.values() if n.op in HANDLES and (n.attrs.get("shared_name") or n.name) == key)
    if handle.op != "VarHandleOp":
        return Tensor(handle.name)
    nodes[name] = Node(name, "ReadVariableOp", (Tensor(handle.name),), (), {"dtype": handle.attrs.get("dtype", "float32")})
    return Tensor(name)


def statistic_keys(graph: Graph) -> set[str]:
    """Keys of the variables that a graph normalizes by: mean and variance of its fused batch normalizations."""
    found = set()
    for node in graph.nodes.values():
        if node.op in FUSED and node.attrs.get("is_training", True) is False:
            found |= {variable_key(graph, t) for t in node.inputs[3:5]}
    return {key for key in found if key is not None}
