"""Ops that are not in the table, or not with these attributes or inputs."""

from pathlib import Path
from unittest import mock

import keras
import numpy as np

from provoke import Row
from thaw.errors import (
    LoweringError,
    ShapeRefusedError,
    StaticInputError,
    UnhandledAttributeError,
    UnhandledValueError,
    UnsupportedOpsError,
)
from thaw.graph.ir import Graph, Node, Tensor
from thaw.lowering import table as table
from thaw.lowering.run import Context, Plan, Resources
from thaw.lowering.values import NotKnownError


def run(op: str, *inputs: object, **attrs: object) -> None:
    """Runs a graph of this one op."""
    places = tuple(Tensor(f"x{i}") for i in range(len(inputs)))
    nodes = {t.node: Node(t.node, "_Arg") for t in places} | {"node": Node("node", op, places, attrs=attrs)}
    Plan(Graph("main", nodes, places, (Tensor("node"),)), {}).run(Context(Resources()), inputs)


def reshape_by_data(_: Path) -> None:
    # As if the shape were traced: JAX alone has such values, while a step is compiled.
    with mock.patch("thaw.lowering.run.known", side_effect=NotKnownError("shape")):
        run("Reshape", np.zeros((2, 3), "float32"), keras.ops.convert_to_tensor(np.array([3, 2], "int32")))


def crooked_product(_: Path) -> None:
    run("MatMul", *(keras.ops.ones((2, 3)) for _ in range(2)), transpose_a=False, transpose_b=False)


ROWS = [
    Row(
        UnsupportedOpsError,
        lambda _: run("XlaSendToMoon", np.zeros(2, "float32")),
        "1 kinds of op in this graph have no lowering:\n  XlaSendToMoon  (1 nodes, e.g. 'node')",
        "Only ops of the table in docs/ops.md run",
        "Choose another signature or inner output",
    ),
    Row(
        UnhandledAttributeError,
        lambda _: run("Relu", np.zeros(2, "float32"), T="float32", leakiness=0.5),
        "Node 'node' (Relu) carries the attribute leakiness=0.5",
        "Handled:",
        "extend the lowering",
    ),
    Row(
        UnhandledValueError,
        lambda _: run(
            "MaxPool",
            np.zeros((1, 4, 4, 4), "float32"),
            ksize=(1, 2, 2, 1),
            strides=(1, 2, 2, 1),
            padding="VALID",
            data_format="NCHW_VECT_C",
        ),
        "MaxPool with ksize=(1, 2, 2, 1) is not supported",
        "Supported: 'windows over space'",
        "Choose another signature or inner output",
    ),
    Row(
        StaticInputError,
        reshape_by_data,
        "Node 'node' (Reshape) needs its input",
        "Expected a constant or a value computed from shapes",
        "Run this model without jit",
    ),
    Row(
        LoweringError,
        crooked_product,
        "Node 'node' (MatMul) failed on inputs (",
        "Expected inputs that fit the published graph",
        "check the shapes and dtypes of what you feed",
    ),
    Row(
        ShapeRefusedError,
        lambda _: run("EnsureShape", np.zeros((2, 3), "float32"), shape=(None, 4)),
        "A tensor of shape (2, 3) arrived",
        "Expected the shape (None, 4)",
        "Check the shapes of what you feed",
    ),
]
