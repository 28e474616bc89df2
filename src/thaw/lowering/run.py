"""Runs a graph by the op table. `Plan` is prepared once a graph: pruned, ordered, attributes bound; `run` is the loop.

Not here: what an op computes (the family files) and how graphs are rewritten (`thaw.graph`). A run reads and assigns
variables through its `Context`, so that loops and branches can carry assignments instead of performing them.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import keras
import numpy as np

from thaw.errors import (
    ArgumentCountError,
    CircularGraphError,
    DanglingReferenceError,
    GraphError,
    LoweringError,
    StaticInputError,
    UnhandledAttributeError,
    UnsupportedOpsError,
)
from thaw.graph.ir import FunctionName, Graph, Node, Tensor
from thaw.graph.moving_statistics import FUSED
from thaw.graph.prune import bodies
from thaw.lowering import fusion, loop_kernels
from thaw.lowering.registry import IMPLIED, LOWERINGS, Lowering
from thaw.lowering.values import Handle, NotKnownError, Value, cast, dtype_of, is_host, known, numpy_dtype, on_device

PLACES = frozenset({"Placeholder", "_Arg", "PlaceholderWithDefault"})
"""Ops that stand for an input of the graph."""


NARROW = frozenset({"float16", "bfloat16"})
"""Compute dtypes that float32 is turned into under a mixed-precision policy."""


T = TypeVar("T")


class Resources:
    """What outlives a run and is shared by all graphs of one artifact.

    Attributes:
        variables: by key (`shared_name`); Keras variables.
        objects: tables and other host objects by key, made on first use.
        library: functions of the metagraph by name.
        files: small files of the artifact by relative name (vocabularies under "assets/").
        texts: what reads the variables of strings, by key: no Keras variable holds them, and nothing writes them.
    """

    def __init__(
        self,
        variables: Mapping[str, Any] | None = None,
        library: Mapping[str, Graph] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        self.variables = dict(variables or {})
        self.objects: dict[str, Any] = {}
        self.library: Mapping[str, Graph] = library or {}
        self.files = dict(files or {})
        self.texts: dict[str, Callable[[], Any]] = {}
        self._derived: dict[tuple[int, Hashable], tuple[Graph, Any]] = {}

    def plan(self, graph: Graph, compute_dtype: str) -> "Plan":
        """The plan of `graph` under `compute_dtype`, made once."""
        return self.derived(graph, ("plan", compute_dtype), lambda: Plan(graph, self.library, compute_dtype))

    def derived(self, graph: Graph, what: Hashable, make: Callable[[], T]) -> T:
        """`what` of a graph, which `make` gives the first time that it is asked for."""
        key = (id(graph), what)
        if key not in self._derived:  # the graph is kept beside it, so that its id stays its own
            self._derived[key] = (graph, make())
        found: T = self._derived[key][1]
        return found


class Context:
    """One run: what a lowering declared with `context=True` may ask for.

    Attributes:
        resources: variables, tables, library, files.
        training: whether the call is for training.
        compute_dtype: what TensorFlow's float32 becomes under a mixed-precision policy.
        node: the node that runs now, for messages and for keys.
        writes: None where an assignment changes the variable at once; a dict (key -> value) where an enclosing loop or branch
            carries assignments itself: then `read` answers from it first and `assign` only records.
        loop_bounds: how often an inner loop runs at most, by the id of its body, where the loop around it has found out.
        wide: whether the node that runs now works on float32 under a narrower compute dtype; see `wide_nodes`.
        remat: in how many segments a training step computes its activations a second time instead of keeping them; True: the
            square root of the number of ops; 0 or False: none. Bodies of loops and branches have their own ways.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        training: bool = False,
        compute_dtype: str = "float32",
        seed_generator: Any = None,
        writes: dict[str, Value] | None = None,
        max_iterations: int | None = None,
        assign: Callable[[str, Value], bool] | None = None,
        loop_bounds: Mapping[int, int] | None = None,
        remat: bool | int = False,
    ) -> None:
        self.resources = resources
        self.training = training
        self.compute_dtype = compute_dtype
        self.seed_generator = seed_generator
        self.writes = writes
        self.max_iterations = max_iterations
        self.allowed = assign
        self.loop_bounds = dict(loop_bounds or {})
        self.remat = remat
        self.wide = False
        self.node: Node = Node("", "")

    def child(self, **changes: Any) -> "Context":
        """A context like this one for the run of a body or branch, with `changes` to its constructor's arguments."""
        arguments = {
            "training": self.training,
            "compute_dtype": self.compute_dtype,
            "seed_generator": self.seed_generator,
            "writes": self.writes,
            "max_iterations": self.max_iterations,
            "assign": self.allowed,
            "loop_bounds": self.loop_bounds,
        } | changes
        return Context(self.resources, **arguments)

    def graph(self, function: FunctionName | Graph) -> Graph:
        """The graph of a function attribute.

        Raises:
            DanglingReferenceError: the library has no function of that name.
        """
        if isinstance(function, Graph):
            return function
        try:
            return self.resources.library[function.name]
        except KeyError:
            raise DanglingReferenceError(
                f"Node {self.node.name!r} ({self.node.op})", "function", function.name, self.resources.library
            ) from None

    def call(self, function: FunctionName | Graph, inputs: Sequence[Value], context: "Context | None" = None) -> list[Value]:
        """Runs a function of the library (or a graph) on `inputs` in this context (or in `context`)."""
        graph = self.graph(function)
        return self.resources.plan(graph, self.compute_dtype).run(context or self.child(), inputs)

    def read(self, key: str) -> Value:
        """The value of the variable of that key, in the compute dtype where a mixed-precision policy says so."""
        if self.writes is not None and key in self.writes:
            return self.writes[key]
        if key in self.resources.texts:
            return self.resources.texts[key]()
        # `.value`: TensorFlow takes Keras' variable for a tensor, and then stumbles over its dtype, a string; and its own for
        # one, which some ops stumble over.
        value = self.variable(key).value
        value = value.read_value() if hasattr(value, "read_value") else keras.ops.convert_to_tensor(value)
        # Keras has narrowed what trains; moving statistics it leaves alone.
        return cast(value, self.compute_dtype) if self._is_narrowed(value) else value

    def _is_narrowed(self, value: Value) -> bool:
        return self.compute_dtype in NARROW and not self.wide and dtype_of(value) == "float32"

    def variable(self, key: str) -> Any:
        """The Keras variable of that key.

        Raises:
            DanglingReferenceError: the artifact has none.
        """
        try:
            return self.resources.variables[key]
        except KeyError:
            raise DanglingReferenceError(
                f"Node {self.node.name!r} ({self.node.op})", "variable", key, self.resources.variables
            ) from None

    def assign(self, key: str, value: Value) -> None:
        """Gives the variable of that key a new value, unless the layer that owns it does not train now."""
        if self.allowed is not None and not self.allowed(key, value):
            return
        if self.writes is not None:
            self.writes[key] = value
        else:
            self.variable(key).assign(value)

    def next_seed(self) -> Any:
        """What a random op gives to `keras.random` as `seed=`: the layer's generator, which moves on with each draw.

        None, which is Keras' global generator, where the run has no generator of its own.
        """
        return self.seed_generator


@cache
def _static(inputs: tuple[str, ...], static: frozenset[str], host: bool) -> tuple[list[tuple[int, str]], frozenset[int]]:
    """Which of the inputs of a lowering must be known: by position and name, and by position alone."""
    found = [(i, name) for i, name in enumerate(inputs) if host or name in static]
    return found, frozenset(i for i, _ in found)


class Step:
    """One node, ready to run."""

    __slots__ = ("attributes", "free", "inputs", "known", "lowering", "node", "on_device", "plain", "static", "wide")

    def __init__(self, node: Node, lowering: Lowering, attributes: dict[str, Any], inputs: list[int], wide: bool = False) -> None:
        self.node = node
        self.wide = wide
        self.lowering = lowering
        self.attributes = attributes
        self.inputs = inputs
        self.static, self.known = _static(lowering.inputs, lowering.static, lowering.host)
        self.on_device = lowering.on_device
        self.plain = not (wide or self.static or self.on_device or lowering.context or (lowering.host and lowering.variadic))
        self.free: list[int] = []


def widened(value: Value) -> Value:
    """`value` as float32 where it is a narrower float."""
    has_dtype = is_host(value) or keras.ops.is_tensor(value)
    return cast(value, "float32") if has_dtype and dtype_of(value) in NARROW else value


def _is_number(value: Value) -> bool:
    """Whether `value` is an array of numbers on the host."""
    return is_host(value) and value.dtype.kind not in "OSU"


def callee(node: Node, library: Mapping[str, Graph]) -> FunctionName | Graph | None:
    """The function that `node` calls unconditionally, if it is a call: by its `f`, or by an op named like a function."""
    if node.op in {"PartitionedCall", "StatefulPartitionedCall"}:
        f = node.attrs["f"]
        assert isinstance(f, (FunctionName, Graph))
        return f
    return FunctionName(node.op) if node.op in library and node.op not in LOWERINGS else None


def bind(node: Node, lowering: Lowering, compute_dtype: str) -> dict[str, Any]:
    """The attributes of `node` that its lowering handles.

    Raises:
        UnhandledAttributeError: one is neither handled, nor implied by an input, nor ignored on purpose.
    """
    bound: dict[str, Any] = {}
    for name, value in node.attrs.items():
        if name in lowering.attributes:
            bound[name] = compute_dtype if isinstance(value, str) and value == "float32" else value
        elif not (name.startswith("_") or name in IMPLIED or name in lowering.ignored):
            raise UnhandledAttributeError(node.op, node.name, name, value, lowering.attributes)
    return bound


def order(graph: Graph, wanted: Iterable[Tensor] | None = None) -> list[Node]:
    """The nodes that the outputs (or `wanted`) and the updates need, each after what it depends on.

    Data edges decide what is needed; a control edge only orders nodes that are needed anyway. Supplied tensors cut the walk.

    Raises:
        DanglingReferenceError: an input names a node that is not there.
        CircularGraphError: nodes depend on one another in a circle.
    """
    before = needs(graph, wanted)
    nodes = graph.nodes
    for name, found in before.items():
        if nodes[name].control:
            found += [c for c in nodes[name].control if c in before]
    # Depth-first over needed nodes; iterative, since real graphs are deeper than Python's stack.
    result: list[Node] = []
    state: dict[str, bool] = {}  # False: open, True: done
    for seed in before:
        work = [seed]
        while work:
            name = work.pop()
            if name in state:
                if not state[name]:  # met again, after all that it needs
                    state[name] = True
                    result.append(nodes[name])
                continue
            state[name] = False
            work.append(name)
            for other in reversed(before[name]):
                there = state.get(other)
                if there is None:
                    work.append(other)
                elif there is False:
                    raise CircularGraphError("node", other, (graph.name,))
    return result


def needs(graph: Graph, wanted: Iterable[Tensor] | None = None) -> dict[str, list[str]]:
    """Of each node that the outputs (or `wanted`) and the updates need over data edges, the nodes that it needs itself.

    Raises:
        DanglingReferenceError: an input names a node that is not there.
    """
    nodes, supplied = graph.nodes, set(graph.inputs)
    cut = {t.node for t in supplied}  # names are hashed once, tensors each time
    stack = [t.node for t in (graph.outputs if wanted is None else wanted) if t not in supplied] + list(graph.updates)
    stack.reverse()
    before: dict[str, list[str]] = {}
    while stack:
        name = stack.pop()
        if name in before:
            continue
        if name not in nodes:
            raise DanglingReferenceError(f"Graph {graph.name!r}", "node", name, nodes)
        before[name] = found = [t.node for t in nodes[name].inputs if t.node not in cut or t not in supplied]
        stack += reversed(found)
    return before


def wide_nodes(graph: Graph) -> frozenset[str]:
    """The nodes that stay float32 under a narrower compute dtype: what only moves statistics, and the reads of these.

    An average that moves by a thousandth a step would stand still in float16. What leads to an output is narrow; a fused batch
    normalization takes mean and variance as they are.
    """
    narrow: set[str] = set()
    stack = [t.node for t in graph.outputs]
    while stack:
        name = stack.pop()
        node = graph.nodes.get(name)
        if node is None or name in narrow:
            continue
        narrow.add(name)
        taken = node.inputs[:3] if node.op in FUSED else node.inputs
        stack.extend(t.node for t in taken)
    return frozenset(graph.nodes) - narrow


def narrowed(value: np.ndarray, dtype: str) -> np.ndarray:
    """A float32 constant in a narrower dtype, as far as its meaning survives there.

    What keeps a division or a logarithm from zero (1e-12) must not become zero itself, and what stands for "far below
    everything" (-1e9, times a mask of zeros) must not become infinite.
    """
    with np.errstate(over="ignore"):
        result = value.astype(numpy_dtype(dtype))
    if dtype == "float16":
        limits = np.finfo(np.float16)
        over = np.isinf(result) & np.isfinite(value)
        if over.any():
            result = np.where(over, np.copysign(limits.max / 2, value).astype(np.float16), result)
        if value.size == 1 and (value != 0).all() and (result == 0).all():
            result = np.asarray(np.copysign(limits.tiny, value), np.float16)
    return result


def missing_ops(graphs: Iterable[Graph], library: Mapping[str, Graph]) -> list[tuple[str, int, str]]:
    """The ops without a lowering among what `graphs` need, called functions included: (op, count, one node's name)."""
    found: dict[str, tuple[int, str]] = {}
    seen: set[int] = set()
    stack = list(graphs)
    while stack:
        graph = stack.pop()
        if id(graph) in seen:
            continue
        seen.add(id(graph))
        for node in map(graph.nodes.__getitem__, needs(graph)):
            stack.extend(bodies(node, library))
            if not (node.op in LOWERINGS or node.op in PLACES or node.op == "Const" or node.op in library):
                count, name = found.get(node.op, (0, node.name))
                found[node.op] = (count + 1, name)
    return [(op, count, name) for op, (count, name) in sorted(found.items())]


class Plan:
    """A graph made ready: which lowering runs when, on which slots.

    Raises:
        UnsupportedOpsError: ops without a lowering, all of them.
        UnhandledAttributeError: an attribute that its lowering does not know.
    """

    def __init__(self, graph: Graph, library: Mapping[str, Graph], compute_dtype: str = "float32") -> None:
        missing = missing_ops([graph], library)
        if missing:
            raise UnsupportedOpsError(missing)
        self.graph = graph
        self.constants: list[tuple[int, np.ndarray]] = []
        self.steps: list[Step] = []
        slots: dict[Tensor, int] = {}

        def slot(tensor: Tensor) -> int:
            return slots.setdefault(tensor, len(slots))

        self.inputs = [slot(t) for t in graph.inputs]
        self.wide = wide_nodes(graph) if compute_dtype in NARROW else frozenset()
        for node in order(fusion.fused(graph, narrow=compute_dtype in NARROW)):
            if node.op == "Const":
                value = node.attrs["value"]
                assert isinstance(value, np.ndarray)
                if compute_dtype != "float32" and value.dtype == np.float32 and node.name not in self.wide:
                    value = narrowed(value, compute_dtype)
                self.constants.append((slot(Tensor(node.name)), value))
            elif node.op in PLACES and not node.inputs:
                slot(Tensor(node.name))  # supplied, or unused: N16
            else:
                self._add(node, library, compute_dtype, slot)
        self.outputs = [slot(t) for t in graph.outputs]
        self.size = len(slots)
        self.names = {number: tensor for tensor, number in slots.items()}
        self._plan_frees()
        self.segments: dict[int, Any] = {}  # of `rematerialization`, by how many were wanted

    def _add(self, node: Node, library: Mapping[str, Graph], compute_dtype: str, slot: Callable[[Tensor], int]) -> None:
        called = callee(node, library)
        lowering = fusion.LOWERINGS.get(node.op) or LOWERINGS["PartitionedCall" if called is not None else node.op]
        wide = node.name in self.wide
        attributes = {"f": called} if called is not None else bind(node, lowering, "float32" if wide else compute_dtype)
        inputs = [slot(t) for t in node.inputs]
        self.steps.append(Step(node, lowering, attributes, inputs, wide))

    def _plan_frees(self) -> None:
        """Says after which step each slot is not needed any more, so that memory is held no longer than it must."""
        by_node: dict[str, list[tuple[int, int]]] = {}
        for number, tensor in self.names.items():
            by_node.setdefault(tensor.node, []).append((tensor.output, number))
        self.targets = [by_node.get(step.node.name, []) for step in self.steps]
        supplied = set(self.inputs)
        self.targets = [[(i, n) for i, n in targets if n not in supplied] for targets in self.targets]
        kept = set(self.outputs)
        seen: set[int] = set(kept)
        for step, targets in zip(reversed(self.steps), reversed(self.targets), strict=True):
            for number in [*step.inputs, *(n for _, n in targets)]:
                if number not in seen:
                    seen.add(number)
                    step.free.append(number)

    @loop_kernels.as_written
    def run(self, context: Context, inputs: Sequence[Value]) -> list[Value]:
        """Computes the outputs for `inputs` (in the order of `graph.inputs`).

        Raises:
            StaticInputError: an input that must be known while tracing is not.
            LoweringError: a lowering failed; says on which node, with which shapes.
        """
        if len(inputs) != len(self.inputs):
            raise ArgumentCountError(self.graph.name, len(inputs), len(self.inputs))
        values: list[Value] = [None] * self.size
        for number, value in zip(self.inputs, inputs, strict=True):
            values[number] = value
        for number, value in self.constants:
            values[number] = value
        if context.remat and context.training:
            from thaw.lowering import rematerialization  # which runs steps of a plan, and so imports this file

            rematerialization.advance(self, context, values)
        else:
            for index, step in enumerate(self.steps):
                self.advance(index, context, values)
                for number in step.free:
                    values[number] = None
        results = [values[number] for number in self.outputs]
        return [context.read(r.key) if isinstance(r, Handle) and r.reference else r for r in results]

    def advance(self, index: int, context: Context, values: list[Value]) -> None:
        """Runs the step of that index: takes its inputs from `values`, by slot, and puts its outputs there."""
        step, targets = self.steps[index], self.targets[index]
        result = self._apply(step, context, [values[i] for i in step.inputs])
        if isinstance(result, (tuple, list)):
            for output, number in targets:
                if output >= len(result):
                    there = [f"{step.node.name}:{i}" for i in range(len(result))]
                    raise DanglingReferenceError(f"Graph {self.graph.name!r}", "tensor", f"{step.node.name}:{output}", there)
                values[number] = result[output]
        else:
            for _, number in targets:
                values[number] = result

    def _apply(self, step: Step, context: Context, arguments: list[Value]) -> Value:
        lowering = step.lowering
        context.node = step.node
        context.wide = step.wide
        try:
            if step.plain:  # takes its arguments as they are; loops run it once a round
                for argument in arguments:
                    if isinstance(argument, Handle):
                        break
                else:
                    return lowering.function(*arguments, **step.attributes)
            if step.wide:
                arguments = [widened(a) for a in arguments]
            if not lowering.context:  # only ops about variables see a TF1 reference; the others its value, now
                arguments = [context.read(a.key) if isinstance(a, Handle) and a.reference else a for a in arguments]
            if lowering.host and lowering.variadic:
                arguments = [known(a, f"input {i}") for i, a in enumerate(arguments)]
            for i, name in step.static:
                if i < len(arguments) and not is_host(arguments[i]):
                    arguments[i] = known(arguments[i], name)
            if step.on_device:
                arguments = [a if i in step.known or not _is_number(a) else on_device(a) for i, a in enumerate(arguments)]
            if lowering.context:
                return lowering.function(context, *arguments, **step.attributes)
            return lowering.function(*arguments, **step.attributes)
        except NotKnownError as error:
            raise StaticInputError(step.node.op, step.node.name, error.argument) from error
        except GraphError:
            raise
        except Exception as error:
            raise LoweringError(step.node.op, step.node.name, arguments, step.attributes, error) from error
