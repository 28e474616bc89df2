"""Ways for gradients through ops, calls, branches and loops of a graph."""

import pytest

from thaw.gradient_paths import CONNECTED, GRADIENT, gradient_ways
from thaw.graph.ir import FunctionName, Graph, Node, Tensor
from thaw.lowering import table as table


def graph(*nodes: Node, inputs: tuple[str, ...] = ("x",), outputs: tuple[str, ...] = ("y",)) -> Graph:
    named = {node.name: node for node in (*nodes, *(Node(i, "_Arg") for i in inputs))}
    return Graph("main", named, tuple(Tensor(i) for i in inputs), tuple(Tensor(o) for o in outputs))


def node(name: str, op: str, *inputs: str, **attrs: object) -> Node:
    return Node(name, op, tuple(Tensor(i) for i in inputs), (), attrs)


def variable(name: str) -> Node:
    return node(name, "VariableV2", shared_name=name)


HARD = [
    ("ArgMax", {}), ("Round", {}), ("Sign", {}), ("StopGradient", {}), ("Cast", {"DstT": "int32"}), ("Greater", {}),
    ("LookupTableFindV2", {}), ("Floor", {}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attrs"), HARD, ids=[op for op, _ in HARD])
def test_an_op_without_a_gradient_is_named(op: str, attrs: dict) -> None:
    found = gradient_ways(graph(variable("w"), node("h", "MatMul", "x", "w"), node("y", op, "h", **attrs)), {})
    way = found.variable("w")
    assert (way.level, way.op, way.node) == (CONNECTED, op, "y") and found.inputs[Tensor("x")].level == CONNECTED


def test_another_way_saves_it() -> None:
    nodes = [variable("w"), node("h", "MatMul", "x", "w"), node("hard", "Round", "h"), node("y", "AddV2", "hard", "h")]
    assert gradient_ways(graph(*nodes), {}).variable("w").level == GRADIENT


def test_an_output_that_is_not_chosen_does_not_count() -> None:
    nodes = [variable("v"), variable("w"), node("y", "Mul", "x", "v"), node("z", "Mul", "x", "w")]
    whole = graph(*nodes, outputs=("y", "z"))
    assert gradient_ways(whole, {}).variable("w").level == GRADIENT
    assert gradient_ways(whole, {}, [Tensor("y")]).variable("w").level == 0


def loop(*body: Node) -> tuple[Graph, dict[str, Graph]]:
    """A loop that carries a and b, of which the output is a."""
    library = {"body": graph(*body, inputs=("a", "b"), outputs=("a2", "b2"))}
    whole = graph(variable("w"), node("y", "While", "x", "w", body=FunctionName("body"), cond=FunctionName("body")))
    return whole, library


def test_a_loop_hands_gradients_on_from_round_to_round() -> None:
    """What b holds reaches a in the next round only."""
    assert gradient_ways(*loop(node("a2", "AddV2", "a", "b"), node("b2", "Identity", "b"))).variable("w").level == GRADIENT
    assert gradient_ways(*loop(node("a2", "Identity", "a"), node("b2", "Identity", "b"))).variable("w").level == 0


def test_a_loop_that_rounds_what_it_adds() -> None:
    whole, library = loop(node("r", "Round", "b"), node("a2", "AddV2", "a", "r"), node("b2", "Identity", "b"))
    found = gradient_ways(whole, library)
    assert (found.variable("w").level, found.variable("w").op) == (CONNECTED, "Round")
    assert found.inputs[Tensor("x")].level == GRADIENT


def test_branches_and_calls() -> None:
    then = graph(node("y", "Identity", "a"), inputs=("a", "b"))
    other = graph(node("y", "Round", "b"), inputs=("a", "b"))
    whole = graph(
        variable("v"),
        variable("w"),
        node("p", "Greater", "x", "x"),
        node("y", "If", "p", "v", "w", then_branch=then, else_branch=other),
    )
    found = gradient_ways(whole, {})
    assert found.variable("v").level == GRADIENT and found.variable("w").level == CONNECTED
    called = graph(variable("w"), node("y", "PartitionedCall", "w", f=FunctionName("f")))
    assert gradient_ways(called, {"f": graph(node("y", "Sign", "a"), inputs=("a",))}).variable("w").op == "Sign"
