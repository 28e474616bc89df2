"""Turns weights that were baked into a graph as constants back into variables.

Freezing a graph replaces every variable by a `Const` node. What such a constant is used for tells whether it was a weight: it
feeds a MatMul, a convolution, a bias, a gather, a normalization, a recurrent cell, or scales and shifts by a vector. Each of
these becomes a variable under the name of its node. Imports this room only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from thaw.graph.artifact import Artifact, Function, MetaGraph, VariableSource
from thaw.graph.ir import FunctionName, Graph, Node, Tensor

PREFIX = "constant:"
"""How the keys of lifted constants begin."""

LARGE = 1024
"""Elements from which on a constant of a frozen graph is held as a variable even where it is not to be trained: compilers fold
and copy large constants."""

WEIGHTS: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"), frozenset({0, 1})),
    "SparseTensorDenseMatMul": frozenset({3}),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "Dilation2D", "Conv2DBackpropInput"), frozenset({1})),
    **dict.fromkeys(("Conv3DBackpropInputV2", "QuantizedConv2D", "BiasAdd", "BiasAddV1"), frozenset({1})),
    **dict.fromkeys(("_FusedConv2D", "_FusedMatMul", "_FusedDepthwiseConv2dNative"), frozenset({1, 2, 3, 4, 5, 6})),
    **dict.fromkeys(("Gather", "GatherV2", "ResourceGather", "GatherNd"), frozenset({0})),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), frozenset({1, 2, 3, 4})),
    "BatchNormWithGlobalNormalization": frozenset({1, 2, 3, 4}),
    "LSTMBlockCell": frozenset({3, 4, 5, 6, 7}),
    "BlockLSTM": frozenset({4, 5, 6, 7, 8}),
    "BlockLSTMV2": frozenset({4, 5, 6, 7, 8}),
    "GRUBlockCell": frozenset({2, 3, 4, 5}),
    "GRUBlockCellV2": frozenset({2, 3, 4, 5}),
    "CudnnRNN": frozenset({3}),
    "CudnnRNNV2": frozenset({3}),
    "CudnnRNNV3": frozenset({3}),
}  # fmt: skip
"""Op -> positions of its inputs at which a constant is a weight."""

AFFINE = frozenset({"Mul", "Add", "AddV2", "AddN", "Sub", "RealDiv", "Div", "Maximum", "Minimum", "Pow", "SquaredDifference"})
"""Ops at which a vector (or more) that is a constant is a weight: a scale or a shift, spelt out."""

CARRIERS: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(
        ("Identity", "Cast", "Snapshot", "StopGradient", "PreventGradient", "Enter", "RefEnter", "Rsqrt", "Sqrt", "Neg", "Exp"),
        frozenset({0}),
    ),
    **dict.fromkeys(("Reshape", "Transpose", "Squeeze", "ExpandDims", "StridedSlice", "Slice", "Tile"), frozenset({0})),
    **dict.fromkeys(("BroadcastTo", "EnsureShape", "Softplus", "Square", "SplitV", "Unpack"), frozenset({0})),
    **dict.fromkeys(("Reverse", "ReverseV2"), frozenset({0})),
    **dict.fromkeys(("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel"), frozenset({0})),
    **dict.fromkeys(("QuantizeAndDequantize", "QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3"), frozenset({0})),
    **dict.fromkeys(("QuantizeAndDequantizeV4", "CheckNumerics", "ReadVariableOp"), frozenset({0})),
    "Split": frozenset({1}),
    **dict.fromkeys(("ConcatV2", "Pack", "Switch", "Merge", "NextIteration", "Exit"), frozenset(range(8))),
}  # fmt: skip
"""Ops that hand a weight on in another form: op -> positions of the weight."""

CALLS: Mapping[str, int] = {
    "PartitionedCall": 0, "StatefulPartitionedCall": 0, "While": 0, "StatelessWhile": 0,
    "If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1,
}  # fmt: skip
"""Ops that hand their inputs to functions: op -> how many inputs come before those."""


@dataclass
class _Lift:
    """The work on one artifact: what is known of its functions, and the variables made so far."""

    everything: bool
    library: Mapping[str, Graph]
    sources: dict[str, VariableSource] = field(default_factory=dict)
    by_value: dict[tuple[str, bytes], str] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    known: dict[tuple[int, Tensor], bool] = field(default_factory=dict)
    consumers: dict[int, tuple[Graph, dict[Tensor, list[tuple[Node, int]]]]] = field(default_factory=dict)

    def is_weight(self, graph: Graph, tensor: Tensor, shape: tuple[int, ...]) -> bool:
        """Whether `tensor`, a constant of that shape or what was made of one, ends up where a weight stands."""
        key = (id(graph), tensor)
        if key not in self.known:
            self.known[key] = False  # for circles, which loops of TensorFlow 1 are
            self.known[key] = any(self.is_weight_at(graph, node, at, shape) for node, at in self.users(graph).get(tensor, ()))
        return self.known[key]

    def is_weight_at(self, graph: Graph, node: Node, position: int, shape: tuple[int, ...]) -> bool:
        """Whether what stands at that input of `node` is a weight, or is handed on to where one stands."""
        size = int(np.prod(shape))
        if position in WEIGHTS.get(node.op, ()):
            return True
        if node.op in AFFINE and size > 1:
            return True
        if position in CARRIERS.get(node.op, ()):
            outputs = range(len(node.inputs) + 16 if node.op in {"Split", "SplitV", "Unpack", "Switch"} else 1)
            return any(self.is_weight(graph, Tensor(node.name, i), shape) for i in outputs)
        skipped = CALLS.get(node.op, 0 if node.op in self.library else None)
        if skipped is None or position < skipped:
            return False
        return any(
            position - skipped < len(body.inputs) and self.is_weight(body, body.inputs[position - skipped], shape)
            for body in self.bodies(node)
        )

    def bodies(self, node: Node) -> Iterator[Graph]:
        """The functions that `node` hands its inputs to."""
        if node.op in self.library:
            yield self.library[node.op]
        for value in node.attrs.values():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, FunctionName) and part.name in self.library:
                    yield self.library[part.name]
                elif isinstance(part, Graph):
                    yield part

    def users(self, graph: Graph) -> dict[Tensor, list[tuple[Node, int]]]:
        """Who consumes which tensor of `graph`, and at which input."""
        if id(graph) not in self.consumers:
            found: dict[Tensor, list[tuple[Node, int]]] = {}
            for node in graph.nodes.values():
                for position, tensor in enumerate(node.inputs):
                    found.setdefault(tensor, []).append((node, position))
            self.consumers[id(graph)] = (graph, found)  # the graph is kept, so that its id stays its own
        return self.consumers[id(graph)][1]

    def graph(self, graph: Graph) -> Graph:
        """`graph` with its weights as variables, named as their constants were."""
        nodes = dict(graph.nodes)
        for name, node in graph.nodes.items():
            value = node.attrs.get("value") if node.op == "Const" else unpacked(graph, node) if self.everything else None
            if not isinstance(value, np.ndarray) or not is_float(value) or value.size == 0:
                continue
            if not self.everything and value.size < LARGE:
                continue
            users = self.users(graph).get(Tensor(name), [])
            weighty = [(user, at) for user, at in users if self.is_weight_at(graph, user, at, value.shape)]
            if not weighty:
                continue
            variable = self.variable(name, value)
            if len(weighty) == len(users) and Tensor(name) not in graph.outputs:
                nodes[name] = Node(name, "VariableV2", (), node.control, variable)
                continue
            # Something else wants to know the value while the graph is traced: it keeps the constant.
            beside = f"{name}/variable"
            nodes[beside] = Node(beside, "VariableV2", (), node.control, variable)
            for user, _ in weighty:
                at_weights = {at for other, at in weighty if other is user}
                current = nodes[user.name]
                inputs = tuple(Tensor(beside) if at in at_weights else t for at, t in enumerate(current.inputs))
                nodes[user.name] = replace(current, inputs=inputs)
        return replace(graph, nodes=nodes)

    def variable(self, name: str, value: np.ndarray) -> dict[str, str | tuple[int, ...]]:
        """The attributes of a node that stands for the variable of that name; copies of one constant share it."""
        same = (name, value.tobytes())
        if same not in self.by_value:
            number = self.names[name] = self.names.get(name, 0) + 1
            unique = name if number == 1 else f"{name}#{number}"
            key = PREFIX + unique
            self.by_value[same] = key
            self.sources[key] = VariableSource(unique, key, value.dtype.name, tuple(value.shape), self.everything, lambda: value)
        key = self.by_value[same]
        return {"shared_name": key, "dtype": value.dtype.name, "shape": tuple(value.shape)}

    def metagraph(self, metagraph: MetaGraph) -> MetaGraph:
        """`metagraph` with all its functions lifted."""

        def lifted(functions: Mapping[str, Function]) -> dict[str, Function]:
            return {
                name: replace(f, traces=tuple(replace(t, graph=self.graph(t.graph)) for t in f.traces))
                for name, f in functions.items()
            }

        self.library = metagraph.library
        library = {name: self.graph(graph) for name, graph in metagraph.library.items()}
        return replace(metagraph, signatures=lifted(metagraph.signatures), callables=lifted(metagraph.callables), library=library)


def unpacked(graph: Graph, node: Node) -> np.ndarray | None:
    """The floats that a `Dequantize` of constants gives; None for anything else.

    Source: tensorflow/core/kernels/dequantize_op.cc, modes MIN_COMBINED and MIN_FIRST, which agree.
    """
    if node.op != "Dequantize" or node.attrs.get("mode", "MIN_COMBINED") not in {"MIN_COMBINED", "MIN_FIRST"}:
        return None
    sources = [graph.nodes.get(t.node) for t in node.inputs]
    values = [s.attrs.get("value") for s in sources if s is not None and s.op == "Const"]
    arrays = [v for v in values if isinstance(v, np.ndarray)]
    if len(arrays) != 3 or arrays[0].dtype.kind not in "iu" or any(a.size != 1 for a in arrays[1:]):
        return None
    packed, low, high = arrays
    kinds = np.iinfo(packed.dtype)
    steps = (float(high.ravel()[0]) - float(low.ravel()[0])) / (int(kinds.max) - int(kinds.min))
    floats: np.ndarray = ((packed.astype("float64") - kinds.min) * steps + float(low.ravel()[0])).astype("float32")
    return floats


def is_float(value: np.ndarray) -> bool:
    """Whether gradients can reach a value of this dtype."""
    return value.dtype.kind == "f" or value.dtype.name.startswith(("bfloat", "float"))


def lift_constants(artifact: Artifact, *, everything: bool) -> Artifact:
    """`artifact` with baked-in weights as variables, whose sources are named by their `Const` nodes.

    Args:
        artifact: as read.
        everything: lift every weight, as one that trains. If not, only the large constants of a frozen graph become
            variables, which do not train unless they are thawed by name.

    Returns:
        The artifact with more variables; keys of the new ones begin with `PREFIX`.
    """
    if not everything and artifact.format != "frozen_graph":
        return artifact
    work = _Lift(everything, {})
    metagraphs = tuple(work.metagraph(m) for m in artifact.metagraphs)
    if not work.sources:
        return artifact
    taken = {source.name for source in artifact.variables.values()}
    sources = {
        key: replace(source, name=f"{source.name}/constant") if source.name in taken else source
        for key, source in work.sources.items()
    }
    return replace(artifact, metagraphs=metagraphs, variables={**artifact.variables, **sources})


def spelt_statistics(graph: Graph) -> set[str]:
    """Keys of lifted constants that are a moving mean or variance of a normalization written in single ops.

    The variance is what an epsilon is added to before the square root; the mean is what is scaled by that root and subtracted.
    """
    origin = _Origins(graph)
    found: set[str] = set()
    roots: set[str] = set()
    for node in graph.nodes.values():
        if node.op == "Rsqrt" and graph.nodes[node.inputs[0].node].op in {"Add", "AddV2"}:
            keys = [origin.key(t) for t in graph.nodes[node.inputs[0].node].inputs]
            found |= {key for key in keys if key is not None}
            roots.add(node.name)
    for node in graph.nodes.values():
        if node.op == "Mul" and any(origin.comes_from(t, roots) for t in node.inputs):
            users = [n for n in graph.nodes.values() if node.op == "Mul" and Tensor(node.name) in n.inputs]
            subtracted = any(u.op == "Sub" and u.inputs[1].node == node.name for u in users)
            found |= {key for t in node.inputs if subtracted and (key := origin.key(t)) is not None}
    return found


class _Origins:
    """Where tensors come from, seen through identities and products."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def key(self, tensor: Tensor) -> str | None:
        """The key of the lifted constant that `tensor` is."""
        node = self.graph.nodes.get(tensor.node)
        while node is not None and node.op in {"Identity", "Cast"} and node.inputs:
            node = self.graph.nodes.get(node.inputs[0].node)
        if node is None or node.op != "VariableV2":
            return None
        key = str(node.attrs.get("shared_name", ""))
        return key if key.startswith(PREFIX) else None

    def comes_from(self, tensor: Tensor, roots: set[str]) -> bool:
        """Whether `tensor` is one of `roots`, or a product of one."""
        if tensor.node in roots:
            return True
        node = self.graph.nodes.get(tensor.node)
        return node is not None and node.op in {"Mul", "Identity"} and any(t.node in roots for t in node.inputs)


def folded_batch_norms(graph: Graph) -> list[str]:
    """Names of the lifted constants that tell of a batch normalization folded into its convolution.

    Tools that fold leave the names of what they folded: `.../BatchNorm/Const`, `..._bn_offset`, `weights_fold`, `batchnorm/mul`.
    """
    marks = ("bn_offset", "_fold", "/batchnorm/", "batchnorm/const", "batchnorm_fold", "fold/")
    if any(node.op.startswith("FusedBatchNorm") or node.op == "Rsqrt" for node in graph.nodes.values()):
        return []
    keys = [str(n.attrs.get("shared_name", "")) for n in graph.nodes.values() if n.op == "VariableV2"]
    return [k.removeprefix(PREFIX) for k in keys if k.startswith(PREFIX) and any(mark in k.lower() for mark in marks)]
