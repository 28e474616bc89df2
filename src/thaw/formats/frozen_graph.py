"""A frozen GraphDef (`.pb`, `.pbtxt`): weights are constants in the graph, and nothing says what goes in and what comes out.

Placeholders without which an output cannot be computed are taken for inputs, tensors that nothing consumes for outputs: one
signature, "frozen". Imports artifact and its neighbours in formats.
"""

from thaw.errors import CorruptFileError, NoSignatureError
from thaw.formats.files import Files
from thaw.formats.graph_def import Library, OutputTable, nodes_of
from thaw.formats.reader import reader
from thaw.formats.text import BEGINNING, bytes_of_text, is_graph_text
from thaw.graph.artifact import Artifact, Function, MetaGraph, Trace
from thaw.graph.ir import Graph, Node, Structure, Tensor, TensorSpec
from thaw.graph.tap import dtype_of_node
from thaw.wire.protos import parse

SIGNATURE = "frozen"
NO_OUTPUTS = frozenset({
    "NoOp", "Assert", "Const", "Placeholder", "SaveV2", "MergeV2Checkpoints", "Print", "HostConst",
    "ScalarSummary", "HistogramSummary", "ImageSummary", "AudioSummary", "AudioSummaryV2", "TensorSummary", "TensorSummaryV2",
    "MergeSummary",
})  # fmt: skip
"""Ops that are no output even where nothing consumes them: effects, constants, and what only TensorBoard reads."""

CONTROL_FLOW = frozenset({"Exit", "Switch", "Merge", "Enter", "NextIteration", "LoopCond"})
LAST_WITHOUT_SCALARS = 21
"""Graph version up to which a placeholder of shape [] means an unknown shape (tensorflow/core/ops/array_ops.cc)."""

NODE = b"\x0a"
"""How a node begins, which is what most GraphDefs begin with."""
_FIRST_BYTES = (NODE, b"\x12", b"\x1a", b"\x22")
"""How a GraphDef begins: with a node, or more rarely with its versions or its library."""


OTHER_FILES = frozenset({"saved_model.pb", "tfhub_module.pb", "fingerprint.pb", "keras_metadata.pb"})
"""Files of that ending that hold something else."""


def graph_file(files: Files) -> str | None:
    """The name of the one `.pb` file that could be a GraphDef; where there is no such file, of the one `.pbtxt` file.

    A frozen graph that was only named `saved_model.pb` begins with a node, as no SavedModel does.
    """
    if files.exists("saved_model.pb"):
        return "saved_model.pb" if bytes(files.map("saved_model.pb")[:1]) == NODE else None
    top = [n for n in files.list() if "/" not in n and n not in OTHER_FILES]
    candidates = [n for n in top if n.endswith(".pb")] or [n for n in top if n.endswith(".pbtxt")]
    return candidates[0] if len(candidates) == 1 else None


def is_frozen_graph(files: Files) -> bool:
    """Whether there is one `.pb` or `.pbtxt` file that begins like a GraphDef, in bytes or as text."""
    name = graph_file(files)
    if name is None:
        return False
    beginning = bytes(files.map(name)[:BEGINNING])
    return beginning[:1] in _FIRST_BYTES or is_graph_text(beginning)


@reader("frozen_graph", looks_for="a .pb (or .pbtxt) file with a GraphDef, alone in its folder or itself", detect=is_frozen_graph)
def read_frozen_graph(files: Files) -> Artifact:
    """The artifact of a frozen graph.

    Raises:
        CorruptFileError: the file is damaged.
        NoSignatureError: the graph has no tensor that could be an output.
    """
    name = graph_file(files) or ""
    origin = f"{files.origin}/{name}" if not files.origin.endswith(name) else files.origin
    data = files.read(name)
    if is_graph_text(data[:BEGINNING]):
        data = bytes_of_text("GraphDef", data, origin)
    proto = parse("GraphDef", data, origin)
    if not proto.node:
        raise CorruptFileError(origin, "it holds no nodes; if it is a GraphDef, it is an empty one")
    nodes = nodes_of(proto, origin)
    library = Library(proto.library.function, (), origin)
    inputs = [node for node in nodes.values() if node.op == "Placeholder"]
    outputs = leaf_tensors(nodes, library.outputs, origin)
    if not outputs:
        raise NoSignatureError(files.origin, ())
    producer = proto.versions.producer
    kwargs: dict[str, Structure] = {node.name: spec_of(node, producer) for node in sorted(inputs, key=lambda n: n.name)}
    graph = Graph(SIGNATURE, nodes, tuple(Tensor(n) for n in kwargs), tuple(outputs))
    specs: dict[str, Structure] = {}
    for tensor in outputs:
        name_of_output = f"{tensor.node}:{tensor.output}" if tensor.output else tensor.node
        specs[name_of_output] = TensorSpec(name_of_output, dtype_of_node(nodes[tensor.node]) or "variant", None)
    given = Trace((), kwargs, specs, graph)
    metagraph = MetaGraph(frozenset(), {SIGNATURE: Function(SIGNATURE, (), (given,))}, library=library)
    return Artifact("frozen_graph", (metagraph,), {}, {name: data}, {"graph_producer": str(producer)} if producer else {})


def spec_of(node: Node, producer: int) -> TensorSpec:
    """What a placeholder takes, in a graph of that version."""
    shape = node.attrs.get("shape")
    if not isinstance(shape, tuple) or (shape == () and producer <= LAST_WITHOUT_SCALARS):
        shape = None
    return TensorSpec(node.name, str(node.attrs.get("dtype", "float32")), shape)  # type: ignore[arg-type]


def leaf_tensors(nodes: dict[str, Node], outputs: OutputTable, origin: str) -> list[Tensor]:
    """The outputs of the nodes that nothing consumes, in the order of their names.

    What is left over of loops and conditionals counts only where there is nothing else.
    """
    consumed = {t.node for node in nodes.values() for t in node.inputs} | {c for node in nodes.values() for c in node.control}
    leaves = [node for name, node in sorted(nodes.items()) if name not in consumed and node.op not in NO_OUTPUTS]
    plain = [node for node in leaves if node.op not in CONTROL_FLOW] or leaves
    return [Tensor(node.name, i) for node in plain for i in range(outputs.count(node, origin))]
