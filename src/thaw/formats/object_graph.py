"""The object graph of a TF2 SavedModel: callables, signatures, what they capture, and the tables to fill.

A concrete function becomes a trace: its body, in which the captured arguments are replaced by nodes that stand for the
captured objects (variables, tables, constants, assets). Imports ir, artifact, and its neighbours in formats.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from thaw.errors import CorruptFileError
from thaw.formats.bundle import Reading, Stored
from thaw.formats.checkpoint import Checkpoint
from thaw.formats.files import Files, checked
from thaw.formats.graph_def import Library, is_index, node_of
from thaw.formats.structure import leaves, named, parameters_of, structure_of
from thaw.graph.artifact import Function, MetaGraph, Trace, VariableSource
from thaw.graph.ir import Attribute, FunctionName, Graph, Node, Structure, Tensor, TensorSpec
from thaw.wire.dtypes import name_of
from thaw.wire.protos import Message
from thaw.wire.tensor_proto import shape_of

MOST_STEPS = 1000
"""Calls and identities between a table's creating function and the table."""

DEEPEST = 100
"""Calls within calls that are looked into for what a regularization loss reads."""

CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def asset_names(proto: Message) -> tuple[str, ...]:
    """The names of a metagraph's assets, relative to the assets folder, by their index.

    One that is not there is missed only by who reads it, as in TensorFlow.

    Raises:
        UnsafePathError: one leaves the folder.
    """
    return tuple(checked(asset.filename) for asset in proto.asset_file_def)


def constant(name: str, value: np.ndarray, dtype: str) -> Node:
    """A Const node."""
    return Node(name, "Const", attrs={"value": value, "dtype": dtype})


def string_constant(name: str, text: str) -> Node:
    """A Const node of one string."""
    value = np.empty((), object)
    value[()] = text.encode()
    return constant(name, value, "string")


def unique(name: str, taken: Mapping[str, object]) -> str:
    """`name`, or with "#2", "#3" ... behind it where that is taken."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}#{number}"
    return candidate


def read_arguments(
    library: Mapping[str, Graph],
    function: str,
    output: int = 0,
    known: dict[tuple[str, int], set[int]] | None = None,
    depth: int = DEEPEST,
) -> set[int]:
    """The positions of the arguments that an output of a function depends on, calls looked into; `known` keeps answers."""
    known = {} if known is None else known
    if (function, output) in known or not depth:
        return known.get((function, output), set())
    found = known[function, output] = set()
    graph = library[function]
    positions = {tensor.node: i for i, tensor in enumerate(graph.inputs)}
    seen: set[Tensor] = set()
    stack = list(graph.outputs[output : output + 1])
    while stack:
        tensor = stack.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        if tensor.node in positions:
            found.add(positions[tensor.node])
        elif (node := graph.nodes.get(tensor.node)) is not None:
            f = node.attrs.get("f")
            if node.op in CALLS and isinstance(f, FunctionName) and f.name in library:
                inner = read_arguments(library, f.name, tensor.output, known, depth - 1)
                stack += [node.inputs[i] for i in inner if i < len(node.inputs)]
            else:
                stack += node.inputs
    return found


@dataclass
class ObjectGraph:
    """One metagraph with an object graph, being read.

    Attributes:
        proto: the MetaGraphDef.
        files: where the artifact lies.
        checkpoint: opened when the first variable is met.
        variables: those met so far, by key.
        left_out: why functions were left out.
    """

    proto: Message
    files: Files
    checkpoint: Callable[[], Checkpoint]
    variables: dict[str, VariableSource] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.origin = f"{self.files.origin}/saved_model.pb"
        self.objects: Sequence[Message] = self.proto.object_graph_def.nodes
        self.functions: Mapping[str, Message] = self.proto.object_graph_def.concrete_functions
        graph = self.proto.graph_def
        self.library = Library(graph.library.function, self.proto.meta_info_def.stripped_op_list.op, self.origin)
        self.assets = asset_names(self.proto)
        self.top = {node.name: node for node in graph.node if node.op == "Const"}
        self.variable_keys: dict[int, str] = {}
        self.resources: dict[int, tuple[Node, ...]] = {}
        self.trainable: set[int] | None = None

    def metagraph(self) -> MetaGraph:
        """Everything that the root object offers."""
        root = self._children(0)
        if "trainable_variables" in root:
            self.trainable = set(self._children(root["trainable_variables"]).values())
        for node in self._in_order(root["variables"]) if "variables" in root else ():
            if self._object(node).WhichOneof("kind") == "variable":
                self._variable(node)
        callables = {
            name: function
            for name, node in root.items()
            if (name == "__call__" or not name.startswith("_")) and (function := self._function(name, node)) is not None
        }
        signatures = {
            name: Function(name, (), function.traces, self.proto.signature_def[name].method_name)
            for name, node in (self._children(root["signatures"]) if "signatures" in root else {}).items()
            if (function := self._function(name, node)) is not None
        }
        losses, regularized = self._regularization(root)
        return MetaGraph(
            tags=frozenset(self.proto.meta_info_def.tags),
            signatures=signatures,
            callables=callables,
            inner={} if signatures or callables else self._inner(),
            library=self.library,
            initializers=self._initializers(),
            regularization_losses=losses,
            regularized=regularized,
            assets=tuple(dict.fromkeys(self.assets)),
        )

    def _inner(self) -> dict[str, Function]:
        """What the outermost objects below the root that can be called do when they are, by path: their attributes' names."""
        found: dict[str, Function] = {}
        seen = {0}
        waiting = [("", 0)]
        for path, number in waiting:  # grows as it goes: the nearest to the root come first
            for name, child in self._children(number).items():
                if child in seen or name.startswith("_") or name == "signatures":
                    continue
                seen.add(child)
                call = self._children(child).get("__call__")
                function = self._function(f"{path}{name}", call) if call is not None else None
                if function is not None:
                    found[function.name] = function
                else:
                    waiting.append((f"{path}{name}.", child))
        return found

    def _object(self, number: int) -> Message:
        if not 0 <= number < len(self.objects):
            raise CorruptFileError(self.origin, f"its object graph refers to node {number} of {len(self.objects)}")
        return self.objects[number]

    def _children(self, number: int) -> dict[str, int]:
        return {c.local_name: c.node_id for c in self._object(number).children}

    def _in_order(self, number: int) -> list[int]:
        """The children of a list object, by their index."""
        items = [(int(name), node) for name, node in self._children(number).items() if is_index(name)]
        return [node for _, node in sorted(items)]

    def _variable(self, number: int) -> str:
        """The key of the variable that is that object; met the first time, it joins `variables`."""
        if number in self.variable_keys:
            return self.variable_keys[number]
        saved = self._object(number).variable
        checkpoint = self.checkpoint()
        published = saved.name.removesuffix(":0")
        stored = checkpoint.variable(number, published)
        name = unique(published or stored.split("/.ATTRIBUTES/")[0], self.variables)
        shape = checkpoint.bundle.shape(stored)
        dtype = name_of(saved.dtype)
        declared = shape_of(saved.shape)
        fits = declared is None or (
            len(declared) == len(shape) and all(a in {None, b} for a, b in zip(declared, shape, strict=True))
        )
        if checkpoint.bundle.dtype(stored) != dtype or not fits:
            here = f"{checkpoint.bundle.dtype(stored)}{list(shape)}"
            problem = f"the variable {name!r} is {here}, but {dtype}{list(declared or ())} in the graph"
            raise CorruptFileError(checkpoint.bundle.origin, problem)
        trainable = saved.trainable if self.trainable is None else number in self.trainable
        reading = Reading(checkpoint.holder(stored), Stored(stored))
        self.variables[name] = VariableSource(name, name, dtype, shape, trainable, reading)
        self.variable_keys[number] = name
        return name

    def _capture(self, name: str, number: int) -> tuple[Node, ...]:
        """What stands in a body for a captured object, under the argument's name; the last node is the one."""
        captured = self._object(number)
        kind = captured.WhichOneof("kind")
        if kind == "variable":
            source = self.variables[self._variable(number)]
            attrs: dict[str, Attribute] = {"dtype": source.dtype, "shape": source.shape, "shared_name": source.key}
            return (Node(name, "VarHandleOp", attrs=attrs),)
        if kind == "constant":
            node = self.top.get(captured.constant.operation)
            if node is None:
                raise CorruptFileError(
                    self.origin, f"a function captures {captured.constant.operation!r}, which is no constant of the graph"
                )
            return (Node(name, "Const", attrs=node_of(node, (), self.origin).attrs),)
        if kind == "asset":
            index = captured.asset.asset_file_def_index
            if not 0 <= index < len(self.assets):
                raise CorruptFileError(self.origin, f"its object graph refers to asset {index} of {len(self.assets)}")
            return (string_constant(name, f"assets/{self.assets[index]}"),)
        if kind == "resource":
            return self._renamed(self._resource(number), name)
        return (Node(name, f"captured {kind}", attrs={"shared_name": f"{kind}_{number}"}),)

    @staticmethod
    def _renamed(nodes: tuple[Node, ...], name: str) -> tuple[Node, ...]:
        """Copies of `nodes`, the last called `name` and the others below it."""
        names = {n.name: f"{name}/{n.name}" for n in nodes[:-1]} | {nodes[-1].name: name}
        return tuple(
            Node(names[n.name], n.op, tuple(Tensor(names[t.node], t.output) for t in n.inputs), (), n.attrs) for n in nodes
        )

    def _resource(self, number: int) -> tuple[Node, ...]:
        """The node that makes the resource which is that object, with the nodes that it needs before it."""
        if number not in self.resources:
            creator = self._concrete(self._children(number).get("_create_resource", -1))
            nodes = self._made_by(creator) if creator else (Node("resource", "captured resource"),)
            made = nodes[-1]
            shared = str(made.attrs.get("shared_name") or f"resource_{number}")
            taken = {str(r[-1].attrs["shared_name"]): r for r in self.resources.values()}
            attrs = {**made.attrs, "shared_name": unique(shared, taken)}
            self.resources[number] = (*nodes[:-1], Node(made.name, made.op, made.inputs, (), attrs))
        return self.resources[number]

    def _made_by(self, function: str) -> tuple[Node, ...]:
        graph, tensor = self._graph(function), None
        for _ in range(MOST_STEPS):
            tensor = tensor or (graph.outputs[0] if graph.outputs else None)
            node = graph.nodes.get(tensor.node) if tensor else None
            if node is None or tensor is None:
                break
            if node.op == "Identity" and node.inputs:
                tensor = node.inputs[0]
            elif node.op in CALLS and isinstance(f := node.attrs.get("f"), FunctionName):
                graph = self._graph(f.name)
                tensor = graph.outputs[tensor.output] if tensor.output < len(graph.outputs) else None
            else:
                before: dict[str, Node] = {}
                stack = [t.node for t in node.inputs]
                while stack:
                    name = stack.pop()
                    if name not in before and name in graph.nodes:
                        before[name] = graph.nodes[name]
                        stack += [t.node for t in graph.nodes[name].inputs]
                return (*before.values(), node)
        raise CorruptFileError(self.origin, f"the function {function!r} should create a resource and returns none")

    def _graph(self, function: str) -> Graph:
        if function not in self.library:
            raise CorruptFileError(self.origin, f"it refers to the function {function!r}, which its library lacks")
        return self.library[function]

    def _concrete(self, number: int) -> str | None:
        """The name of the (first) concrete function of a function object; None where there is none."""
        if number < 0:
            return None
        saved = self._object(number)
        if saved.WhichOneof("kind") == "bare_concrete_function":
            return str(saved.bare_concrete_function.concrete_function_name)
        return next(iter(saved.function.concrete_functions), None)

    def _function(self, name: str, number: int) -> Function | None:
        saved = self._object(number)
        kind = saved.WhichOneof("kind")
        if kind == "function" and saved.function.concrete_functions:
            parameters = parameters_of(saved.function.function_spec, self.origin)
            names = [p.name for p in parameters]
            traces = [t for f in saved.function.concrete_functions if (t := self._trace(f, names)) is not None]
            return Function(name, parameters, tuple(traces)) if traces else None
        if kind == "bare_concrete_function":
            trace = self._trace(
                saved.bare_concrete_function.concrete_function_name, saved.bare_concrete_function.argument_keywords
            )
            return Function(name, (), (trace,)) if trace is not None else None
        return None

    def _body(self, function: str) -> tuple[Graph, int]:
        """The body of a concrete function with its captures in place, and how many tensors the caller gives."""
        if function not in self.functions:
            raise CorruptFileError(
                self.origin, f"its object graph refers to the function {function!r}, which it does not describe"
            )
        body = self._graph(function)
        bound = self.functions[function].bound_inputs
        given = len(body.inputs) - len(bound)
        if given < 0:
            raise CorruptFileError(
                self.origin, f"the function {function!r} captures {len(bound)} objects and takes {len(body.inputs)} inputs"
            )
        nodes = dict(body.nodes)
        for tensor, number in zip(body.inputs[given:], bound, strict=True):
            for node in self._capture(tensor.node, number):
                nodes[node.name] = node
        return Graph(body.name, nodes, body.inputs[:given], body.outputs, body.updates), given

    def _trace(self, function: str, names: Sequence[str]) -> Trace | None:
        """A concrete function; `names` are those of its positional arguments, as far as they have any.

        None where its signature does not say what it takes and gives: so it is with values of types that only the
        publisher's code defines. The artifact's other functions do not suffer from that.
        """
        graph, given = self._body(function)
        concrete = self.functions[function]
        signature = structure_of(concrete.canonicalized_input_signature, self.origin)
        match signature:
            case (tuple() as args, dict() as kwargs):
                pass
            case _:
                specs = [self._spec(graph, t) for t in graph.inputs]
                args, kwargs = (), dict(zip(names or [s.name for s in specs], specs, strict=False))
        count = len(list(leaves((args, kwargs))))
        outputs: Structure = named(structure_of(concrete.output_signature, self.origin), "")
        if not concrete.HasField("output_signature") and graph.outputs:
            outputs = tuple(TensorSpec(f"output_{i}", "variant", None) for i in range(len(graph.outputs)))
        returned = len(list(leaves(outputs)))
        if count != given or returned != len(graph.outputs):
            problem = (
                f"the function {function!r} takes {given} and returns {len(graph.outputs)} tensors, "
                f"but its signature says {count} and {returned}"
            )
            self.left_out.append(problem)
            return None
        labels = [*names, *(f"args_{i}" for i in range(len(names), len(args)))]
        given_args = tuple(named(a, n) for a, n in zip(args, labels, strict=False))
        return Trace(given_args, {k: named(v, k) for k, v in kwargs.items()}, outputs, graph)

    @staticmethod
    def _spec(graph: Graph, tensor: Tensor) -> TensorSpec:
        attrs = graph.nodes[tensor.node].attrs
        shape = attrs.get("shape")
        return TensorSpec(tensor.node, str(attrs["dtype"]), shape if isinstance(shape, tuple) else None)  # type: ignore[arg-type]

    def _regularization(self, root: Mapping[str, int]) -> tuple[Graph | None, tuple[tuple[str, ...], ...]]:
        """One graph of all losses, each a call of its function, and the variables that each reads."""
        nodes: dict[str, Node] = {}
        outputs: list[Tensor] = []
        regularized: list[tuple[str, ...]] = []
        for number in self._in_order(root["regularization_losses"]) if "regularization_losses" in root else ():
            function = self._concrete(number)
            if function is None:
                continue
            body, given = self._body(function)
            if given or len(body.outputs) != 1:
                raise CorruptFileError(
                    self.origin, f"the regularization loss {function!r} takes {given} inputs and gives {len(body.outputs)}"
                )
            captured: list[Tensor] = []
            for tensor in self._graph(function).inputs:
                prefix = f"loss_{len(outputs)}/"
                for node in self._renamed((body.nodes[tensor.node],), prefix + tensor.node):
                    nodes[node.name] = node
                    captured.append(Tensor(node.name))
            call = Node(f"loss_{len(outputs)}", "StatefulPartitionedCall", tuple(captured), attrs={"f": FunctionName(function)})
            nodes[call.name] = call
            outputs.append(Tensor(call.name))
            numbers = self.functions[function].bound_inputs
            read = (numbers[i] for i in sorted(read_arguments(self.library, function)))
            regularized.append(tuple(self.variable_keys[n] for n in read if n in self.variable_keys))
        if not outputs:
            return None, ()
        return Graph("regularization_losses", nodes, (), tuple(outputs)), tuple(regularized)

    def _initializers(self) -> tuple[Graph, ...]:
        """What fills the resources that were captured, and those that filling them captures in turn."""
        graphs: list[Graph] = []
        done: set[int] = set()
        while waiting := [n for n in self.resources if n not in done]:
            for number in waiting:
                done.add(number)
                initialize = self._concrete(self._children(number).get("_initialize", -1))
                if initialize is not None:
                    graph, given = self._body(initialize)
                    if given:
                        raise CorruptFileError(self.origin, f"the initializer {initialize!r} takes {given} inputs")
                    updates = graph.updates or tuple(n.name for n in graph.nodes.values() if n.op in CALLS)
                    if updates:
                        graphs.append(Graph(graph.name, graph.nodes, (), (), updates))
                stored = self.checkpoint().table(number)
                if stored is not None:
                    graphs.append(self._restored(number, *stored))
        return tuple(graphs)

    def _restored(self, number: int, keys: np.ndarray, values: np.ndarray) -> Graph:
        """A graph that puts what the checkpoint holds into a table."""
        table = self._renamed(self._resource(number), "table")
        made = table[-1].attrs
        key_type, value_type = str(made.get("key_dtype", "string")), str(made.get("value_dtype", "int64"))
        attrs = {"Tin": key_type, "Tout": value_type}
        nodes = (
            *table,
            constant("keys", keys, key_type),
            constant("values", values, value_type),
            Node("import", "LookupTableImportV2", (Tensor("table"), Tensor("keys"), Tensor("values")), attrs=attrs),
        )
        return Graph(f"restore {made['shared_name']!r}", {n.name: n for n in nodes}, (), (), ("import",))
