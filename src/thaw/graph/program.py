"""A program: one entry point of an artifact, with its inference and training variants, and the choice among them.

A signature has one trace. A callable has one for each combination of Python arguments and input specs that its publisher
called it with. A TF1 Hub module has one a metagraph. All become variants of one program over the same variables. A variant's
graph is made ready on first use: calls inlined, v1 control flow made functional, pruned. Imports this room only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from thaw.errors import InputError
from thaw.graph.artifact import Function, Parameter, Trace
from thaw.graph.check_bodies import check_bodies
from thaw.graph.functionalize_control_flow import functionalize
from thaw.graph.inline_functions import inline_functions
from thaw.graph.ir import CompositeSpec, Graph, Shape, Structure, TensorSpec
from thaw.graph.moving_statistics import Update, find_updates
from thaw.graph.prune import prune, reach, real_updates

V1_CONTROL_FLOW = frozenset({"Switch", "Merge", "Enter", "RefSwitch", "RefMerge", "RefEnter"})


def ready(graph: Graph, library: Mapping[str, Graph], *, updates: bool) -> Graph:
    """`graph` as it runs: calls inlined, v1 control flow functional, pruned to outputs and (if `updates`) assignments.

    Control flow comes before pruning: the constants of a branch hang on its switch by control edges alone.
    """
    return _ready(inline_functions(graph, library), library, updates=updates)


def _ready(flat: Graph, library: Mapping[str, Graph], *, updates: bool) -> Graph:
    """`ready` of a graph whose calls are inlined already."""
    if any(node.op in V1_CONTROL_FLOW for node in flat.nodes.values()):
        wanted = real_updates(flat, library) if updates else ()
        flat = functionalize(replace(flat, updates=wanted))
    pruned = prune(flat, library, updates=updates)
    check_bodies(pruned, library)
    return pruned


@dataclass
class Variant:
    """One trace made ready to run.

    Attributes:
        trace: as read.
        library: the functions of its metagraph.
        update_ops: names of nodes to run for their effect besides the trace's own (TF1's UPDATE_OPS).
        kept: keys of the variables whose updates run, where the graph is tapped in the middle; None: all.
        absent: names of inputs of the whole graph that this piece of it does without; no update may need one.
    """

    trace: Trace
    library: Mapping[str, Graph]
    update_ops: tuple[str, ...] = ()
    kept: frozenset[str] | None = None
    absent: frozenset[str] = frozenset()
    _frozen: dict[frozenset[str], Graph] = field(default_factory=dict)

    @cached_property
    def _inlined(self) -> Graph:
        """The graph with its updates, calls inlined."""
        updates = tuple(dict.fromkeys((*self.trace.graph.updates, *self.update_ops)))
        return inline_functions(replace(self.trace.graph, updates=updates), self.library)

    @cached_property
    def inference(self) -> Graph:
        """The graph without updates."""
        return _ready(self._inlined, self.library, updates=False)

    @cached_property
    def training(self) -> Graph:
        """The graph with its updates; the same one where there are none."""
        if not real_updates(self._inlined, self.library):
            return self.inference
        graph = _ready(self._inlined, self.library, updates=True)
        if self.kept is None:
            return graph
        kept = tuple(u.node for u in find_updates(graph) if u.key in self.kept and self._can_run(graph, u.node))
        return prune(replace(graph, updates=kept), self.library)

    def _can_run(self, graph: Graph, node: str) -> bool:
        """Whether `node` needs no input that was cut away."""
        return not self.absent or not self.absent & set(reach(graph, [node], set(graph.inputs).__contains__))

    @cached_property
    def updates(self) -> tuple[Update, ...]:
        """What the training graph assigns."""
        return find_updates(self.training)


@dataclass(frozen=True)
class Program:
    """One entry point.

    Attributes:
        name: of the signature or callable.
        parameters: of a callable; empty for a signature.
        variants: for calls that are not for training, and (callables) for those that are.
        training_variants: of a TF1 module, from the metagraph tagged {"train"}; of a piece of a callable, those for training;
            empty elsewhere.
        lost: names of tensors, of a piece of a program, that no variant for training has.
    """

    name: str
    parameters: tuple[Parameter, ...]
    variants: tuple[Variant, ...]
    training_variants: tuple[Variant, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def is_signature(self) -> bool:
        """Whether it takes named tensors (and not Python parameters)."""
        return not self.parameters

    @property
    def takes_training(self) -> bool:
        """Whether it is a callable with a parameter `training`."""
        return any(p.name == "training" for p in self.parameters)

    @cached_property
    def has_training_variant(self) -> bool:
        """Whether the publisher exported what a training step needs (batch statistics, dropout)."""
        if self.training_variants:
            return True
        return any(_training_of(self, v.trace) is True or _is_spec(_training_of(self, v.trace)) for v in self.variants)

    @cached_property
    def serving_variants(self) -> tuple[Variant, ...]:
        """The variants for calls that are not for training; all of them where every one is for training."""
        serving = tuple(v for v in self.variants if not self.takes_training or _training_of(self, v.trace) is not True)
        return serving or self.variants

    def bound(self, trace: Trace) -> dict[str, Structure]:
        """The structures that `trace` was made with, by parameter name."""
        names = [p.name for p in self.parameters]
        result: dict[str, Structure] = {}
        for index, argument in enumerate(trace.args):
            result[names[index] if index < len(names) else f"argument_{index}"] = argument
        result.update(trace.kwargs)
        return result

    def select(self, values: Mapping[str, Any], training: bool) -> tuple[Variant, list[Any]]:
        """The variant that fits `values` (by parameter or input name), and its inputs, flat, in the graph's order.

        Args:
            values: tensors, arrays, nested structures of them, and Python constants.
            training: whether the call is for training; a variant for training is taken where there is one.

        Raises:
            InputError: none fits; says what was given and what each takes.
        """
        pools: list[tuple[Variant, ...]] = [self.variants]
        wanted: list[object] = [None]
        if training and self.training_variants:
            pools = [self.training_variants]
        elif self.takes_training:
            wanted = [True, False, None] if training else [False, None, True]
        problems: list[str] = []
        for want in wanted:
            for variant in pools[0]:
                given = dict(values)
                if self.takes_training:
                    if not _is_spec(_training_of(self, variant.trace)) and _training_of(self, variant.trace) is not want:
                        continue
                    given["training"] = np.asarray(bool(want)) if _is_spec(_training_of(self, variant.trace)) else want
                trouble, flat = self._fit(variant.trace, given)
                if not trouble:
                    return variant, flat
                problems.append("; ".join(trouble))
        problem = problems[0] if problems else "it has no trace"
        raise InputError(self.name, problem, self.describe(), lengths="has shape" in problem)

    def _fit(self, trace: Trace, values: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
        """What keeps `values` from being inputs of `trace` (empty where they fit), and the flat inputs."""
        expected = self.bound(trace)
        defaults = {p.name: p.default for p in self.parameters if p.has_default}
        trouble: list[str] = []
        flat: list[Any] = []
        given = dict(values)
        for name in given:
            if name not in expected and not (name in defaults and same_constant(given[name], defaults[name])):
                trouble.append(f"there is no input named {name!r} (there are {', '.join(map(repr, expected)) or 'none'})")
        order = [n for n in expected if n not in trace.kwargs] + sorted(n for n in expected if n in trace.kwargs)
        for name in order:
            if name not in given and name not in defaults and any(True for _ in leaves(expected[name])):
                trouble.append(f"the input {name!r} is missing")
                continue
            _match(name, expected[name], given.get(name, defaults.get(name)), trouble, flat)
        return trouble, flat

    def describe(self) -> str:
        """What it takes, in words, alternatives joined by "or"."""
        texts = []
        for variant in self.variants:
            parts = [f"{name}: {describe(s)}" for name, s in self.bound(variant.trace).items() if any(True for _ in leaves(s))]
            texts.append(", ".join(parts))
        return " or ".join(dict.fromkeys(f"({t})" for t in texts))


def _training_of(program: Program, trace: Trace) -> Structure:
    """What `trace` was made with as `training`."""
    bound = program.bound(trace)
    if "training" in bound:
        return bound["training"]
    return next((p.default for p in program.parameters if p.name == "training" and p.has_default), None)


def is_for_training(program: Program, variant: Variant) -> bool:
    """Whether `variant` is, or can be, for training: traced so, of a metagraph for training, or with a flag to feed."""
    flag = _training_of(program, variant.trace)
    return flag is True or _is_spec(flag) or any(v is variant for v in program.training_variants)


def _is_spec(structure: Structure) -> bool:
    return isinstance(structure, (TensorSpec, CompositeSpec))


def leaves(structure: Structure) -> Iterator[TensorSpec | CompositeSpec]:
    """The specs of a structure, flattened as TensorFlow does: dicts by sorted key."""
    if isinstance(structure, (TensorSpec, CompositeSpec)):
        yield structure
    elif isinstance(structure, dict):
        for key in sorted(structure):
            yield from leaves(structure[key])
    elif isinstance(structure, (list, tuple)):
        for part in structure:
            yield from leaves(part)


def tensors(structure: Structure) -> Iterator[TensorSpec]:
    """The dense specs of a structure, composites as their components."""
    for leaf in leaves(structure):
        if isinstance(leaf, CompositeSpec):
            yield from leaf.components
        else:
            yield leaf


def rebuild(structure: Structure, values: Iterator[Any], compose: Callable[[CompositeSpec, list[Any]], Any]) -> Any:
    """`structure` with each spec replaced by the next of `values`; composites are made by `compose`."""
    if isinstance(structure, TensorSpec):
        return next(values)
    if isinstance(structure, CompositeSpec):
        return compose(structure, [next(values) for _ in structure.components])
    if isinstance(structure, dict):
        built = {key: rebuild(structure[key], values, compose) for key in sorted(structure)}
        return {key: built[key] for key in structure}
    if isinstance(structure, tuple):
        return tuple(rebuild(part, values, compose) for part in structure)
    if isinstance(structure, list):
        return [rebuild(part, values, compose) for part in structure]
    return structure


def describe(structure: Structure) -> str:
    """A structure in words: "float32 (batch, 224, 224, 3)", lists and dicts bracketed."""
    if isinstance(structure, TensorSpec):
        return f"{structure.dtype} {describe_shape(structure.shape)}"
    if isinstance(structure, CompositeSpec):
        return f"{structure.kind} {structure.dtype} {describe_shape(structure.shape)}"
    if isinstance(structure, dict):
        return "{" + ", ".join(f"{key!r}: {describe(value)}" for key, value in structure.items()) + "}"
    if isinstance(structure, (list, tuple)):
        return "[" + ", ".join(describe(part) for part in structure) + "]"
    return repr(structure)


def describe_shape(shape: Shape) -> str:
    """A shape in words; None stands for any length."""
    if shape is None:
        return "(any shape)"
    return "(" + ", ".join("None" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"


def same_constant(given: Any, expected: Any) -> bool:
    """Whether two Python constants are equal; a tensor is never one."""
    if given is expected:
        return True
    if isinstance(given, (bool, int, float, str, bytes)) and isinstance(expected, (bool, int, float, str, bytes)):
        return bool(given == expected)
    if isinstance(given, (list, tuple)) and isinstance(expected, (list, tuple)) and len(given) == len(expected):
        return all(same_constant(g, e) for g, e in zip(given, expected, strict=True))
    if isinstance(given, dict) and isinstance(expected, dict) and set(given) == set(expected):
        return all(same_constant(given[k], expected[k]) for k in given)
    return False


def _match(name: str, expected: Structure, value: Any, trouble: list[str], flat: list[Any]) -> None:
    """Appends the flat inputs that `value` gives for `expected` to `flat`, and what does not fit to `trouble`."""
    if isinstance(expected, TensorSpec):
        if value is None:
            trouble.append(f"the input {name!r} is missing")
            return
        _match_tensor(name, expected, value, trouble)
        flat.append(value)
    elif isinstance(expected, CompositeSpec):
        parts = value if isinstance(value, (list, tuple)) else [value]
        if len(parts) != len(expected.components):
            trouble.append(f"{name!r} is {expected.kind} and travels as {len(expected.components)} tensors, got {len(parts)}")
            return
        for component, part in zip(expected.components, parts, strict=True):
            _match(f"{name}.{component.name}", component, part, trouble, flat)
    elif isinstance(expected, dict):
        if not isinstance(value, Mapping):
            trouble.append(f"{name!r} must be a dict with the keys {sorted(expected)}, got {type(value).__name__}")
            return
        if set(value) != set(expected):
            trouble.append(f"{name!r} has the keys {sorted(map(str, value))}, expected {sorted(expected)}")
            return
        for key in sorted(expected):
            _match(f"{name}[{key!r}]", expected[key], value[key], trouble, flat)
    elif isinstance(expected, (list, tuple)) and any(True for _ in leaves(expected)):
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) != len(expected):
            size = len(value) if isinstance(value, Sequence) else type(value).__name__
            trouble.append(f"{name!r} must be a list of {len(expected)} tensors, got {size}")
            return
        for index, (part, given) in enumerate(zip(expected, value, strict=True)):
            _match(f"{name}[{index}]", part, given, trouble, flat)
    elif not same_constant(value, expected):
        trouble.append(f"{name!r} is {value!r}, it was exported with {expected!r}")


KINDS = {"float": "f", "bfloat": "f", "half": "f", "int": "i", "uint": "i", "bool": "b", "string": "s", "complex": "c"}


def kind(dtype: str) -> str:
    """The kind of a dtype: floating, integer, bool, string, complex; others are their own kind."""
    return KINDS.get(dtype.rstrip("0123456789"), dtype)


def _match_tensor(name: str, spec: TensorSpec, value: Any, trouble: list[str]) -> None:
    scalar = isinstance(value, (bool, int, float))
    shape = tuple(getattr(value, "shape", np.shape(value)))
    if spec.dtype == "string" and spec.shape is not None and len(shape) == len(spec.shape) + 2:
        return  # strings packed into bytes
    value = value if hasattr(value, "dtype") else np.asarray(value)
    dtype = str(value.dtype).removeprefix("torch.")
    dtype = dtype.split("'")[1] if "'" in dtype else dtype  # <dtype: 'float32'>
    dtype = "string" if dtype == "object" or dtype.startswith(("<U", "|S")) else dtype
    if kind(dtype) != kind(spec.dtype) and not (scalar and kind(spec.dtype) in {"f", "i"} and kind(dtype) == "i"):
        trouble.append(f"{name!r} is {dtype}, expected {spec.dtype}")
    shape = tuple(getattr(value, "shape", np.shape(value)))
    if spec.shape is None:
        return
    fits = len(shape) == len(spec.shape) and all(
        a is None or b is None or int(a) == b for a, b in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        trouble.append(f"{name!r} has shape {describe_shape(shape)}, expected {describe_shape(spec.shape)}")


def input_structures(program: Program, variant: Variant) -> Iterator[Structure]:
    """The structures of a variant's arguments, in the order of its flat inputs."""
    yield from variant.trace.args
    for name in sorted(variant.trace.kwargs):
        yield variant.trace.kwargs[name]


def program_of(
    function: Function, library: Mapping[str, Graph], train: tuple[Function, Mapping[str, Graph], tuple[str, ...]] | None = None
) -> Program:
    """The program of a function; `train` is its twin in the metagraph for training: function, library, update ops."""
    variants = tuple(Variant(trace, library) for trace in function.traces)
    training: tuple[Variant, ...] = ()
    if train is not None:
        twin, twin_library, update_ops = train
        training = tuple(Variant(trace, twin_library, update_ops) for trace in twin.traces)
    return Program(function.name, function.parameters, variants, training)
