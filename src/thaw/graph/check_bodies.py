"""Refuses a graph whose loops, conditions and calls do not fit the functions that they run.

Functions must be there, take and give as many tensors as the node that runs them, and never run themselves, however far
around: what simulates or runs a graph counts on it. Imports ir and errors only.
"""

from collections.abc import Iterator, Mapping

from thaw.errors import ArgumentCountError, CircularGraphError, ControlFlowError, DanglingReferenceError
from thaw.graph.ir import FunctionName, Graph, Node

DEEPEST = 100
"""Bodies within bodies; real artifacts stay under ten."""

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
LOOPS = frozenset({"While", "StatelessWhile"})
CONDITIONS = {"If": ("then_branch", "else_branch"), "StatelessIf": ("then_branch", "else_branch"), "Case": ("branches",),
              "StatelessCase": ("branches",)}  # fmt: skip
"""Ops that choose a branch by their first input, and the attributes that hold the branches."""


def check_bodies(graph: Graph, library: Mapping[str, Graph]) -> None:
    """Looks at every function that `graph` may run, each once.

    Raises:
        GraphError: one is missing, does not fit, or needs itself.
    """
    done: set[int] = set()
    open_: list[Graph] = []
    work: list[tuple[Graph, bool]] = [(graph, False)]
    while work:
        current, leave = work.pop()
        if leave:
            open_.pop()
            done.add(id(current))
        elif any(current is other for other in open_) or len(open_) > DEEPEST:
            raise CircularGraphError("function", current.name, [g.name for g in open_[-4:]])
        elif id(current) not in done:
            open_.append(current)
            work.append((current, True))
            work += [(body, False) for node in current.nodes.values() for body in _fitting(current, node, library)]


def _fitting(graph: Graph, node: Node, library: Mapping[str, Graph]) -> Iterator[Graph]:
    """The functions that `node` runs, each looked at from outside."""
    if node.op in LOOPS:
        condition, body = (_function(node, node.attrs.get(part), library) for part in ("cond", "body"))
        for function in (condition, body):
            _takes(function, len(node.inputs))
        if len(condition.outputs) != 1 or len(body.outputs) != len(body.inputs):
            found = f"is a loop whose condition gives {len(condition.outputs)} and whose body gives {len(body.outputs)} tensors"
            raise ControlFlowError(graph.name, node.name, found, f"one, and the {len(body.inputs)} that it takes")
        yield from (condition, body)
    elif node.op in CONDITIONS:
        values = [v for part in CONDITIONS[node.op] for v in _listed(node.attrs.get(part))]
        branches = [_function(node, v, library) for v in values]
        for branch in branches:
            _takes(branch, len(node.inputs) - 1)
        counts = sorted({len(b.outputs) for b in branches})
        if len(counts) != 1:
            raise ControlFlowError(
                graph.name, node.name, f"has branches that give {counts} tensors", "branches that give as many"
            )
        yield from branches
    elif node.op in CALLS or node.op in library:
        function = _function(node, node.attrs.get("f"), library) if node.op in CALLS else library[node.op]
        _takes(function, len(node.inputs))
        yield function


def _listed(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)


def _function(node: Node, value: object, library: Mapping[str, Graph]) -> Graph:
    if isinstance(value, Graph):
        return value
    name = value.name if isinstance(value, FunctionName) else str(value)
    if name not in library:
        raise DanglingReferenceError(f"Node {node.name!r} ({node.op})", "function", name, library)
    return library[name]


def _takes(function: Graph, count: int) -> None:
    if len(function.inputs) != count:
        raise ArgumentCountError(function.name, count, len(function.inputs))
