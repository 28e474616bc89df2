"""The order in which a graph uses its variables: a variable is used where it first meets data. Imports this room only."""

from collections.abc import Sequence

from thaw.graph.ir import Graph, Node
from thaw.graph.moving_statistics import HANDLES


def usage_order(graph: Graph, ordered: Sequence[Node]) -> list[str]:
    """Keys of the variables of `graph`, by the first node that depends on an input and uses them; unused by data: last.

    The mere order of execution would put the scale of a final `scale * x` first, since nothing keeps its read from running early.

    Args:
        graph: its inputs are what data is.
        ordered: its nodes, each after what it depends on.
    """
    data = {t.node for t in graph.inputs}
    carried: dict[str, list[str]] = {}
    found: dict[str, None] = {}
    for node in ordered:
        if node.op in HANDLES:
            carried[node.name] = [str(node.attrs.get("shared_name") or node.name)]
            continue
        keys = [key for t in node.inputs for key in carried.get(t.node, ())]
        if node.name in data or any(t.node in data for t in node.inputs):
            data.add(node.name)
            found.update(dict.fromkeys(keys))
        else:
            carried[node.name] = list(dict.fromkeys(keys))
    rest = [key for keys in carried.values() for key in keys]
    return list(dict.fromkeys([*found, *rest]))
