"""A metagraph as TensorFlow 1 wrote it: one graph, signatures that name its tensors, collections that name its parts.

Control flow is left as it is (Enter, Exit, Switch, Merge). Imports artifact, ir and its neighbours in formats.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from thaw.errors import CorruptFileError
from thaw.formats.bundle import Bundle
from thaw.formats.files import Files, checked
from thaw.formats.frozen_graph import leaf_tensors, spec_of
from thaw.formats.graph_def import Library, nodes_of, tensor_of
from thaw.formats.object_graph import string_constant
from thaw.formats.structure import ragged_spec, sparse_spec
from thaw.formats.v1_variables import VARIABLE_OPS, Variables, reached_from, shared_name
from thaw.graph.artifact import Function, MetaGraph, Trace
from thaw.graph.ir import CompositeSpec, FunctionName, Graph, Node, Structure, Tensor, TensorSpec
from thaw.graph.tap import HEADS, dtype_of_node
from thaw.wire.dtypes import name_of
from thaw.wire.protos import Message, parse
from thaw.wire.tensor_proto import shape_of

_TABLE_WRITERS = frozenset({
    "InitializeTable", "InitializeTableV2", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2", "LookupTableImport",
    "LookupTableImportV2",
})  # fmt: skip
_SPARSE, _RAGGED = 1, 3
_INIT_OPS = ("saved_model_main_op", "legacy_init_op")
GRADIENTS = "gradients"
"""The scope in which TensorFlow 1 computes them."""
WHOLE = "graph"
"""What the whole of a graph without signatures is called."""
_OWN_SIGNATURES = ("__saved_model_init_op", "__saved_model_train_op")


def _named(collections: Mapping[str, Message], key: str) -> list[str]:
    return list(collections[key].node_list.value) if key in collections else []


class V1MetaGraph:
    """One metagraph, being read.

    Args:
        proto: the MetaGraphDef.
        files: where the artifact lies.
        variables: gathers the variables of all metagraphs.
        all_variables: whether variables that no signature needs (an optimizer's) are the artifact's too.
        unsigned: whether the artifact has no signature, and is to be run by its tensors' names.
    """

    def __init__(self, proto: Message, files: Files, variables: Variables, *, all_variables: bool, unsigned: bool) -> None:
        self.proto = proto
        self.files = files
        self.origin = variables.origin
        self.collections: Mapping[str, Message] = proto.collection_def
        self.variables = variables
        self.assets = self._assets()
        self.nodes = self._nodes()
        self.library = Library(proto.graph_def.library.function, proto.meta_info_def.stripped_op_list.op, self.origin)
        self.signatures = {name: self._signature(name) for name in sorted(proto.signature_def) if name not in _OWN_SIGNATURES}
        self.losses = [tensor_of(t, self.origin) for t in _named(self.collections, "regularization_losses")]
        self.updates = tuple(tensor_of(t, self.origin).node for t in _named(self.collections, "update_ops"))
        self.whole = self._whole() if unsigned else None
        self.all_variables = all_variables

    def read(self) -> MetaGraph:
        """The metagraph; its variables join `variables`."""
        functions = [*self.signatures.values(), *([self.whole] if self.whole is not None else [])]
        outputs = [t.node for f in functions for t in f.traces[0].graph.outputs]
        used = reached_from(self.nodes, [*outputs, *self.updates, *(t.node for t in self.losses)])
        restore_op = self.proto.saver_def.restore_op_name
        every, unsigned = self.all_variables, self.whole is not None  # of those, only `outputs=` says which are needed
        self.variables.add(
            self.nodes,
            self.collections,
            restore_op,
            wanted=lambda n: every or unsigned or n in used,
            needed=lambda n: every or n in used,
        )
        losses, regularized = self._regularization()
        return MetaGraph(
            tags=frozenset(self.proto.meta_info_def.tags),
            signatures=self.signatures,
            whole=self.whole,
            library=self.library,
            initializers=self._initializers(),
            regularization_losses=losses,
            regularized=regularized,
            update_ops=self.updates,
            attachments=dict(self._attachments()),
            assets=tuple(dict.fromkeys(self.assets.values())),
        )

    def _assets(self) -> dict[str, str]:
        """The assets' file names by the name of the node that holds the path.

        One that is not there is missed only by who reads it, as in TensorFlow.
        """
        definitions = list(self.proto.asset_file_def)
        if "saved_model_assets" in self.collections:
            any_list = self.collections["saved_model_assets"].any_list.value
            definitions += [parse("AssetFileDef", a.value, self.origin) for a in any_list]
        found: dict[str, str] = {}
        for asset in definitions:
            found[tensor_of(asset.tensor_info.name, self.origin).node] = checked(asset.filename)
        return found

    def _nodes(self) -> dict[str, Node]:
        """The graph's nodes: paths of assets made true, variables and tables given the key that they are known by."""
        nodes = nodes_of(self.proto.graph_def, self.origin)
        for name, filename in self.assets.items():
            if name not in nodes:
                raise CorruptFileError(self.origin, f"the asset {filename!r} belongs to the node {name!r}, which its graph lacks")
            nodes[name] = string_constant(name, f"assets/{filename}")
        for name, node in nodes.items():
            if node.op in VARIABLE_OPS or "HashTable" in node.op:
                nodes[name] = replace(node, attrs={**node.attrs, "shared_name": shared_name(node)})
        return nodes

    def _signature(self, name: str) -> Function:
        proto = self.proto.signature_def[name]
        kwargs, inputs = self._interface(proto.inputs)
        outputs, tensors = self._interface(proto.outputs)
        for tensor in (*inputs, *tensors):
            if tensor.node not in self.nodes:
                raise CorruptFileError(
                    self.origin, f"the signature {name!r} names the tensor {tensor.node!r}, which its graph lacks"
                )
        graph = Graph(name, self.nodes, inputs, tensors)
        return Function(name, (), (Trace((), kwargs, outputs, graph),), proto.method_name)

    def _whole(self) -> Function | None:
        """The graph from its placeholders to what looks like outputs: what nothing consumes, and what ends a classifier.

        None where nothing is computed from a placeholder.
        """
        inputs = sorted(name for name, node in self.nodes.items() if node.op == "Placeholder")
        leaves = (t for t in leaf_tensors(self.nodes, self.library.outputs, self.origin) if GRADIENTS not in t.node.split("/"))
        heads = [Tensor(name) for name, node in self.nodes.items() if node.op in HEADS]
        outputs = [t for t in dict.fromkeys((*heads, *leaves)) if not reached_from(self.nodes, [t.node]).isdisjoint(inputs)]
        named = {f"{t.node}:{t.output}" if t.output else t.node: t for t in outputs}
        if not named:
            return None
        producer = self.proto.graph_def.versions.producer
        kwargs: dict[str, Structure] = {name: spec_of(self.nodes[name], producer) for name in inputs}
        specs: dict[str, Structure] = {
            name: TensorSpec(name, dtype_of_node(self.nodes[t.node]) or "variant", None) for name, t in named.items()
        }
        graph = Graph(WHOLE, self.nodes, tuple(Tensor(n) for n in inputs), tuple(named[n] for n in sorted(named)))
        return Function(WHOLE, (), (Trace((), kwargs, specs, graph),))

    def _interface(self, infos: Mapping[str, Message]) -> tuple[dict[str, Structure], tuple[Tensor, ...]]:
        """Specs by name, and the tensors that they flatten to."""
        specs: dict[str, Structure] = {}
        tensors: list[Tensor] = []
        for name in sorted(infos):
            info = infos[name]
            dtype, shape = name_of(info.dtype), shape_of(info.tensor_shape)
            encoding = info.WhichOneof("encoding")
            if encoding == "coo_sparse":
                parts = info.coo_sparse
                specs[name] = sparse_spec(name, dtype, shape)
                names = [parts.indices_tensor_name, parts.values_tensor_name, parts.dense_shape_tensor_name]
            elif encoding == "composite_tensor":
                specs[name] = self._composite(name, info, dtype)
                names = [c.name for c in info.composite_tensor.components]
            else:
                specs[name] = TensorSpec(name, dtype, shape)
                names = [info.name]
            tensors += [tensor_of(n, self.origin) for n in names]
        return specs, tuple(tensors)

    @staticmethod
    def _composite(name: str, info: Message, dtype: str) -> CompositeSpec:
        parts = info.composite_tensor.components
        shape = shape_of(info.tensor_shape)
        kind = info.composite_tensor.type_spec.type_spec_class
        if kind == _RAGGED and parts:
            return ragged_spec(name, name_of(parts[0].dtype), shape, len(parts) - 1, name_of(parts[-1].dtype))
        if kind == _SPARSE and len(parts) == 3:
            return sparse_spec(name, name_of(parts[1].dtype), shape)
        specs = tuple(TensorSpec(f"{name}/{i}", name_of(p.dtype), shape_of(p.tensor_shape)) for i, p in enumerate(parts))
        return CompositeSpec(info.composite_tensor.type_spec.type_spec_class_name or "unknown", dtype, shape, specs)

    def _initializers(self) -> tuple[Graph, ...]:
        """Graphs that fill the tables: those of the collection, and what the main op does to tables besides."""
        names = [tensor_of(n, self.origin).node for n in _named(self.collections, "table_initializer")]
        main = [tensor_of(n, self.origin).node for key in _INIT_OPS for n in _named(self.collections, key)]
        own = (
            self.proto.signature_def[_OWN_SIGNATURES[0]].outputs.values()
            if _OWN_SIGNATURES[0] in self.proto.signature_def
            else ()
        )
        main += [tensor_of(info.name, self.origin).node for info in own]
        reached = reached_from(self.nodes, [*names, *main], control=True)
        writers = [n for n in self.nodes if n in reached and self._fills_a_table(self.nodes[n], set())]
        return tuple(Graph(n, self.nodes, (), (), (n,)) for n in writers)

    def _fills_a_table(self, node: Node, seen: set[str]) -> bool:
        """Whether the node does, or calls a function in which one does: so where TensorFlow 2's tables got into its graph."""
        if node.op in _TABLE_WRITERS:
            return True
        called = [f for v in node.attrs.values() for f in (v if isinstance(v, tuple) else (v,)) if isinstance(f, FunctionName)]
        names = [n for n in (node.op, *(f.name for f in called)) if n in self.library and n not in seen]
        seen.update(names)
        return any(self._fills_a_table(inner, seen) for n in names for inner in self.library[n].nodes.values())

    def _regularization(self) -> tuple[Graph | None, tuple[tuple[str, ...], ...]]:
        """One graph of the losses that depend on variables alone, and which variables each reads."""
        outputs: list[Tensor] = []
        regularized: list[tuple[str, ...]] = []
        for tensor in self.losses:
            if tensor.node not in self.nodes:
                raise CorruptFileError(self.origin, f"its regularization losses name {tensor.node!r}, which its graph lacks")
            reached = reached_from(self.nodes, [tensor.node])
            if any(self.nodes[n].op == "Placeholder" for n in reached):
                continue  # of activations: it is part of a call, not of the weights
            keys = {shared_name(self.nodes[n]) for n in reached if self.nodes[n].op in VARIABLE_OPS}
            outputs.append(tensor)
            regularized.append(tuple(s.name for k, s in self.variables.sources.items() if k in keys))
        if not outputs:
            return None, ()
        return Graph("regularization_losses", self.nodes, (), tuple(outputs)), tuple(regularized)

    def _attachments(self) -> Iterator[tuple[str, bytes]]:
        """The messages attached to a hub module, by key."""
        if "hub_module_attachments" in self.collections:
            for data in self.collections["hub_module_attachments"].bytes_list.value:
                attachment = parse("ModuleAttachment", data, self.origin)
                yield attachment.key, attachment.value


def read_metagraphs(
    protos: Sequence[Message], files: Files, bundle: Callable[[], Bundle], *, all_variables: bool
) -> tuple[tuple[MetaGraph, ...], Variables]:
    """All metagraphs of a file, and the variables that they share."""
    variables = Variables(bundle, f"{files.origin}/saved_model.pb")
    unsigned = not any(name not in _OWN_SIGNATURES for p in protos for name in p.signature_def)
    read = (V1MetaGraph(p, files, variables, all_variables=all_variables, unsigned=unsigned).read() for p in protos)
    return tuple(read), variables
