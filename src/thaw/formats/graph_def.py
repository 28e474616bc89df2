"""GraphDef and FunctionDef to the IR: names resolved to (node, output index), attributes to plain Python.

Nodes are converted when a graph is first looked into: an artifact holds hundreds of functions (gradients, savers, traces of
every layer) of which a program uses a few. Imports ir, protos, tensor_proto.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import TypeAlias

import numpy as np

from thaw.errors import CorruptFileError
from thaw.graph.ir import Attribute, FunctionName, Graph, Node, Tensor
from thaw.wire.dtypes import name_of
from thaw.wire.protos import Message
from thaw.wire.tensor_proto import array_of, shape_of

MOST_OUTPUTS = 100_000
"""Tensors that one node may give."""

OutputArgs: TypeAlias = tuple[tuple[str, str], ...]
"""The outputs of an op: name, and the attribute that says how many tensors it stands for (empty: one)."""


@cache
def _shipped_outputs() -> Mapping[str, OutputArgs]:
    """TensorFlow's ops that may have several outputs, for files that carry no op definitions."""
    text = resources.files("thaw.formats").joinpath("op_outputs.json").read_text()
    return {op: tuple((name, count) for name, count in args) for op, args in json.loads(text).items()}


@cache
def _input_counts() -> Mapping[str, int]:
    """How many inputs TensorFlow's ops take, those that take lists left out."""
    table = json.loads(resources.files("thaw.formats").joinpath("op_inputs.json").read_text())
    return {op: int(count) for count, names in table.items() for op in names.split()}


_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "While": ("cond", "body"),
    "StatelessWhile": ("cond", "body"),
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "Case": ("branches",),
    "StatelessCase": ("branches",),
    "PartitionedCall": ("f",),
    "StatefulPartitionedCall": ("f",),
}
"""The functions without which an op is none."""

_OTHER_NAMES: Mapping[str, str] = {"XlaWhile": "While", "XlaIf": "If"}
"""Ops that are others with the same inputs, outputs and functions."""


class OutputTable:
    """Knows where the outputs of an op begin: by the file's own definitions, or else by the shipped table."""

    def __init__(self, definitions: Iterable[Message] = ()) -> None:
        self._outputs: dict[str, OutputArgs] = {
            d.name: tuple((a.name, a.number_attr or a.type_list_attr) for a in d.output_arg)
            for d in definitions
            if len(d.output_arg) > 1 or any(a.number_attr or a.type_list_attr for a in d.output_arg)
        }

    def index(self, node: Message, argument: str, offset: int) -> int:
        """The flat index of the tensor that a FunctionDef calls "node:argument:offset"."""
        outputs = self._outputs.get(node.op) or _shipped_outputs().get(node.op)
        if outputs is None:
            return offset  # a single output argument: its name says nothing
        before = 0
        for name, count in outputs:
            if name == argument:
                break
            before += _count(node.attr[count]) if count else 1
        return before + offset

    def count(self, node: Node, origin: str) -> int:
        """How many outputs a node has, lists counted as one tensor where their length cannot be told.

        Raises:
            CorruptFileError: more than any node has.
        """
        outputs = self._outputs.get(node.op) or _shipped_outputs().get(node.op) or (("", ""),)
        total = 0
        for _, count in outputs:
            value = node.attrs.get(count) if count else 1
            total += value if isinstance(value, int) else len(value) if isinstance(value, tuple) else 1
        if not 0 <= total <= MOST_OUTPUTS:
            raise CorruptFileError(origin, f"the node {node.name!r} ({node.op}) claims {total} outputs")
        return total


def _count(attr: Message) -> int:
    """How many tensors a number or list-of-types attribute stands for."""
    return attr.i if attr.WhichOneof("value") == "i" else len(attr.list.type)


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def attribute(attr: Message, origin: str) -> Attribute:
    """An AttrValue as plain Python."""
    kind = attr.WhichOneof("value")
    if kind == "type":
        return name_of(attr.type)
    if kind == "s":
        return _text(attr.s)
    if kind == "shape":
        return shape_of(attr.shape)
    if kind == "tensor":
        return array_of(attr.tensor, origin)
    if kind == "func":
        return FunctionName(attr.func.name)
    if kind == "list":
        return _list(attr.list, origin)
    return getattr(attr, kind) if kind else None


def _list(values: Message, origin: str) -> tuple[Attribute, ...]:
    """A list attribute; which kind of list an empty one is, the wire does not say."""
    if values.i:
        return tuple(values.i)
    if values.type:
        return tuple([name_of(t) for t in values.type])
    if values.shape:
        return tuple([shape_of(s) for s in values.shape])
    if values.s:
        return tuple([_text(s) for s in values.s])
    if values.f or values.b:
        return tuple(values.f) or tuple(values.b)
    return tuple([FunctionName(f.name) for f in values.func]) or tuple([array_of(t, origin) for t in values.tensor])


def node_of(proto: Message, inputs: Iterable[Tensor], origin: str) -> Node:
    """A NodeDef with its inputs resolved.

    Raises:
        CorruptFileError: it has not what its op needs.
    """
    attrs = {name: attribute(value, origin) for name, value in proto.attr.items()}
    control = tuple([i[1:] for i in proto.input if i.startswith("^")])
    node = Node(proto.name, _OTHER_NAMES.get(proto.op, proto.op), tuple(inputs), control, attrs)
    takes = _input_counts().get(node.op)
    if takes is not None and takes != len(node.inputs):
        raise CorruptFileError(origin, f"the node {node.name!r} has {len(node.inputs)} inputs, and a {node.op} takes {takes}")
    if node.op == "Const" and not isinstance(attrs.get("value"), np.ndarray):
        raise CorruptFileError(origin, f"the node {node.name!r} is a Const without its 'value'")
    for name in _FUNCTIONS.get(node.op, ()):
        value = attrs.get(name)
        if not all(isinstance(v, FunctionName) for v in (value if isinstance(value, tuple) else (value,))):
            raise CorruptFileError(origin, f"the node {node.name!r} is a {node.op} without its {name!r}")
    return node


def is_index(text: str) -> bool:
    """Whether a text is a number as files count with; longer ones Python would refuse to read."""
    return text.isdecimal() and len(text) < 10


def tensor_of(name: str, origin: str) -> Tensor:
    """The tensor that a GraphDef or a signature calls "node" or "node:index".

    Raises:
        CorruptFileError: what stands behind the colon is no number.
    """
    node, _, index = name.partition(":")
    if index and not is_index(index):
        raise CorruptFileError(origin, f"the tensor {name!r} has no index behind its colon")
    return Tensor(node, int(index or 0))


def nodes_of(proto: Message, origin: str) -> dict[str, Node]:
    """The nodes of a GraphDef by name, its functions apart.

    Raises:
        CorruptFileError: two nodes of one name, or an input that is no tensor's name.
    """
    nodes: dict[str, Node] = {}
    for node in proto.node:
        inputs = [tensor_of(i, origin) for i in node.input if not i.startswith("^")]
        nodes[node.name] = node_of(node, inputs, origin)
    if len(nodes) != len(proto.node):
        raise CorruptFileError(origin, f"{len(proto.node) - len(nodes)} of its {len(proto.node)} nodes bear another's name")
    return nodes


def function_graph(proto: Message, outputs: OutputTable, origin: str) -> Graph:
    """A FunctionDef as a graph: arguments become `_Arg` nodes, what must run becomes `updates`.

    Raises:
        CorruptFileError: an output refers to nothing.
    """
    name = proto.signature.name
    where = f"{origin} (function {name})"
    nodes: dict[str, Node] = {}
    for index, argument in enumerate(proto.signature.input_arg):
        attrs: dict[str, Attribute] = {"dtype": name_of(argument.type), "shape": None, "index": index}
        for key, value in proto.arg_attr[index].attr.items() if index in proto.arg_attr else ():
            if key == "_output_shapes" and len(value.list.shape) == 1:
                attrs["shape"] = shape_of(value.list.shape[0])
            elif key.startswith("_"):
                attrs[key] = attribute(value, where)
        nodes[argument.name] = Node(argument.name, "_Arg", attrs=attrs)
    arguments = tuple(Tensor(a.name) for a in proto.signature.input_arg)
    bodies = {node.name: node for node in proto.node_def}

    def tensor(text: str) -> Tensor:
        node, colon, rest = text.partition(":")
        if not colon:
            return Tensor(node)
        argument, _, offset = rest.partition(":")
        if node not in bodies or (offset and not is_index(offset)):
            raise CorruptFileError(where, f"it refers to {text!r}, which is no output of one of its nodes")
        return Tensor(node, outputs.index(bodies[node], argument, int(offset or 0)))

    for body in bodies.values():
        nodes[body.name] = node_of(body, [tensor(i) for i in body.input if not i.startswith("^")], where)
    missing = [a.name for a in proto.signature.output_arg if a.name not in proto.ret]
    if missing or len(nodes) != len(arguments) + len(proto.node_def):
        raise CorruptFileError(where, f"its outputs {missing} are not given, or two of its nodes bear one name")
    returned = tuple(tensor(proto.ret[a.name]) for a in proto.signature.output_arg)
    listed = proto.signature.control_output
    order = listed if all(c in proto.control_ret for c in listed) and listed else sorted(proto.control_ret)
    return Graph(name, nodes, arguments, returned, tuple(dict.fromkeys(proto.control_ret[c] for c in order)))


class Library(Mapping[str, Graph]):
    """The functions of a metagraph by name, each converted when it is first asked for."""

    def __init__(self, functions: Iterable[Message], definitions: Iterable[Message], origin: str) -> None:
        self._protos = {f.signature.name: f for f in functions}
        self._graphs: dict[str, Graph] = {}
        self._origin = origin
        self.outputs = OutputTable([*definitions, *(f.signature for f in self._protos.values())])

    def __getitem__(self, name: str) -> Graph:
        graph = self._graphs.get(name)
        if graph is None:
            graph = self._graphs[name] = function_graph(self._protos[name], self.outputs, self._origin)
        return graph

    def __contains__(self, name: object) -> bool:
        return name in self._protos

    def __iter__(self) -> Iterator[str]:
        return iter(self._protos)

    def __len__(self) -> int:
        return len(self._protos)
