"""What a body or branch does besides answering: which variables it assigns, and whether it draws random numbers.

Loops and conditions must know before they run: assigned variables are carried, seeds drawn outside. Imports run and prune.
"""

from collections.abc import Sequence

from thaw.graph.ir import Graph, Node, Tensor
from thaw.graph.moving_statistics import HANDLES
from thaw.graph.prune import ASSIGNMENTS, bodies
from thaw.lowering.run import Context, order
from thaw.lowering.values import Handle, Value

DEEPEST = 50

DRAWS = frozenset({
    "Multinomial", "TruncatedNormal", "ParameterizedTruncatedNormal", "NonDeterministicInts", "StatefulUniform",
    "StatefulStandardNormal", "StatefulStandardNormalV2", "StatefulTruncatedNormal", "StatefulUniformInt",
    "StatefulUniformFullInt", "ExtractGlimpse", "ExtractGlimpseV2",
})  # fmt: skip
"""Ops that draw random numbers and are not called so."""


def is_assignment(op: str) -> bool:
    """Whether an op changes the variable that is its first input."""
    return op in ASSIGNMENTS or op.startswith("ResourceScatter")


def written(context: Context, graph: Graph, inputs: Sequence[Value], depth: int = 0) -> list[str]:
    """Keys of the variables that `graph` assigns when it runs on `inputs`, inner loops and branches included."""
    found: dict[str, None] = {}
    places = {t: i for i, t in enumerate(graph.inputs)}

    def handle(tensor: Tensor) -> Handle | None:
        for _ in range(len(graph.nodes) + 1):
            if tensor in places:
                value = inputs[places[tensor]]
                return value if isinstance(value, Handle) else None
            node = graph.nodes[tensor.node]
            if node.op in HANDLES:
                return Handle(str(node.attrs.get("shared_name") or node.name))
            if not node.inputs or not (node.op == "Identity" or is_assignment(node.op)):
                return None
            tensor = node.inputs[0]
        return None

    for node in order(graph):
        if is_assignment(node.op):
            target = handle(node.inputs[0])
            if target is not None:
                found[target.key] = None
        elif depth < DEEPEST:
            for body in bodies(node, context.resources.library):
                given = [handle(t) for t in node.inputs][len(node.inputs) - len(body.inputs) :]  # a predicate stays outside
                found.update(dict.fromkeys(written(context, body, given, depth + 1)))
    return list(found)


def draws_random(context: Context, graph: Graph) -> bool:
    """Whether `graph`, or a body or branch in it, draws random numbers."""
    seen: set[int] = set()
    stack = [graph]
    while stack:
        current = stack.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        for node in current.nodes.values():
            if _is_random(node):
                return True
            stack.extend(bodies(node, context.resources.library))
    return False


def _is_random(node: Node) -> bool:
    return ("Random" in node.op and not node.op.startswith("Stateless")) or node.op in DRAWS
