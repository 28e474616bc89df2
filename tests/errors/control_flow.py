"""How to provoke the errors of loops and conditions."""

from pathlib import Path

import numpy as np

from provoke import Row
from thaw.errors import BranchShapeError, ControlFlowError, LoopGradientError, LoopLimitError, LoopShapeError
from thaw.graph.functionalize_control_flow import functionalize
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering import table as table
from thaw.lowering.loops import run_loop
from thaw.lowering.run import Context, Resources


def merge_without_switch(_: Path) -> None:
    nodes = [Node("x", "Placeholder"), Node("y", "Placeholder"), Node("both", "Merge", (Tensor("x"), Tensor("y")))]
    functionalize(Graph("damaged", {n.name: n for n in nodes}, (Tensor("x"), Tensor("y")), (Tensor("both"),)))


def loop_graphs(condition_op: str, body_op: str) -> tuple[Graph, Graph]:
    """A loop over i and n: goes on while condition_op(i, n), then i = body_op(i, 1)."""
    inputs = {"i": Node("i", "_Arg"), "n": Node("n", "_Arg")}
    places = (Tensor("i"), Tensor("n"))
    condition = Graph("cond", {**inputs, "c": Node("c", condition_op, places)}, places, (Tensor("c"),))
    one = Node("one", "Const", attrs={"value": np.array(1, np.int32)})
    nodes = {**inputs, "one": one, "next": Node("next", body_op, (Tensor("i"), Tensor("one")))}
    return condition, Graph("body", nodes, places, (Tensor("next"), Tensor("n")))


def endless(_: Path) -> None:
    run_loop(Context(Resources(), max_iterations=50), "while", *loop_graphs("Less", "Sub"), [np.int32(0), np.int32(3)])


def gradient(_: Path) -> None:
    raise LoopGradientError("rnn/while")  # JAX alone raises it: tests/lowering/test_loops.py provokes it for real


def shape(_: Path) -> None:
    raise LoopShapeError("decoder/while", "(1,) becomes (2,)", None, 256)  # likewise


def branches(_: Path) -> None:
    raise BranchShapeError("decoder/cond", 0, ["float32 of shape (2,)", "float32 of shape (3,)"])  # tests/lowering/test_loops.py


ROWS = [
    Row(
        BranchShapeError,
        branches,
        what="condition 'decoder/cond' is float32 of shape (2,) in one branch and float32 of shape (3,) in another",
        expected="Expected the same shape and dtype of all branches",
        do="Run it without jit",
    ),
    Row(
        ControlFlowError,
        merge_without_switch,
        what="Node 'both' of graph 'damaged' merges 'x' and 'y', which are not the two branches of one predicate",
        expected="Expected one input under Switch(predicate):0 and the other under :1",
        do="choose an inner output before this node",
    ),
    Row(
        LoopLimitError,
        endless,
        what="The loop 'while' still wants to go on after max_iterations=50",
        expected="Expected it to end by then",
        do="give a larger `max_iterations=`",
    ),
    Row(
        LoopGradientError,
        gradient,
        what="The loop 'rnn/while' runs as often as its data say",
        expected="Expected a trip count that follows from shapes or constants",
        do="`KerasLayer(..., max_iterations=N)`",
    ),
    Row(
        LoopShapeError,
        shape,
        what="The loop 'decoder/while' runs an unknown number of rounds, and a value changes its shape",
        expected="Expected constant shapes",
        do="Run it without jit",
    ),
]
