"""Mends that change how a thaw layer computes: `thaw.relax` lets gradients pass where they did not. Imports layer and below."""

from thaw.errors import RelaxationError
from thaw.graph.relax import RELAXABLE, WAYS, matches
from thaw.graph.relax import relax as relax_graph
from thaw.layer import KerasLayer


def relax(layer: KerasLayer, op: str, how: str = "straight_through") -> list[str]:
    """Lets gradients pass an op that has none, from the next time that the layer is traced; saved with the layer.

    A model that has trained before takes it up by `thaw.recompile(model)`.

    Args:
        layer: the layer whose graph is meant.
        op: an op type ("ArgMax", "Round", "Sign", "Floor", "Ceil", "Cast", "StopGradient", "Greater", ...), the name of a node or
            its end, or a glob of names; `thaw.explain` tells which.
        how: "straight_through": values stay as they are, the gradient is that of a smooth stand-in; "soft": the stand-in itself.

    Returns:
        The names of the nodes that are relaxed now.

    Raises:
        RelaxationError: nothing that can be relaxed has that name, or what consumes it never comes back to floats.

    Example:
        thaw.relax(layer, "ArgMax", "soft")
    """
    variants = [*layer.program.variants, *layer.program.training_variants]
    graphs = [variant.inference for variant in variants]
    found = [name for graph in graphs for name in relax_graph(graph, layer._runtime.resources.library, [(op, how)])[1]]
    if how not in WAYS or not found:
        there = sorted({f"{n.op} {n.name!r}" for g in graphs for n in g.nodes.values() if n.op in RELAXABLE})
        met = [n.name for g in graphs for n in g.nodes.values() if matches(n, op)]
        raise RelaxationError(op, how, there, met)
    layer.relaxed = [*(rule for rule in layer.relaxed if rule[0] != op), (op, how)]
    return list(dict.fromkeys(found))
