"""Guards: under which branches of which predicates a tensor of a TensorFlow 1 graph is alive.

A Switch sends its input to one of two outputs, a Merge takes whichever of two inputs is alive; what lies between the two is
a branch. A constant in a branch hangs there by a control edge only, so these count as well. Imports ir and frames.
"""

from collections.abc import Iterable, Mapping

from thaw.errors import ControlFlowError
from thaw.graph.frames import ENTER, MERGE, NEXT, SWITCH, Loop, before, through_identity
from thaw.graph.ir import Node, Tensor

Guard = frozenset[tuple[Tensor, int]]
"""Pairs of predicate and branch (1: true), all of which must hold."""

DEEPEST = 200
"""More conditions around one node than this are refused."""


class Guards:
    """The guard of every node and tensor, relative to the loop body (or the whole graph) in which it stands.

    Args:
        nodes: the graph, loops already replaced by one While node each.
        ordered: names, each after what it waits for.
        loops: whose inner nodes begin without a guard.
        graph: for messages.

    Raises:
        ControlFlowError: a Merge that does not join the two branches of one predicate.
    """

    def __init__(self, nodes: Mapping[str, Node], ordered: Iterable[str], loops: Iterable[Loop], graph: str) -> None:
        self.nodes = nodes
        self.graph = graph
        self.joins: dict[str, tuple[Tensor, int]] = {}
        """Of each Merge of a condition: its predicate, and which of its inputs is the true branch."""
        self._guards: dict[str, Guard] = {}
        heads = {v.merge for loop in loops for v in loop.variables}
        self._machinery = heads | {v.switch for loop in loops for v in loop.variables if v.switch is not None}
        for name in ordered:
            self._guards[name] = self._of(name)

    def switches(self, name: str) -> bool:
        """Whether the node is a Switch of a condition (and not of a loop)."""
        return self.nodes[name].op in SWITCH and name not in self._machinery

    def predicate(self, name: str) -> Tensor:
        """What a Switch decides by: data Switches take an Identity of it, those of constants take it as it is."""
        return through_identity(self.nodes, self.nodes[name].inputs[1])

    def node(self, name: str) -> Guard:
        """The guard of a node."""
        return self._guards.get(name, frozenset())

    def tensor(self, tensor: Tensor) -> Guard:
        """The guard of one output."""
        guard = self.node(tensor.node)
        if tensor.node in self.nodes and self.switches(tensor.node):
            guard |= {(self.predicate(tensor.node), tensor.output)}
        return guard

    def _of(self, name: str) -> Guard:
        node = self.nodes[name]
        if node.op in ENTER or node.op in NEXT or name in self._machinery:
            return frozenset()
        if node.op in MERGE:
            return self._join(node)
        guard: Guard = frozenset()
        for tensor in node.inputs:
            guard |= self.tensor(tensor)
        for other in before(self.nodes, node):
            guard |= self.node(other)
        if len(guard) > DEEPEST:
            raise ControlFlowError(self.graph, name, f"stands under {len(guard)} conditions", f"at most {DEEPEST}")
        return guard

    def _join(self, node: Node) -> Guard:
        if len(node.inputs) != 2:
            raise ControlFlowError(
                self.graph, node.name, f"merges {len(node.inputs)} inputs", "two, one of each branch of a condition"
            )
        first, second = (self.tensor(t) for t in node.inputs)
        found = [(p, b) for p, b in first if (p, 1 - b) in second]
        if not found:
            raise ControlFlowError(
                self.graph,
                node.name,
                f"merges {node.inputs[0].node!r} and {node.inputs[1].node!r}, which are not the two branches of one predicate",
                "one input under Switch(predicate):0 and the other under :1",
            )
        # Several: the outer predicates are shared by both sides but for this one; names only break what is left of a tie.
        found.sort(key=lambda pb: (len((first - {pb}) ^ (second - {(pb[0], 1 - pb[1])})), pb[0]))
        predicate, branch = found[0]
        self.joins[node.name] = (predicate, 0 if branch == 1 else 1)
        return (first | second) - {(predicate, 0), (predicate, 1)}
