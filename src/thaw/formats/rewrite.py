"""An artifact's files again, with other weights: the same graph, a new checkpoint, so that whoever served it goes on.

Nothing is written to disk here. Imports artifact and its neighbours in formats.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from thaw.errors import MissingFileError, WeightsNotPlacedError
from thaw.formats.bundle import Bundle, Reading, write_bundle
from thaw.formats.checkpoint import PREFIX, SMALL
from thaw.formats.files import MemoryFiles
from thaw.formats.saved_model import GRAPH_FILE
from thaw.graph.artifact import Artifact, MetaGraph, VariableSource
from thaw.graph.ir import Graph
from thaw.graph.lift_constants import PREFIX as LIFTED
from thaw.wire.dtypes import name_of, numpy_type
from thaw.wire.protos import Message, new, parse
from thaw.wire.tensor_proto import LARGEST_SPLAT, array_of, tensor_proto

FINGERPRINT = "fingerprint.pb"
"""Holds a hash of the old checkpoint; TensorFlow does without."""


def rewritten(artifact: Artifact, values: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The files of `artifact`, by relative name, with `values` in place of its weights.

    Args:
        artifact: as read; the shards of its checkpoint are only needed for what `values` leaves out.
        values: by the variable's name (of a frozen graph, or of a constant that was lifted: by the constant's node).

    Raises:
        WeightsNotPlacedError: the artifact has no such variable, or one of another shape.
        CorruptFileError, MissingFileError: a weight that `values` leaves out cannot be read.
    """
    constants = {v.name for v in artifact.variables.values() if v.key.startswith(LIFTED)}
    if artifact.format == "frozen_graph":
        return _with_constants(artifact, values)
    graphs = _with_constants(artifact, {n: v for n, v in values.items() if n in constants}) if constants & set(values) else {}
    values = {n: v for n, v in values.items() if n not in constants}
    kept = {
        name: data for name, data in artifact.files.items() if name != FINGERPRINT and not name.startswith(f"{SMALL}.")
    } | graphs
    sources = {v.name: v for v in artifact.variables.values() if v.name not in constants}
    strangers = [name for name in values if name not in sources]
    wrong = [
        f"{name} {list(np.shape(values[name]))}, not {list(v.shape)}"
        for name, v in sources.items()
        if name in values and np.shape(values[name]) != v.shape
    ]
    if strangers or wrong:
        raise WeightsNotPlacedError(artifact.format, strangers, wrong, sources)
    readings = {name: v.read for name, v in sources.items() if isinstance(v.read, Reading)}
    if f"{PREFIX}.index" not in kept:
        return kept
    bundles = [reading.bundle for reading in readings.values()] or [Bundle(MemoryFiles(artifact.files), PREFIX)]
    bundle = bundles[0]
    covered = _covered(bundle, readings)
    tensors = {key: (bundle.dtype(key), _whole(bundle, key, artifact)) for key in bundle if key not in covered}
    for name, reading in readings.items():
        stored, dtype = reading.stored, sources[name].dtype
        value = np.asarray(values[name] if name in values else reading(), numpy_type(dtype, bundle.origin))
        if not stored.length:
            tensors[stored.key] = (dtype, value)
            continue
        if stored.key not in tensors:
            tensors[stored.key] = (dtype, np.zeros(bundle.shape(stored.key), value.dtype))
        whole = tensors[stored.key][1]
        if not whole.flags.writeable:
            whole = whole.copy()
            tensors[stored.key] = (dtype, whole)
        whole[stored.place] = value
    return kept | write_bundle(PREFIX, tensors)


def _covered(bundle: Bundle, readings: Mapping[str, Reading]) -> set[str]:
    """The keys whose every element belongs to one of the variables."""
    elements: dict[str, int] = {}
    for reading in readings.values():
        shape = reading.stored.length or bundle.shape(reading.stored.key)
        elements[reading.stored.key] = elements.get(reading.stored.key, 0) + int(np.prod(shape))
    return {key for key, count in elements.items() if count >= int(np.prod(bundle.shape(key)))}


def _whole(bundle: Bundle, key: str, artifact: Artifact) -> np.ndarray:
    """A tensor that is no variable's: from the checkpoint, from the artifact's small files, or zeros.

    Zeros stand for what an optimizer kept, where the old checkpoint is gone: the next training starts anew.
    """
    try:
        return bundle.read(key)
    except MissingFileError:
        if f"{SMALL}.index" in artifact.files:
            small = Bundle(MemoryFiles(artifact.files), SMALL)
            if key in small:
                return small.read(key)
        if bundle.dtype(key) == "string":
            raise
        return np.zeros(bundle.shape(key), numpy_type(bundle.dtype(key), bundle.origin))


def _with_constants(artifact: Artifact, values: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The file with the graphs, with other constants in it, by relative name.

    A constant that was lifted to a variable is found by the name of its node and, where nodes of several functions share it, by
    its old value; any other by the name of its node alone.
    """
    name = _graph_file(artifact)
    proto, graphs = _parsed(artifact.files[name], name)
    lifted = {v.name: v for v in artifact.variables.values() if v.key.startswith(LIFTED)}
    nodes = _nodes(graphs)
    strangers = [n for n in values if n not in lifted and n not in nodes]
    if strangers:
        raise WeightsNotPlacedError(artifact.format, strangers, [], [*lifted, *nodes])
    wrong = []
    for key, value in values.items():
        source = lifted.get(key)
        found = nodes[key] if source is None else nodes.get(_node_name(source), [])
        found = [n for n in found if n.op == "Const" or (source is not None and n.op == "Dequantize")]
        if source is not None and len(found) > 1:
            old = source.read()
            found = [n for n in found if n.op == "Const" and _is_value(n, old, name)]
        shape = source.shape if source is not None else _shape(found[0]) if found else ()
        if np.shape(value) != shape:
            wrong.append(f"{key} {list(np.shape(value))}, not {list(shape)}")
            continue
        for node in found:
            dtype = source.dtype if source is not None else name_of(node.attr["value"].tensor.dtype)
            _become_constant(node, tensor_proto(np.asarray(value, numpy_type(dtype, name)), dtype))
    if wrong:
        raise WeightsNotPlacedError(artifact.format, [], wrong, [*lifted, *nodes])
    return {name: proto.SerializeToString()}


def emptied(artifact: Artifact) -> dict[str, bytes]:
    """The artifact's small files without the contents of the constants that became variables: their values are kept with those.

    Only what nothing but its variable stands for is emptied; the shapes stay, so that the same constants become variables when
    the files are read again. Their values are zero then.
    """
    graphs = [g for m in artifact.metagraphs for g in (*m.library.values(), *_traces(m))]
    left = {n.name for g in graphs for n in g.nodes.values() if n.op in {"Const", "Dequantize"}}
    shapes = {_node_name(v): v.shape for v in artifact.variables.values() if v.key.startswith(LIFTED)}
    wanted = {n: shape for n, shape in shapes.items() if n not in left and int(np.prod(shape)) <= LARGEST_SPLAT}
    if not wanted:
        return dict(artifact.files)
    name = _graph_file(artifact)
    proto, messages = _parsed(artifact.files[name], name)
    nodes = _nodes(messages)
    for key in wanted:
        found = nodes.get(key, [])
        if len(found) != 1 or found[0].op != "Const":
            continue  # of several with one name their values tell which is which
        tensor = found[0].attr["value"].tensor
        _become_constant(found[0], new("TensorProto", dtype=tensor.dtype, tensor_shape=tensor.tensor_shape))
    return {**artifact.files, name: proto.SerializeToString()}


def _traces(metagraph: MetaGraph) -> Iterator[Graph]:
    for function in (*metagraph.signatures.values(), *metagraph.callables.values()):
        yield from (trace.graph for trace in function.traces)


def _graph_file(artifact: Artifact) -> str:
    return next(iter(artifact.files)) if artifact.format == "frozen_graph" else GRAPH_FILE


def _parsed(data: bytes, name: str) -> tuple[Message, list[Message]]:
    """The message in a file of graphs, and the graphs in it."""
    if name != GRAPH_FILE:
        proto = parse("GraphDef", data, name)
        return proto, [proto]
    proto = parse("SavedModel", data, name)
    return proto, [m.graph_def for m in proto.meta_graphs]


def _nodes(graphs: list[Message]) -> dict[str, list[Message]]:
    """The nodes that are constants or unpack some, by name, those in functions included."""
    found: dict[str, list[Message]] = {}
    for graph in graphs:
        for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
            for node in nodes:
                if node.op in {"Const", "Dequantize"}:
                    found.setdefault(node.name, []).append(node)
    return found


def _node_name(source: VariableSource) -> str:
    """The name of the node that became that variable."""
    return source.key.removeprefix(LIFTED).partition("#")[0]


def _shape(node: Message) -> tuple[int, ...]:
    return tuple(d.size for d in node.attr["value"].tensor.tensor_shape.dim)


def _is_value(node: Message, value: np.ndarray, origin: str) -> bool:
    """Whether the constant `node` holds just these bits."""
    if _shape(node) != value.shape:
        return False
    own = array_of(node.attr["value"].tensor, origin)
    return own.dtype == value.dtype and own.tobytes() == value.tobytes()


def _become_constant(node: Message, tensor: Message) -> None:
    """`node`, a constant or what unpacks one, as a constant of that value."""
    if node.op != "Const":
        node.op = "Const"
        del node.input[:]
        for key in [k for k in node.attr if not k.startswith("_")]:
            del node.attr[key]
        node.attr["dtype"].type = tensor.dtype
    node.attr["value"].tensor.CopyFrom(tensor)
