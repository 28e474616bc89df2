"""Graphs that refer to what is not there, go in circles, grow without end, or are called wrongly."""

from pathlib import Path
from unittest import mock

import numpy as np

from provoke import Row
from thaw.errors import (
    ArgumentCountError,
    CircularGraphError,
    DanglingReferenceError,
    GraphTooLargeError,
    InputError,
    UnfrozenGraphError,
    UnknownTensorError,
)
from thaw.graph import inline_functions
from thaw.graph.ir import FunctionName, Graph, Node, Tensor
from thaw.graph.tap import find_tensor
from thaw.layer import KerasLayer
from thaw.lowering.run import Context, Resources, order
from thaw.wire.protos import new

X = Tensor("x")
HALF_PLUS_ONE = Path(__file__).resolve().parents[1] / "models" / "tf2" / "half_plus_one"


def graph_of(*nodes: Node, name: str = "main") -> Graph:
    """A graph of x and `nodes`, whose output is the last of them."""
    return Graph(name, {n.name: n for n in (Node("x", "_Arg"), *nodes)}, (X,), (Tensor(nodes[-1].name),))


def calling(function: str, *inputs: Tensor) -> Graph:
    return graph_of(Node("call", "PartitionedCall", inputs or (X,), attrs={"f": FunctionName(function)}))


IDENTITY = graph_of(Node("y", "Identity", (X,)), name="identity")


def function_that_is_not_there(_: Path) -> None:
    inline_functions.inline_functions(calling("identiti"), {"identity": IDENTITY})


def variable_that_is_not_there(_: Path) -> None:
    context = Context(Resources({}))
    context.node = Node("read", "ReadVariableOp")
    context.read("dense/kernel")


def graph_that_was_not_frozen(folder: Path) -> None:
    graph = new("GraphDef", versions=new("VersionDef", producer=1087))
    for name, op in (("w", "VariableV2"), ("read", "Identity")):
        graph.node.add(name=name, op=op)
    graph.node[0].attr["dtype"].type = graph.node[1].attr["T"].type = 1
    graph.node[1].input.append("w")
    (folder / "graph.pb").write_bytes(graph.SerializeToString())
    KerasLayer(folder / "graph.pb", lift_constants=True)


def node_that_is_not_there(_: Path) -> None:
    order(graph_of(Node("y", "Relu", (Tensor("hidden"),))))


def circle_of_nodes(_: Path) -> None:
    order(graph_of(Node("a", "Relu", (Tensor("b"),)), Node("b", "Relu", (Tensor("a"),))))


def function_that_calls_itself(_: Path) -> None:
    body = Graph("again", calling("again").nodes, (X,), (Tensor("call"),))
    inline_functions.inline_functions(calling("again"), {"again": body})


def graph_without_end(_: Path) -> None:
    with mock.patch.object(inline_functions, "MAX_NODES", 2):
        inline_functions.inline_functions(calling("identity"), {"identity": IDENTITY})


def call_with_too_much(_: Path) -> None:
    inline_functions.inline_functions(calling("identity", X, X), {"identity": IDENTITY})


def inputs_of_another_width(_: Path) -> None:
    KerasLayer(HALF_PLUS_ONE)(np.zeros((2, 3), "float32"))


def misnamed_tensor(_: Path) -> None:
    find_tensor(graph_of(Node("block/relu", "Relu", (X,))), "block/rlu")


ROWS = [
    Row(
        DanglingReferenceError,
        function_that_is_not_there,
        "Node 'call' (PartitionedCall) refers to the function 'identiti', which is not there",
        "Expected it among the functions of the artifact: 'identity'",
        "get it again from its publisher",
        "function",
    ),
    Row(
        DanglingReferenceError,
        variable_that_is_not_there,
        "Node 'read' (ReadVariableOp) refers to the variable 'dense/kernel'",
        "Expected it among the variables",
        "get it again from its publisher",
        "variable",
    ),
    Row(
        UnfrozenGraphError,
        graph_that_was_not_frozen,
        "'frozen' reads 1 variables whose values are not in the file: 'w'",
        "Expected a frozen graph",
        "Freeze it with that checkpoint",
        "unfrozen",
    ),
    Row(
        DanglingReferenceError,
        node_that_is_not_there,
        "Graph 'main' refers to the node 'hidden'",
        "Expected it among the nodes",
        "get it again from its publisher",
        "node",
    ),
    Row(
        CircularGraphError,
        circle_of_nodes,
        "needs its own result, by way of 'main'",
        "Expected a graph without circles",
        "get it again, or choose another signature",
        "nodes",
    ),
    Row(
        CircularGraphError,
        function_that_calls_itself,
        "The function 'again' needs its own result",
        "functions without recursion",
        "choose another signature",
        "functions",
    ),
    Row(
        GraphTooLargeError,
        graph_without_end,
        "Graph 'main' has more than 2 nodes",
        "Expected no more than that",
        "choose a smaller part of it",
    ),
    Row(
        ArgumentCountError,
        call_with_too_much,
        "The function 'identity' is called with 2 values",
        "Expected 1.",
        "get it again from its publisher",
    ),
    Row(
        InputError,
        inputs_of_another_width,
        "The inputs do not fit",
        "Expected (",
        "`thaw inspect` prints them",
    ),
    Row(
        UnknownTensorError,
        misnamed_tensor,
        "'block/rlu' picks no node of the graph",
        "There are: 'block/relu'",
        "Use one of these names, the end of one, or a glob",
    ),
]
