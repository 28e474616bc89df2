"""The variables of a TF1 metagraph: which node stands for which part of which tensor of the checkpoint.

A variable is found by the saver's own restore operations where there are some, else by its name. Parts of a partitioned
variable are told by their offset in the whole, never by their name. Imports artifact, ir and its neighbours in formats.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from thaw.errors import CorruptFileError
from thaw.formats.bundle import Bundle, Reading, Stored
from thaw.formats.graph_def import tensor_of
from thaw.graph.artifact import VariableSource
from thaw.graph.ir import Node
from thaw.wire.protos import Message, parse

HANDLES = frozenset({"VarHandleOp"})
REFERENCES = frozenset({"VariableV2", "Variable"})
VARIABLE_OPS = HANDLES | REFERENCES
_ASSIGNS = frozenset({"Assign", "AssignVariableOp"})


def parsed_slice(text: str, origin: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Start and length along each axis from a saver's "shape slice" text: "10 20 0,5:0,20", or "-" for a whole axis.

    Raises:
        CorruptFileError: the text is none.
    """
    if not text:
        return (), ()
    *sizes, spec = text.split(" ")
    try:
        extents = [
            (0, int(n)) if part == "-" else tuple(map(int, part.split(",")))
            for part, n in zip(spec.split(":"), sizes, strict=True)
        ]
        return tuple(s for s, _ in extents), tuple(n for _, n in extents)
    except ValueError as error:
        raise CorruptFileError(origin, f"the slice {text!r} of a saver is not of the form '10 20 0,5:0,20'") from error


def restored(nodes: Mapping[str, Node], restore_op: str, origin: str) -> dict[str, Stored]:
    """For each variable node that `restore_op` assigns: where in the checkpoint its value comes from."""
    reached: set[str] = set()
    stack = [restore_op]
    while stack:
        name = stack.pop()
        if name in nodes and name not in reached:
            reached.add(name)
            stack += [*nodes[name].control, *(t.node for t in nodes[name].inputs)]
    found: dict[str, Stored] = {}
    for name in sorted(reached):
        node = nodes[name]
        if node.op not in _ASSIGNS or len(node.inputs) < 2:
            continue
        value = node.inputs[1]
        while value.node in nodes and nodes[value.node].op == "Identity" and nodes[value.node].inputs:
            value = nodes[value.node].inputs[0]
        restore = nodes.get(value.node)
        if restore is None or restore.op != "RestoreV2":
            continue
        names, slices = (_strings(nodes.get(t.node)) for t in restore.inputs[1:3])
        if value.output < len(names):
            spec = slices[value.output] if value.output < len(slices) else ""
            found[node.inputs[0].node] = Stored(names[value.output], *parsed_slice(spec, origin))
    return found


def _strings(node: Node | None) -> list[str]:
    """The strings of a Const node."""
    value = node.attrs.get("value") if node is not None else None
    return (
        [s.decode(errors="replace") for s in value.ravel().tolist()]
        if isinstance(value, np.ndarray) and value.dtype == object
        else []
    )


def shared_name(node: Node) -> str:
    """The key by which a graph refers to the variable or table that `node` stands for."""
    return str(node.attrs.get("shared_name") or node.name)


class Variables:
    """The variables of a TF1 artifact, gathered over its metagraphs.

    Args:
        bundle: opens the checkpoint; called when the first variable is met.
        origin: the graph's file, for messages.
    """

    def __init__(self, bundle: Callable[[], Bundle], origin: str) -> None:
        self.bundle = bundle
        self.origin = origin
        self.sources: dict[str, VariableSource] = {}

    def add(
        self,
        nodes: Mapping[str, Node],
        collections: Mapping[str, Message],
        restore_op: str,
        wanted: Callable[[str], bool],
        needed: Callable[[str], bool],
    ) -> None:
        """Adds the variables of one metagraph that are not there yet, in the order of its VARIABLES collection.

        Args:
            nodes: of the metagraph.
            collections: by name.
            restore_op: name of the saver's restoring operation; empty where there is none.
            wanted: whether the variable of that node is to be added.
            needed: whether it must be in the checkpoint then.
        """
        stored = restored(nodes, restore_op, self.origin) if restore_op else {}
        advice = self._definitions(collections, "trainable_variables")
        listed = self._definitions(collections, "variables")
        listed = {**listed, **{n: d for n, d in self._definitions(collections, "model_variables").items() if n not in listed}}
        for name, definition in listed.items():
            if name not in stored and definition.HasField("save_slice_info_def"):
                info = definition.save_slice_info_def
                stored[name] = Stored(info.full_name, tuple(info.var_offset), tuple(info.var_shape))
        unlisted = (n.name for n in nodes.values() if n.op in VARIABLE_OPS and n.name not in listed and n.name in stored)
        for name in [*listed, *unlisted]:
            node = nodes.get(name)
            if node is None or node.op not in VARIABLE_OPS:
                raise CorruptFileError(self.origin, f"its collections list the variable {name!r}, which its graph does not hold")
            if not wanted(name) or not (needed(name) or stored.get(name, Stored(name)).key in self.bundle()):
                continue
            flag = name in advice if "trainable_variables" in collections else name in listed and listed[name].trainable
            self._add(node, stored.get(name, Stored(name)), flag)

    def _definitions(self, collections: Mapping[str, Message], key: str) -> dict[str, Message]:
        """The VariableDefs of a collection by the name of the variable's node."""
        if key not in collections:
            return {}
        found: dict[str, Message] = {}
        for data in collections[key].bytes_list.value:
            definition = parse("VariableDef", data, self.origin)
            found[tensor_of(definition.variable_name, self.origin).node] = definition
        return found

    def _add(self, node: Node, stored: Stored, trainable: bool) -> None:
        key = shared_name(node)
        if key in self.sources:
            return
        bundle = self.bundle()
        if stored.key not in bundle:
            raise CorruptFileError(
                bundle.origin, f"it has no value for the variable {node.name!r} (under the name {stored.key!r})"
            )
        whole = bundle.shape(stored.key)
        shape = stored.length or whole
        if stored.length and not _inside(stored, whole):
            part = f"{list(stored.start)}+{list(stored.length)}"
            raise CorruptFileError(
                self.origin, f"the variable {node.name!r} is the part {part} of {stored.key!r}, of shape {list(whole)}"
            )
        dtype = str(node.attrs.get("dtype"))
        if bundle.dtype(stored.key) != dtype:
            raise CorruptFileError(
                bundle.origin, f"the variable {node.name!r} is {bundle.dtype(stored.key)} here, but {dtype} in the graph"
            )

        self.sources[key] = VariableSource(node.name, key, dtype, shape, trainable, Reading(bundle, stored))


def _inside(part: Stored, whole: tuple[int, ...]) -> bool:
    """Whether a part lies inside a tensor of that shape."""
    if not len(part.start) == len(part.length) == len(whole):
        return False
    return all(
        min(start, length) >= 0 and start + length <= size
        for start, length, size in zip(part.start, part.length, whole, strict=True)
    )


def reached_from(nodes: Mapping[str, Node], seeds: Iterable[str], *, control: bool = False) -> set[str]:
    """The names of the nodes that `seeds` need over data edges, and over control edges where asked for."""
    found: set[str] = set()
    stack = list(seeds)
    while stack:
        name = stack.pop()
        if name in found or name not in nodes:
            continue
        found.add(name)
        stack += [t.node for t in nodes[name].inputs]
        if control:
            stack += nodes[name].control
    return found
