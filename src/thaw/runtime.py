"""What a `thaw.KerasLayer` runs: the entry point that its arguments choose, and what lives beside the weights while it runs.

`choose` picks metagraph, function, outputs and inputs, and refuses arguments that contradict one another or the artifact.
`Runtime` holds what follows from that as one plain object, so that Keras tracks nothing of it. Knows no Keras layer.
"""

from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import keras
import numpy as np

from thaw import load
from thaw.errors import HubArgumentError, UnfrozenGraphError, listed
from thaw.graph.artifact import Artifact, VariableSource
from thaw.graph.free_sizes import free_sizes
from thaw.graph.ir import Graph, Shape, TensorSpec
from thaw.graph.lift_constants import spelt_statistics
from thaw.graph.moving_statistics import HANDLES, freeze_updates, statistic_keys
from thaw.graph.partial import Wanted, only_output, piece, with_needed_inputs
from thaw.graph.program import Program, Variant, input_structures, leaves, ready, tensors
from thaw.graph.prune import bodies
from thaw.graph.relax import relax
from thaw.graph.training_policies import drop_out, normalize_by_batch
from thaw.graph.usage_order import usage_order
from thaw.inner import Weight
from thaw.lowering.host import TextProgram
from thaw.lowering.run import Context, Resources, needs, order
from thaw.sizes import check_sizes, found_shapes


@dataclass(frozen=True)
class Choice:
    """What of an artifact a layer is to run; each as `thaw.KerasLayer` explains it."""

    arguments: Mapping[str, Any]
    tags: list[str] | None
    signature: str | None
    as_dict: bool | None
    output_key: str | None
    outputs: Wanted | None
    inputs: Wanted | None
    free_sizes: bool


@dataclass(frozen=True)
class Policy:
    """What the user's policies work into the graph of a call."""

    training: bool
    batch_norm: str
    momentum: float
    dropout: float
    relaxed: tuple[tuple[str, str], ...]


class Runtime:
    """What the layer needs to run, kept as one plain object so that Keras does not track what lies inside."""

    def __init__(self, artifact: Artifact, program: Program, signature: str | None) -> None:
        self.artifact = artifact
        self.program = program
        self.signature = signature
        self.resources = Resources()
        self.owners: dict[str, Any] = {}  # variable key -> the inner layer that holds it
        self.weights: dict[str, Weight] = {}  # variable key -> weight
        self.losses: Graph | None = None
        self.losses_library: Mapping[str, Graph] = {}
        self.texts: dict[int, tuple[Graph, TextProgram]] = {}
        self.pending = False  # made without weights, which must be loaded before a call
        self.warned = False
        self.whole = program  # before a piece was cut out of it, or one output was chosen
        self.is_piece = False
        self.published: Program | None = None  # before its sizes were freed
        self.sizes: dict[tuple[object, ...], Graph] = {}  # what was checked for which graph
        self.symbols: Any = None
        self.taps: dict[str, tuple[Any, Any]] = {}  # by the path of an inner layer: what it answers with, and on which inputs
        self.rewritten: dict[tuple[object, ...], Graph] = {}  # by what was worked into which graph

    def text_program(self, graph: Graph, string_inputs: list[int]) -> TextProgram:
        """`graph`, which takes strings, split into host and device part; made once."""
        if id(graph) not in self.texts:  # the graph is kept beside, so that its id stays its own
            self.texts[id(graph)] = (graph, TextProgram(graph, self.resources, string_inputs))
        return self.texts[id(graph)][1]

    def graph(self, variant: Variant, frozen: frozenset[str], policy: Policy) -> Graph:
        """What runs: the publisher's graph, with the user's policies and relaxations worked into it; each made once.

        Args:
            variant: of the program.
            frozen: keys of what a training step must not move.
            policy: of the user.
        """
        graph = variant.inference
        if policy.training and self.program.has_training_variant:
            if frozen not in variant._frozen:
                variant._frozen[frozen] = freeze_updates(variant.training, variant.updates, frozen)
            graph = variant._frozen[frozen]
        alone = policy.training and not self.program.has_training_variant
        by_batch = alone and policy.batch_norm == "training"
        rate = policy.dropout if alone else 0.0
        if not (by_batch or rate or policy.relaxed):
            return graph
        wanted = (id(graph), by_batch, policy.momentum, rate, policy.relaxed)
        if wanted not in self.rewritten:
            made = normalize_by_batch(graph, policy.momentum) if by_batch else graph
            if rate:
                specs = list(leaves(variant.trace.outputs))
                floats = [i for i, s in enumerate(specs) if isinstance(s, TensorSpec) and s.dtype.startswith("float")]
                made = drop_out(made, rate, tuple(floats))
            if policy.relaxed:
                made, _ = relax(made, self.resources.library, policy.relaxed)
            self.rewritten[wanted] = made
        return self.rewritten[wanted]

    def check_sizes(self, graph: Graph, variant: Variant, values: Sequence[Any]) -> None:
        """That `graph`, whose sizes were freed, runs on values of these shapes; asked once for each.

        Raises:
            SizeNotFreeError: it does not.
        """
        if self.published is None:
            return
        pools = ("variants", "training_variants")
        same = [p for pool in pools for v, p in zip(getattr(self.whole, pool), getattr(self.published, pool), strict=True)
                if v.trace.args == variant.trace.args and v.trace.kwargs == variant.trace.kwargs]  # fmt: skip
        given = [tuple(getattr(v, "shape", np.shape(v))) for v in values]
        key = (id(graph), *given)
        if key in self.sizes or not same:
            return
        specs = [spec for s in input_structures(self.published, same[0]) for spec in tensors(s)]
        if all(spec.dtype != "string" for spec in specs):
            check_sizes(graph, self.resources, specs, given)
        self.sizes[key] = graph  # kept, so that its id stays its own

    def sources(self, *, only_used: bool) -> list[VariableSource]:
        """The variables, in the order in which the graph uses them; those that it does not use come last, or not at all.

        Without `only_used` the order is that of the whole graph, whichever output is chosen: saved weights lie in it.
        """
        position: dict[str, int] = {}
        program = self.program if only_used else self.whole
        variants = (*program.variants, *program.training_variants)
        graphs = [*(v.inference for v in variants[:1]), *(v.training for v in variants)]
        for graph in {id(g): g for g in graphs}.values():  # they are often one
            for key in usage_order(graph, order(graph)):
                position.setdefault(key, len(position))
        sources = [s for s in self.artifact.variables.values() if s.dtype != "string"]
        if only_used:
            sources = [s for s in sources if s.key in position]
        return sorted(sources, key=lambda s: position.get(s.key, len(position)))

    def statistics(self) -> set[str]:
        """Keys of the moving statistics; of a piece, those that it has."""
        found: set[str] = set()
        program = self.program if self.is_piece else self.whole
        for variant in (*program.variants, *program.training_variants):
            found |= {u.key for u in variant.updates} | statistic_keys(variant.inference) | spelt_statistics(variant.inference)
        return found

    def start(self, compute_dtype: str) -> None:
        """Fills the lookup tables, and hangs the publisher's regularization losses on the variables that they are of.

        Raises:
            UnsupportedOpsError: the program has ops that thaw has not; all of them are named.
            UnfrozenGraphError: the program reads variables of which a GraphDef holds no values.
        """
        unset = load.without_values(self.artifact, self.program)
        if unset:
            raise UnfrozenGraphError(self.program.name, unset)
        self.resources.texts = {s.key: cache(s.read) for s in self.artifact.variables.values() if s.dtype == "string"}
        for metagraph in self.artifact.metagraphs if self.reads_tables() else ():
            for graph in metagraph.initializers:
                self.resources.plan(graph, "float32").run(Context(self.resources), [])
        serving = self.program.serving_variants
        if serving:
            self.resources.plan(serving[0].inference, compute_dtype)  # says at once which ops are missing
        if self.losses is not None:
            self._regularize(self.losses)

    def reads_tables(self) -> bool:
        """Whether anything of the program looks up a table."""
        seen: set[int] = set()
        stack = [v.inference for v in (*self.program.variants, *self.program.training_variants)]
        while stack:
            graph = stack.pop()
            if id(graph) in seen:
                continue
            seen.add(id(graph))
            for node in graph.nodes.values():
                if "Table" in node.op:
                    return True
                stack.extend(bodies(node, self.resources.library))
        return False

    def _regularize(self, losses: Graph) -> None:
        """A loss counts while one of its variables trains: it is the regularizer of the first of them that does.

        Keras adds up the regularizers of the variables that train at the moment, so flags toggle losses by themselves.
        """
        for index, output in enumerate(losses.outputs):
            single = Graph(f"regularization_loss_{index}", losses.nodes, (), (output,))
            reduced = ready(single, self.losses_library, updates=False)
            needed = [reduced.nodes[name] for name in needs(reduced)]
            keys = [str(n.attrs.get("shared_name") or n.name) for n in needed if n.op in HANDLES]
            if not all(key in self.weights for key in keys):
                continue  # of weights that a piece of the graph does not need
            weights = [self.weights[key] for key in dict.fromkeys(keys)]
            for weight in weights:
                weight.variable.regularizer = Regularizer(self, single, weight, weights, weight.variable.regularizer)


def choose(artifact: Artifact, choice: Choice) -> Runtime:
    """Metagraph, function, outputs and inputs by the arguments, checked as hub.KerasLayer does.

    Raises:
        HubArgumentError: the arguments contradict one another or the artifact.
        SelectionError: `outputs` or `inputs` pick nothing, or nothing that can run.
    """
    as_dict, key = choice.as_dict, choice.output_key
    if as_dict and key:
        raise HubArgumentError(
            f"Both signature_outputs_as_dict=True and output_key={key!r} are given", "one of the two", "Leave one out"
        )
    metagraph = load.choose_metagraph(artifact, choice.tags)
    name = load.choose_signature(metagraph, choice.signature, in_pieces=choice.outputs is not None)
    if as_dict and name is None:
        raise HubArgumentError(
            "signature_outputs_as_dict=True is given without a signature",
            "a signature beside it, since the module's `__call__` decides its own output",
            f"Pass signature= one of {listed(metagraph.signatures)}, or leave it out",
        )
    if (
        choice.signature is not None
        and choice.signature in metagraph.signatures
        and not (as_dict or key or choice.outputs)
        and artifact.format != "tf1_hub"
    ):
        outputs = metagraph.signatures[choice.signature].traces[0].outputs
        raise HubArgumentError(
            f"The signature {choice.signature!r} is given without saying which of its outputs to return",
            f"output_key= one of {listed(outputs if isinstance(outputs, dict) else [])}, or signature_outputs_as_dict=True",
            "Pass one of the two",
        )
    program = load.program(artifact, metagraph, name)
    if metagraph.whole is not None and choice.outputs is not None and choice.inputs is None:
        program = with_needed_inputs(program, choice.outputs)
    signature = name if name in metagraph.signatures else None
    _check_output_key(program, key)
    published = program
    if choice.free_sizes:
        program = free_sizes(program)
    whole = program
    # Later metagraphs go before; a chain, since most functions of a library are never converted into graphs.
    library = ChainMap(*(cast("MutableMapping[str, Graph]", m.library) for m in reversed(artifact.metagraphs)))

    def trace(graph: Graph, specs: list[TensorSpec]) -> list[Shape]:
        needed = {key: artifact.variables[key] for key in usage_order(graph, order(graph)) if key in artifact.variables}
        return found_shapes(graph, Resources(needed, library, artifact.files), specs)

    one = key or ("default" if signature is not None and artifact.format == "tf1_hub" and not as_dict else None)
    if choice.outputs is None and choice.inputs is None:
        program = only_output(program, one) if one is not None else program
    else:
        program = piece(program, choice.outputs, choice.inputs, output_key=one, arguments=choice.arguments, trace=trace)
    runtime = Runtime(artifact, program, signature)
    runtime.whole = whole
    runtime.is_piece = choice.outputs is not None or choice.inputs is not None
    if choice.free_sizes and choice.inputs is None:
        runtime.published = published
    runtime.resources = Resources({}, library, artifact.files)
    regularized = load.regularization(artifact, metagraph)
    if regularized is not None:
        runtime.losses, runtime.losses_library = regularized.regularization_losses, regularized.library
    return runtime


def _check_output_key(program: Program, key: str | None) -> None:
    if key is None:
        return
    outputs = program.variants[0].trace.outputs
    if not isinstance(outputs, dict):
        raise HubArgumentError(
            f"output_key={key!r} is given, but the output is not a dict", "an output that is a dict", "Leave output_key out"
        )
    if key not in outputs:
        raise HubArgumentError(f"There is no output {key!r}", f"one of {listed(outputs)}", "Pass one of these as output_key")


class Regularizer:
    """A publisher's regularization loss, as the regularizer of one of the variables that it is of."""

    def __init__(self, runtime: Runtime, loss: Graph, weight: Weight, weights: list[Weight], before: Any) -> None:
        self.runtime, self.loss, self.weight, self.weights, self.before = runtime, loss, weight, weights, before

    def __call__(self, value: Any) -> Any:
        """The loss, if `weight` is the first of its variables that trains."""
        total = self.before(value) if self.before is not None else 0.0
        first = next((w for w in self.weights if w.variable.trainable), None)
        if first is not self.weight:
            return total
        resources = self.runtime.resources
        dtype = self.weight.variable.dtype  # float64 under that policy; the weights themselves are never narrowed
        (loss,) = resources.plan(self.loss, dtype).run(Context(resources, compute_dtype=dtype), [])
        return total + keras.ops.cast(loss, keras.config.floatx())  # as Keras' losses are, whatever the weights
