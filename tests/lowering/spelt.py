"""Graphs written node by node, and what becomes of them where chains of ops run as one."""

import numpy as np

from gradients import vjp
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering import fusion
from thaw.lowering.run import Context, Resources


class Spelt:
    """A graph under construction: each call adds a node."""

    def __init__(self, *inputs):
        self.nodes = {name: Node(name, "Placeholder") for name in inputs}
        self.inputs = tuple(Tensor(name) for name in inputs)

    def __call__(self, op, *inputs, **attributes):
        inputs = [self("Const", value=np.array(i, "float32")) if isinstance(i, float) else i for i in inputs]
        name = f"node{len(self.nodes)}"
        self.nodes[name] = Node(name, op, tuple(inputs), (), attributes)
        return Tensor(name)

    def graph(self, *outputs):
        return Graph("spelt", self.nodes, self.inputs, outputs)


def both(monkeypatch, graph, *inputs, shape=None):
    """Answers and gradients of `graph` as it is written, then fused; `shape`: the output's, if not the first input's."""
    weights = np.random.default_rng(6).standard_normal(shape or inputs[0].shape).astype("float32")
    found = []
    for choice in ("off", "on"):
        monkeypatch.setenv("THAW_KERNELS", choice)
        resources = Resources()

        def run(*values, resources=resources):
            return resources.plan(graph, "float32").run(Context(resources), values)

        found.append(vjp(run, inputs, [weights]))
    return found


def ops_of(monkeypatch, graph):
    monkeypatch.setattr(fusion.kernels, "chosen", lambda *backends: True)
    made = fusion.fused(graph)
    return {node.op for node in made.nodes.values() if node.op.startswith("thaw.")}


def agree(plain, own):
    for expected, found in zip([*plain[0], *plain[1]], [*own[0], *own[1]], strict=True):
        if expected is None or found is None:  # statistics that are given get no gradient
            assert expected is found
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)
