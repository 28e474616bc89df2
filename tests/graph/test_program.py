"""The variants of a program: the graph for training is the one for inference where nothing is assigned."""

import pytest

from thaw.graph.artifact import Trace
from thaw.graph.ir import FunctionName, Graph, Node, Tensor
from thaw.graph.program import Variant

X = Tensor("x")
HANDLE = Node("v", "VarHandleOp", attrs={"dtype": "float32", "shape": (), "shared_name": "v"})


def graph_of(*nodes: Node, updates: tuple[str, ...], outputs: tuple[Tensor, ...] = (Tensor("y"),)) -> Graph:
    return Graph("f", {n.name: n for n in (Node("x", "Placeholder"), HANDLE, *nodes)}, (X,), outputs, updates)


def variant_of(graph: Graph, library: dict[str, Graph] | None = None, update_ops: tuple[str, ...] = ()) -> Variant:
    return Variant(Trace((), {}, None, graph), library or {}, update_ops)


READ = Node("read", "ReadVariableOp", (Tensor("v"),))
Y = Node("y", "Mul", (X, Tensor("read")))
ASSIGN = Node("assign", "AssignVariableOp", (Tensor("v"), X))


def test_updates_that_assign_nothing_need_no_second_graph() -> None:
    variant = variant_of(graph_of(READ, Y, updates=("read",)))
    assert variant.training is variant.inference
    assert set(variant.inference.nodes) == {"x", "v", "read", "y"}
    assert variant.updates == ()


@pytest.mark.parametrize("named", ["updates", "update_ops"])
def test_an_assignment_is_in_the_graph_for_training_alone(named: str) -> None:
    graph = graph_of(READ, Y, ASSIGN, updates=("assign",) if named == "updates" else ())
    variant = variant_of(graph, update_ops=("assign",) if named == "update_ops" else ())
    assert "assign" not in variant.inference.nodes
    assert "assign" in variant.training.nodes and variant.training.updates == ("assign",)


def test_an_assignment_inside_a_call_counts() -> None:
    inner = Graph(
        "inner",
        {n.name: n for n in (Node("a", "_Arg"), Node("b", "_Arg"), Node("set", "AssignVariableOp", (Tensor("a"), Tensor("b"))))},
        (Tensor("a"), Tensor("b")),
        (Tensor("b"),),
        ("set",),
    )
    call = Node("call", "StatefulPartitionedCall", (Tensor("v"), X), attrs={"f": FunctionName("inner")})
    y = Node("y", "Identity", (Tensor("call"),))
    variant = variant_of(graph_of(call, y, updates=("call",)), {"inner": inner})
    assert "call/set" not in variant.inference.nodes
    assert variant.training.updates == ("call/set",)


def test_control_edges_go_where_nothing_has_an_effect_and_stay_where_something_has() -> None:
    waits = Node("y", "Mul", (X, Tensor("read")), ("quiet",))
    plain = variant_of(graph_of(READ, waits, Node("quiet", "NoOp"), updates=())).inference
    assert plain.nodes["y"].control == () and plain.nodes["read"] is READ
    late = Node("read", "ReadVariableOp", (Tensor("v"),), ("group",))
    group = Node("group", "NoOp", control=("assign",))
    assert variant_of(graph_of(late, Y, group, ASSIGN, updates=("assign",))).training.nodes["read"].control == ("assign",)
