"""Replaces every unconditional function call by the body of the function, so that a pass sees one flat graph.

Bodies of loops and branches stay functions; calls inside them are inlined in turn when those bodies are asked for. Names of
inlined nodes are "<call>/<node>". Imports ir and errors only.
"""

from collections.abc import Mapping

from thaw.errors import ArgumentCountError, CircularGraphError, DanglingReferenceError, GraphTooLargeError
from thaw.graph.ir import FunctionName, Graph, Node, Tensor

MAX_NODES = 2_000_000
"""Bound on the inlined graph: functions that call one another twice each grow exponentially in a hostile file."""

FEW_NODES, MOST_GROWTH = 5_000, 100
"""Bound that grows with the functions themselves: this many nodes, and this many times as many as all of them together."""

MAX_DEPTH = 200
"""Bound on calls within calls; real artifacts stay under thirty."""

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


def called_function(node: Node, library: Mapping[str, Graph]) -> Graph | None:
    """The function that `node` calls unconditionally, if it is a call: by its `f`, or by an op named like a function."""
    if node.op in CALLS:
        f = node.attrs.get("f")
        if isinstance(f, Graph):
            return f
        if isinstance(f, FunctionName) and f.name in library:
            return library[f.name]
        raise DanglingReferenceError(f"Node {node.name!r} ({node.op})", "function", getattr(f, "name", str(f)), library)
    return library.get(node.op)


def inline_functions(graph: Graph, library: Mapping[str, Graph]) -> Graph:
    """`graph` without calls.

    Every node is copied under its flat name first; what a call gives, and what a function is given, become aliases, which
    are resolved in the end: so no order of expansion matters.

    Raises:
        GraphError: a function is missing, calls itself, or the result would be far larger than its functions.
    """
    if not any(called_function(node, library) for node in graph.nodes.values()):
        return graph
    nodes: dict[str, Node] = {}
    aliases: dict[Tensor, Tensor] = {}
    effects: dict[str, tuple[str, ...]] = {}  # flat name of a call -> flat names that stand for its having run
    distinct: dict[int, int] = {}
    work: list[tuple[Graph, str, tuple[str, ...], tuple[str, ...]]] = [(graph, "", (), ())]
    while work:
        body, prefix, control, stack = work.pop()
        if body.name in stack or len(stack) > MAX_DEPTH:
            raise CircularGraphError("function", body.name, stack[-4:])
        distinct[id(body)] = len(body.nodes)
        most = min(MAX_NODES, FEW_NODES + MOST_GROWTH * sum(distinct.values()))
        if len(nodes) + len(body.nodes) > most:
            raise GraphTooLargeError(graph.name, most)
        scopes = _scopes(body)
        for name, node in body.nodes.items():
            flat = prefix + name
            inputs = tuple(Tensor(prefix + t.node, t.output) for t in node.inputs)
            before = tuple(dict.fromkeys([*(prefix + c for c in node.control), *control]))
            function = called_function(node, library)
            if function is None:
                nodes[flat] = Node(flat, node.op, inputs, before, node.attrs)
                continue
            inner = flat + ("/" if name not in scopes else "/~/")  # "~" is no character of TensorFlow's names
            if len(inputs) != len(function.inputs):
                raise ArgumentCountError(function.name, len(inputs), len(function.inputs))
            for formal, actual in zip(function.inputs, inputs, strict=True):
                aliases[Tensor(inner + formal.node, formal.output)] = actual
            for index, output in enumerate(function.outputs):
                aliases[Tensor(flat, index)] = Tensor(inner + output.node, output.output)
            effects[flat] = tuple(inner + update for update in function.updates)
            work.append((function, inner, before, (*stack, body.name)))

    def tensor(original: Tensor) -> Tensor:
        current, steps = original, 0
        while current in aliases:
            current, steps = aliases[current], steps + 1
            if steps > len(aliases):
                raise CircularGraphError("node", original.node, (graph.name,))
        return current

    ran_cache: dict[str, tuple[str, ...]] = {}

    def ran(names: tuple[str, ...]) -> tuple[str, ...]:
        """Control edges with calls replaced by what stands for their having run."""
        found: dict[str, None] = {}
        for name in names:
            if name not in effects:
                found[name] = None
                continue
            if name not in ran_cache:
                ran_cache[name] = ()  # a circle through control edges ends here
                ran_cache[name] = ran(effects[name])
            found.update(dict.fromkeys(ran_cache[name]))
        return tuple(found)

    flat_nodes = {
        name: Node(name, node.op, tuple(tensor(t) for t in node.inputs), ran(node.control), node.attrs)
        for name, node in nodes.items()
    }
    return Graph(graph.name, flat_nodes, graph.inputs, tuple(tensor(t) for t in graph.outputs), ran(graph.updates))


def _scopes(graph: Graph) -> set[str]:
    """Every proper prefix of the graph's names that ends before a "/": a call of such a name would collide with a neighbour."""
    found: set[str] = set()
    for name in graph.nodes:
        end = name.rfind("/")
        while end > 0 and name[:end] not in found:
            found.add(name[:end])
            end = name.rfind("/", 0, end)
    return found
