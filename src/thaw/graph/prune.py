"""Cuts a graph down to what its outputs and its real updates need.

TensorFlow lists every stateful op of a function as something that must run (reads, random ops, asserts); only assignments
and table inserts have an effect that outlives the call, so only those stay updates. Imports ir only.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from thaw.graph.ir import FunctionName, Graph, Node, Tensor

ASSIGNMENTS = frozenset({
    "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "Assign", "AssignAdd", "AssignSub",
    "ResourceScatterAdd", "ResourceScatterSub", "ResourceScatterUpdate", "ScatterAdd", "ScatterSub", "ScatterUpdate",
    "ResourceScatterMul", "ResourceScatterDiv", "ScatterMul", "ScatterDiv", "StridedSliceAssign", "CountUpTo",
    "ResourceCountUpTo",
})  # fmt: skip
"""Ops that change a variable."""

TABLE_WRITES = frozenset({"LookupTableInsertV2", "LookupTableInsert", "LookupTableImportV2", "LookupTableRemoveV2"})
"""Ops that change a table."""

EFFECTS = ASSIGNMENTS | TABLE_WRITES
"""Ops with an effect that outlives the call."""


def has_effect(node: Node, library: Mapping[str, Graph]) -> bool:
    """Whether running `node` changes a variable or a table, itself or in a body, branch or function that it runs."""
    seen: set[int] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current.op in EFFECTS:
            return True
        for body in bodies(current, library):
            if id(body) not in seen:
                seen.add(id(body))
                stack.extend(body.nodes.values())
    return False


def bodies(node: Node, library: Mapping[str, Graph]) -> list[Graph]:
    """The graphs that `node` may run: its attributes that are functions, and the function that its op names."""
    found = [library[node.op]] if node.op in library else []
    for value in node.attrs.values():
        if isinstance(value, (Graph, FunctionName, tuple)):  # few are; all nodes are asked
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Graph):
                    found.append(part)
                elif isinstance(part, FunctionName) and part.name in library:
                    found.append(library[part.name])
    return found


def reach(graph: Graph, seeds: list[str], stop: Callable[[Tensor], bool] = lambda tensor: False) -> dict[str, None]:
    """Names of the nodes that `seeds` need over data edges, seeds included; a tensor for which `stop` holds is not followed."""
    found: dict[str, None] = {}
    stack = list(reversed(seeds))
    while stack:
        name = stack.pop()
        if name in found or name not in graph.nodes:
            continue
        found[name] = None
        stack.extend(t.node for t in reversed(graph.nodes[name].inputs) if not stop(t))
    return found


def real_updates(graph: Graph, library: Mapping[str, Graph]) -> tuple[str, ...]:
    """The nodes that change a variable or a table among the updates of `graph` and what these wait for.

    An update is often a NoOp that groups assignments by control edges, or a read that must come after one.
    """
    found: dict[str, None] = {}
    seen: set[str] = set()
    stack = list(reversed(graph.updates))
    while stack:
        name = stack.pop()
        if name in seen or name not in graph.nodes:
            continue
        seen.add(name)
        node = graph.nodes[name]
        if has_effect(node, library):
            found[name] = None
        stack.extend(node.control)
        stack.extend(t.node for t in node.inputs)
    return tuple(found)


def prune(graph: Graph, library: Mapping[str, Graph], *, updates: bool = True) -> Graph:
    """`graph` with the nodes that outputs and real updates need; without any update where `updates` is False.

    Control edges are kept among the nodes that stay, and bridged over nodes that go: a read that must follow an assignment
    often hangs on it through a NoOp or an Identity of a group.
    """
    supplied = set(graph.inputs)
    kept_updates = real_updates(graph, library) if updates else ()
    seeds = [t.node for t in graph.outputs if t not in supplied] + list(kept_updates)
    needed = reach(graph, seeds, supplied.__contains__)
    for tensor in graph.inputs:
        if tensor.node in graph.nodes:
            needed.setdefault(tensor.node)
    nodes = {name: node for name, node in graph.nodes.items() if name in needed}
    waiting = [name for name, node in nodes.items() if node.control]
    if waiting:
        effects = any(has_effect(node, library) for node in nodes.values())
        bridged = _Bridges(graph, needed)
        for name in waiting:
            nodes[name] = replace(nodes[name], control=bridged(nodes[name]) if effects else ())
    return Graph(graph.name, nodes, graph.inputs, graph.outputs, kept_updates)


class _Bridges:
    """Control edges among needed nodes, through the ones that go."""

    def __init__(self, graph: Graph, needed: Mapping[str, None]) -> None:
        self.graph = graph
        self.needed = needed
        self.known: dict[str, tuple[str, ...]] = {}

    def __call__(self, node: Node) -> tuple[str, ...]:
        return tuple(dict.fromkeys(n for c in node.control for n in self._through(c) if n != node.name))

    def _through(self, name: str) -> tuple[str, ...]:
        """The needed nodes that a control edge from `name` waits for."""
        if name in self.needed:
            return (name,)
        if name in self.known:
            return self.known[name]
        found: dict[str, None] = {}
        seen: set[str] = set()
        stack = [name]
        while stack:
            current = stack.pop()
            if current in seen or current not in self.graph.nodes:
                continue
            seen.add(current)
            if current in self.needed:
                found[current] = None
                continue
            node = self.graph.nodes[current]
            stack.extend(node.control)
            stack.extend(t.node for t in node.inputs)
        self.known[name] = tuple(found)
        return self.known[name]
