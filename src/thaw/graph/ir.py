"""The intermediate representation: nodes, graphs, tensor specs. Plain immutable data.

A graph is what TensorFlow's GraphDef and FunctionDef say, with names resolved: every input is a pair (node, output
index). Resources are nodes too (`VarHandleOp`, `HashTableV2`, ... whose `shared_name` is the key into the artifact),
so a graph has no inputs but those that the caller supplies. Imports errors only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

DType: TypeAlias = str
"""A TensorFlow dtype by name: "float32", "bfloat16", "string", "resource", "variant", "complex64", "qint8", ..."""

Shape: TypeAlias = tuple[int | None, ...] | None
"""None: unknown rank. A None inside: unknown length of that axis."""


class Tensor(NamedTuple):
    """One output of a node."""

    node: str
    output: int = 0


@dataclass(frozen=True, slots=True)
class FunctionName:
    """The name of a function of the library, where it stands as an attribute (body, cond, f, ...)."""

    name: str


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    Attributes:
        name: unique in its graph.
        op: TensorFlow's op type, "MatMul"; or the name of a function of the library that is called directly.
        inputs: data inputs, in the order of the op's definition, lists flattened.
        control: names of the nodes that must run before.
        attrs: attributes as plain Python: bool, int, float, str (bytes where not UTF-8; dtypes are str too), shapes as
            `Shape`, tensors as numpy arrays (strings: object arrays of bytes), functions as `FunctionName` or `Graph`,
            lists as tuples. Attributes that begin with "_" are kept: passes look at some.
    """

    name: str
    op: str
    inputs: tuple[Tensor, ...] = ()
    control: tuple[str, ...] = ()
    attrs: Mapping[str, "Attribute"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes with an interface: a function body, a branch, a loop body, or a metagraph cut to one signature.

    Attributes:
        name: for messages.
        nodes: by name, in any order (execution order is found by `thaw.lowering.run`).
        inputs: the tensors that the caller supplies, in order. Mostly outputs of `Placeholder` or `_Arg` nodes, but any
            tensor may be supplied; the node behind it then does not run.
        outputs: the tensors that the graph answers with, in order; one may stand there twice.
        updates: names of nodes that must run for their effect (assignments), reachable from outputs or not.
    """

    name: str
    nodes: Mapping[str, Node]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    updates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of a tensor that goes in or comes out."""

    name: str
    dtype: DType
    shape: Shape


@dataclass(frozen=True, slots=True)
class CompositeSpec:
    """A ragged or sparse value that travels as several dense tensors.

    Attributes:
        kind: "ragged" (values, row_splits ...) or "sparse" (indices, values, dense_shape).
        dtype: of its values.
        shape: of the whole.
        components: the dense parts, in TensorFlow's order of flattening.
    """

    kind: str
    dtype: DType
    shape: Shape
    components: tuple[TensorSpec, ...]


Attribute: TypeAlias = (
    bool | int | float | str | bytes | Shape | np.ndarray | FunctionName | Graph | tuple["Attribute", ...] | None
)

Structure: TypeAlias = (
    TensorSpec
    | CompositeSpec
    | bool
    | int
    | float
    | str
    | bytes
    | list["Structure"]
    | tuple["Structure", ...]
    | dict[str, "Structure"]
    | None
)
"""What a traced function takes or gives: nested dicts, lists and tuples of specs and Python constants."""
