"""How each variable of a program is connected to its outputs: by a way that gradients go, or only past ops without one.

Argues from the graph alone: an op whose lowering says that it has no gradient, or whose output is no float, lets none through.
Imports graph and the registry of lowerings.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from thaw.graph.ir import FunctionName, Graph, Node, Tensor
from thaw.graph.moving_statistics import HANDLES
from thaw.lowering.registry import LOWERINGS

GRADIENT, CONNECTED = 2, 1
"""A way for gradients; only ways that pass an op without one."""

ZERO = frozenset({
    "StopGradient",
    "PreventGradient",
    "Sign",
    "Floor",
    "Ceil",
    "Round",
    "Rint",
    "ArgMax",
    "ArgMin",
    "FloorDiv",
    "Bucketize",
})
"""Ops whose gradient is zero or forbidden, whatever their lowering says."""

INTEGER_OUTPUTS = frozenset({("TopKV2", 1), ("TopK", 1), ("Unique", 1), ("UniqueV2", 1), ("MaxPoolWithArgmax", 1)})
"""Outputs that are positions, of ops whose other outputs have gradients."""

LOOPS = frozenset({"While", "StatelessWhile"})
BRANCHES = frozenset({"If", "StatelessIf", "Case", "StatelessCase"})
CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
FLOATS = ("float", "bfloat", "half", "complex")


@dataclass(frozen=True, slots=True)
class Way:
    """How something is connected to the outputs.

    Attributes:
        level: GRADIENT, CONNECTED, or 0.
        op: the type of the op in the way, where the level is CONNECTED.
        node: its name.
    """

    level: int = 0
    op: str = ""
    node: str = ""


@dataclass
class Ways:
    """What a walk back from the outputs has found: by key of a variable, and by input of the graph."""

    variables: dict[str, Way] = field(default_factory=dict)
    inputs: dict[Tensor, Way] = field(default_factory=dict)

    def variable(self, key: str) -> Way:
        """How the variable is connected."""
        return self.variables.get(key, Way())


def blocks(node: Node, output: int) -> bool:
    """Whether no gradient passes from that output of `node` to its inputs."""
    if node.op in ZERO or (node.op, output) in INTEGER_OUTPUTS:
        return True
    if node.op == "Cast":
        return not str(node.attrs.get("DstT", "float32")).startswith(FLOATS)
    if node.op in HANDLES or node.op in LOOPS | BRANCHES | CALLS:
        return False
    lowering = LOWERINGS.get(node.op)
    return lowering is not None and lowering.gradient == "none"


def gradient_ways(graph: Graph, library: Mapping[str, Graph], outputs: Iterable[Tensor] | None = None) -> Ways:
    """How each variable and each input of `graph` is connected to its outputs, or to those chosen."""
    seeds = [(t, Way(GRADIENT)) for t in (graph.outputs if outputs is None else outputs)]
    return _walk(graph, library, seeds)


def _walk(graph: Graph, library: Mapping[str, Graph], seeds: list[tuple[Tensor, Way]]) -> Ways:
    found = Ways()
    best: dict[Tensor, int] = {}
    supplied = set(graph.inputs)
    stack = list(seeds)
    while stack:
        tensor, way = stack.pop()
        if best.get(tensor, 0) >= way.level:
            continue
        best[tensor] = way.level
        if tensor in supplied:
            found.inputs[tensor] = way
            continue
        node = graph.nodes.get(tensor.node)
        if node is None:
            continue
        if node.op in HANDLES:
            key = str(node.attrs.get("shared_name") or node.name)
            if found.variable(key).level < way.level:
                found.variables[key] = way
            continue
        if node.op in LOOPS or node.op in BRANCHES or node.op in CALLS or node.op in library:
            stack.extend(_through_functions(node, tensor.output, way, library, found))
            continue
        if way.level == GRADIENT and blocks(node, tensor.output):
            way = Way(CONNECTED, node.op, node.name)
        stack.extend((t, way) for t in node.inputs)
    return found


def _through_functions(node: Node, output: int, way: Way, library: Mapping[str, Graph], found: Ways) -> list[tuple[Tensor, Way]]:
    """What an output of a call, branch or loop needs, with the ways through the functions that it runs."""
    skipped = 1 if node.op in BRANCHES else 0
    needed: list[tuple[Tensor, Way]] = [(t, Way(CONNECTED, node.op, node.name)) for t in node.inputs[:skipped]]
    for body in _bodies(node, library):
        if node.op in LOOPS:
            inside = _loop(body, library, output, way)
        else:
            inside = _walk(body, library, [(body.outputs[output], way)] if output < len(body.outputs) else [])
        for key, inner in inside.variables.items():
            if found.variable(key).level < inner.level:
                found.variables[key] = inner
        outer = node.inputs[skipped:]
        needed += [(outer[i], w) for i, t in enumerate(body.inputs) if i < len(outer) and (w := inside.inputs.get(t))]
    return needed


def _loop(body: Graph, library: Mapping[str, Graph], output: int, way: Way) -> Ways:
    """As `_walk` from one output of a loop: what the body needs from its last round is an output of the round before."""
    wanted = {output: way}
    while True:
        inside = _walk(body, library, [(body.outputs[i], w) for i, w in wanted.items() if i < len(body.outputs)])
        before = {i: w.level for i, w in wanted.items()}
        for i, tensor in enumerate(body.inputs):
            inner = inside.inputs.get(tensor)
            if inner is not None and wanted.get(i, Way()).level < inner.level:
                wanted[i] = inner
        if {i: w.level for i, w in wanted.items()} == before:
            for i, w in wanted.items():  # no round at all hands the value on as it came
                if i < len(body.inputs) and inside.inputs.get(body.inputs[i], Way()).level < w.level:
                    inside.inputs[body.inputs[i]] = w
            return inside


def _bodies(node: Node, library: Mapping[str, Graph]) -> list[Graph]:
    names = ("body",) if node.op in LOOPS else ("then_branch", "else_branch", "branches", "f")
    found = [library[node.op]] if node.op in library else []
    for name in names:
        value = node.attrs.get(name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Graph):
                found.append(part)
            elif isinstance(part, FunctionName) and part.name in library:
                found.append(library[part.name])
    return found
