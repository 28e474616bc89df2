"""Writes small frozen graphs (`.pb`) as tests need them, without TensorFlow."""

from pathlib import Path

import numpy as np

from thaw.wire.dtypes import NUMBERS
from thaw.wire.protos import new
from thaw.wire.tensor_proto import tensor_proto


class FrozenGraph:
    """A graph under construction; each method adds a node and gives its name."""

    def __init__(self) -> None:
        self.nodes: list[object] = []

    def op(self, name: str, op: str, *inputs: str, **attributes: object) -> str:
        """A node; dtypes by name, shapes as tuples, arrays as tensors."""
        attrs = {key: _attribute(value) for key, value in attributes.items()}
        self.nodes.append(new("NodeDef", name=name, op=op, input=list(inputs), attr=attrs))
        return name

    def constant(self, name: str, value: object) -> str:
        """A constant; floats are float32, integers int32."""
        array = np.asarray(value)
        array = array.astype({"f": "float32", "i": "int32"}.get(array.dtype.kind, array.dtype))
        return self.op(name, "Const", dtype=array.dtype.name, value=array)

    def placeholder(self, name: str, shape: tuple[int, ...], dtype: str = "float32") -> str:
        """An input; -1 for an axis of any length."""
        return self.op(name, "Placeholder", dtype=dtype, shape=shape)

    def write(self, file: Path) -> Path:
        """The graph as a file."""
        file.write_bytes(new("GraphDef", node=self.nodes, versions=new("VersionDef", producer=987)).SerializeToString())
        return file


def _attribute(value: object) -> object:
    if isinstance(value, bool):
        return new("AttrValue", b=value)
    if isinstance(value, int):
        return new("AttrValue", i=value)
    if isinstance(value, float):
        return new("AttrValue", f=value)
    if isinstance(value, np.ndarray):
        return new("AttrValue", tensor=tensor_proto(value, value.dtype.name))
    if isinstance(value, tuple):
        return new("AttrValue", shape=new("TensorShapeProto", dim=[new("TensorShapeDim", size=n) for n in value]))
    if isinstance(value, list):
        return new("AttrValue", list=new("AttrList", i=value))
    if value in NUMBERS:
        return new("AttrValue", type=NUMBERS[value])
    return new("AttrValue", s=str(value).encode())
