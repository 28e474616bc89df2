"""A piece of a program: other outputs, from its middle, and other inputs, further in, so that the graph before them is cut away.

What a name means is `thaw.graph.tap`'s business. The training variants are cut at the tensors that bear the same names; where one
lacks such a tensor it is left out, and the program says which. Imports this room only.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from thaw.errors import InsideLoopError, PieceError, UnknownTensorError
from thaw.graph.frames import EXIT, MERGE, NEXT, SWITCH, V1_CONTROL_FLOW, find_frames, sort
from thaw.graph.inline_functions import inline_functions
from thaw.graph.ir import Graph, Node, Shape, Structure, Tensor, TensorSpec
from thaw.graph.moving_statistics import variable_key
from thaw.graph.program import Program, Variant, input_structures, is_for_training, leaves, ready, same_constant, tensors
from thaw.graph.prune import bodies, prune, reach
from thaw.graph.tap import dtype_of, find_tensor, find_twin, shape_of, tap

Wanted: TypeAlias = str | Sequence[str] | Mapping[str, str]
"""Tensors by name: one, several as a list, or several under keys of their own."""

CALL = re.compile(r"(Stateful)?PartitionedCall(_\d+)?|~")
"""Parts of a node's name that come from calls, and not from a publisher's scopes."""


def piece(
    program: Program,
    outputs: Wanted | None = None,
    inputs: Wanted | None = None,
    *,
    output_key: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    trace: Callable[[Graph, list[TensorSpec]], list[Shape]] | None = None,
) -> Program:
    """`program` from the tensors `inputs` to the tensors `outputs`.

    Args:
        program: whole.
        outputs: what comes out; None: what came out before.
        inputs: what is fed; None: what was fed before.
        output_key: the only output that counts, where the program's own are kept and are a dict.
        arguments: values of parameters that are given with every call: they stay inputs where they are still needed.
        trace: finds the shapes of what a graph gives for inputs of those specs; asked where the exporter wrote none down.

    Returns:
        A program that takes named tensors: the one name, or each of the list, or the keys of the dict.

    Raises:
        UnknownTensorError: a name picks no tensor of the inference graph, or several.
        InsideLoopError: a tensor that a loop or branch makes anew each time.
        PieceError: an input that no output is computed from, or an output that needs more than what is given.
    """
    first = program.serving_variants[0]
    flat = inline_functions(first.trace.graph, first.library)
    made: Structure
    if outputs is None:
        made, out = _own_outputs(first, flat, output_key if inputs is not None else None)
        named_out = None
    else:
        named_out = [_find(flat, name, first.library) for name in _names(outputs)]
        out = named_out
        made = _specs(outputs, named_out, flat)
    named_in = None if inputs is None else [_find(flat, name, first.library) for name in _names(inputs)]
    wanted_in = None if inputs is None or named_in is None else dict(zip(_keys(inputs), named_in, strict=True))
    shapes = {} if named_in is None else _shapes(flat, named_in, program, first, trace)
    cut = tap(flat, out)
    if wanted_in is not None:
        _check(flat, first, program, wanted_in, out, set(arguments or {}))
        cut, _ = _fed(flat, list(wanted_in.values()), out)
    needed = prune(cut, first.library, updates=False)
    kept = frozenset(k for n in needed.nodes.values() if (k := variable_key(needed, Tensor(n.name))) is not None)
    lost: dict[str, None] = {}

    def cut_variant(variant: Variant) -> Variant | None:
        graph = inline_functions(variant.trace.graph, variant.library)
        found: list[list[Tensor]] = []
        for tensors_of_first in (named_out, named_in):
            twins = [t if variant is first else find_twin(graph, t) for t in tensors_of_first or ()]
            names = [t.node for t in tensors_of_first or ()]
            lost.update((name, None) for name, twin in zip(names, twins, strict=True) if twin is None)
            found.append([t for t in twins if t is not None])
            if len(found[-1]) != len(names):
                return None
        if outputs is None:
            trace_outputs, out = _own_outputs(variant, graph, output_key if inputs is not None else None)
        else:
            trace_outputs, out = made, found[0]
        if wanted_in is None:
            tapped = replace(variant.trace, outputs=trace_outputs, graph=tap(graph, out))
            return Variant(tapped, variant.library, variant.update_ops, kept)
        fed = dict(zip(wanted_in, found[1], strict=True))
        known = dict(zip(found[1], shapes.values(), strict=True))
        return _cut(program, variant, graph, fed, out, trace_outputs, kept, arguments or {}, known)

    if inputs is None:
        variants = tuple(v for v in map(cut_variant, program.variants) if v is not None)
        training = tuple(v for v in map(cut_variant, program.training_variants) if v is not None)
        missing = tuple(lost) if program.has_training_variant else ()
        return Program(program.name, program.parameters, variants, training, missing)
    serving = _of_these_constants(program, program.serving_variants, arguments or {})
    trained = program.training_variants or tuple(v for v in program.variants if is_for_training(program, v))
    variants = tuple(v for v in map(cut_variant, serving) if v is not None)
    lost.clear()
    training = tuple(v for v in map(cut_variant, _of_these_constants(program, trained, arguments or {})) if v is not None)
    return Program(program.name, (), variants, training, () if training else tuple(lost))


def _shapes(
    flat: Graph,
    wanted: Sequence[Tensor],
    program: Program,
    variant: Variant,
    trace: Callable[[Graph, list[TensorSpec]], list[Shape]] | None,
) -> dict[Tensor, Shape]:
    """The shapes of the new inputs: as written down, else as traced, else unknown."""
    shapes = {tensor: shape_of(flat, tensor) for tensor in wanted}
    unknown = [t for t in wanted if shapes[t] is None and t not in flat.inputs]
    specs = [spec for _, spec in _flat_inputs(program, variant)]
    if trace is not None and unknown and all(s.shape is not None and s.dtype != "string" for s in specs):
        traced = trace(ready(tap(flat, unknown), variant.library, updates=False), specs)
        shapes.update(zip(unknown, traced, strict=True))
    return shapes


def _names(wanted: Wanted) -> list[str]:
    return [wanted] if isinstance(wanted, str) else list(wanted.values() if isinstance(wanted, Mapping) else wanted)


def _keys(wanted: Wanted) -> list[str]:
    return [wanted] if isinstance(wanted, str) else list(wanted)


def _specs(wanted: Wanted, found: Sequence[Tensor], flat: Graph) -> Structure:
    """The structure of what comes out: as `wanted` is."""
    specs: list[Structure] = [
        TensorSpec(name, dtype_of(flat, t) or "float32", shape_of(flat, t)) for name, t in zip(_names(wanted), found, strict=True)
    ]
    if isinstance(wanted, str):
        return specs[0]
    return dict(zip(wanted, specs, strict=True)) if isinstance(wanted, Mapping) else specs


def _own_outputs(variant: Variant, flat: Graph, key: str | None) -> tuple[Structure, list[Tensor]]:
    """What comes out of `variant` by itself; only the output `key` of a dict where one is chosen."""
    outputs = variant.trace.outputs
    if key is None or not isinstance(outputs, dict) or key not in outputs:
        return outputs, list(flat.outputs)
    position = sum(_count(outputs[name]) for name in outputs if name < key)
    return {key: outputs[key]}, list(flat.outputs[position : position + _count(outputs[key])])


def _count(structure: Structure) -> int:
    """How many tensors a structure flattens to."""
    return sum(1 for _ in tensors(structure))


def only_output(program: Program, key: str) -> Program:
    """`program` with the one output `key` where its outputs are a dict, so that what only the others need does not run.

    What goes in stays: a caller gives what the publisher said. Updates stay too, as they do not hang on an output.
    """

    def chosen(variant: Variant) -> Variant:
        if not isinstance(variant.trace.outputs, dict) or len(variant.trace.outputs) == 1 or key not in variant.trace.outputs:
            return variant
        outputs, out = _own_outputs(variant, variant.trace.graph, key)
        trace = replace(variant.trace, outputs=outputs, graph=tap(variant.trace.graph, out))
        return Variant(trace, variant.library, variant.update_ops, variant.kept, variant.absent)

    variants, training = tuple(map(chosen, program.variants)), tuple(map(chosen, program.training_variants))
    return replace(program, variants=variants, training_variants=training)


def with_needed_inputs(program: Program, outputs: Wanted) -> Program:
    """`program` of a graph that nobody signed, with those of its placeholders that the tensors `outputs` are computed from.

    Raises:
        UnknownTensorError: a name picks no tensor, or several.
        InsideLoopError: a tensor that a loop or branch makes anew each time.
    """
    (variant,) = program.variants
    trace = variant.trace
    flat = inline_functions(trace.graph, variant.library)
    needed = reach(flat, [_find(flat, name, variant.library).node for name in _names(outputs)])
    specs = {name: spec for name, spec in trace.kwargs.items() if name in needed}
    graph = replace(trace.graph, inputs=tuple(Tensor(name) for name in sorted(specs)))
    return replace(program, variants=(replace(variant, trace=replace(trace, kwargs=specs, graph=graph)),))


def _find(flat: Graph, name: str, library: Mapping[str, Graph]) -> Tensor:
    """The tensor of that name, outside of loops and branches."""
    try:
        tensor = find_tensor(flat, name)
    except UnknownTensorError:
        for node in flat.nodes.values():
            for body in bodies(node, library):
                leaf = name.rpartition("/")[2].partition(":")[0]
                if name.startswith(f"{node.name}/") and any(n.rpartition("/")[2] == leaf for n in body.nodes):
                    raise InsideLoopError(name, node.op, node.name) from None
        raise
    inside = _inside(flat, [tensor.node]).get(tensor.node)
    if inside is not None:
        raise InsideLoopError(name, *inside)
    return tensor


def _inside(flat: Graph, seeds: Sequence[str]) -> dict[str, tuple[str, str]]:
    """What `seeds` need that stands inside of a loop or branch of TensorFlow 1 -> ("loop" or "condition", where)."""
    if not any(n.op in V1_CONTROL_FLOW for n in flat.nodes.values()):
        return {}
    ordered = sort(flat.nodes, seeds, flat.name)
    frames = find_frames(flat.nodes, ordered, flat.name)
    found: dict[str, tuple[str, str]] = {}
    switches: dict[str, tuple[str, ...]] = {}  # of the conditions and loops around a node, the innermost last
    for name in ordered:
        node = flat.nodes[name]
        above = max((switches.get(t.node, ()) for t in node.inputs), key=len, default=())
        if node.op in SWITCH:
            above = (*above, name)
        elif node.op in EXIT or (node.op in MERGE and not any(flat.nodes[t.node].op in NEXT for t in node.inputs)):
            above = above[:-1]
        switches[name] = above
        if frames[name]:
            found[name] = ("loop", frames[name][-1])
        elif above:
            found[name] = ("condition", above[-1])
    return found


def tappable(program: Program) -> list[Node]:
    """The nodes whose outputs `piece` can take, in the order in which they run."""
    variant = program.serving_variants[0]
    flat = inline_functions(variant.trace.graph, variant.library)
    supplied = set(flat.inputs)
    seeds = [t.node for t in flat.outputs if t not in supplied]
    inside, needed = _inside(flat, seeds), reach(flat, seeds, supplied.__contains__)
    return [flat.nodes[n] for n in sort(flat.nodes, seeds, flat.name) if n in needed and n not in inside]


def output_of_scope(program: Program, paths: Sequence[str], keys: Collection[str]) -> str | None:
    """The name of what an inner layer answers with: the last tensor of its scope that the graph around it uses.

    Args:
        program: whole.
        paths: of the scope, as in the names of its variables, and of the wider ones that hold no others; the first that nodes
            have in their names counts.
        keys: of the variables in it.

    Returns:
        "node" or "node:output", for `piece`. Where no node has the scope in its name, what the weights themselves flow into; None
        where nothing outside of loops and branches is computed from them.
    """
    variant = program.serving_variants[0]
    flat = inline_functions(variant.trace.graph, variant.library)
    supplied = set(flat.inputs)
    seeds = [t.node for t in flat.outputs if t not in supplied]
    needed = reach(flat, seeds, supplied.__contains__)
    ordered = [n for n in sort(flat.nodes, seeds, flat.name) if n in needed]
    inside = _inside(flat, seeds)
    weights = {n for n in ordered if variable_key(flat, Tensor(n)) in keys}
    of_weights, of_inputs, direct = set(weights), {t.node for t in flat.inputs}, set()
    for _ in range(2 if inside else 1):  # a loop leads back
        for name in ordered:
            sources = {t.node for t in flat.nodes[name].inputs}
            of_weights |= {name} if sources & of_weights else set()
            of_inputs |= {name} if sources & of_inputs else set()
            direct |= {name} if sources & weights and name not in weights else set()
    users: dict[str, list[tuple[Tensor, str]]] = {}
    for name in ordered:
        for tensor in flat.nodes[name].inputs:
            users.setdefault(tensor.node, []).append((tensor, name))
    for tensor in flat.outputs:
        users.setdefault(tensor.node, []).append((tensor, ""))
    computed = [n for n in ordered if n in of_weights and n in of_inputs and n not in inside]
    spelt = {n: "/" + "".join(f"{part}/" for part in n.split("/") if not CALL.fullmatch(part)) for n in computed}
    scopes = [{n for n in computed if f"/{path}/" in spelt[n]} for path in paths]
    for candidates in (*scopes, direct):
        for name in reversed(computed):
            if name not in candidates:
                continue
            left = [t for t, user in users.get(name, ()) if user not in candidates]
            floats = [t for t in left if (dtype_of(flat, t) or "float32").startswith(("float", "bfloat", "half"))]
            if floats:
                tensor = min(floats)
                return f"{tensor.node}:{tensor.output}" if tensor.output else tensor.node
    return None


def _flat_inputs(program: Program, variant: Variant) -> Iterator[tuple[str, TensorSpec]]:
    """The parameter or input name and the spec of each input of the variant's graph."""
    bound = program.bound(variant.trace)
    names = [n for n in bound if n not in variant.trace.kwargs] + sorted(n for n in bound if n in variant.trace.kwargs)
    for name, structure in zip(names, input_structures(program, variant), strict=True):
        for spec in tensors(structure):
            yield name, spec


def _check(
    flat: Graph, variant: Variant, program: Program, fed: Mapping[str, Tensor], out: Sequence[Tensor], given: Collection[str]
) -> None:
    """That the outputs need all of the inputs, and nothing else."""
    cut, placed = _fed(flat, list(fed.values()), out)
    needed = reach(cut, [t.node for t in cut.outputs], {*placed}.__contains__)
    consumed = {t for n in needed for t in cut.nodes[n].inputs} | set(cut.outputs)
    unused = [name for name, place in zip(fed, placed, strict=True) if place not in consumed]
    names = [name for name, _ in _flat_inputs(program, variant)]
    missing = [
        f"{name} ({tensor.node!r})" if name != tensor.node else name
        for name, tensor in zip(names, flat.inputs, strict=True)
        if tensor in consumed and tensor not in placed and name not in given and name != "training"
    ]
    if unused or missing:
        raise PieceError(unused, missing, [t.node for t in out])


def _fed(flat: Graph, fed: Sequence[Tensor], out: Sequence[Tensor]) -> tuple[Graph, list[Tensor]]:
    """`flat` with placeholders where `fed` stood and `out` as outputs; and the placeholders, in order."""
    nodes = dict(flat.nodes)
    used = {t for n in flat.nodes.values() for t in n.inputs} | set(out)
    moved: dict[Tensor, Tensor] = {}
    for tensor in fed:
        attrs = {"dtype": dtype_of(flat, tensor) or "float32", "shape": shape_of(flat, tensor)}
        others = tensor.output or any(t.node == tensor.node and t != tensor for t in used)
        name = f"{tensor.node}/fed_{tensor.output}" if others else tensor.node
        nodes[name] = Node(name, "Placeholder", (), (), attrs)
        moved[tensor] = Tensor(name)
    for name, node in nodes.items():
        if any(t in moved for t in node.inputs):
            nodes[name] = replace(node, inputs=tuple(moved.get(t, t) for t in node.inputs))
    return replace(flat, nodes=nodes, outputs=tuple(moved.get(t, t) for t in out)), [moved[t] for t in fed]


def _cut(
    program: Program,
    variant: Variant,
    flat: Graph,
    fed: Mapping[str, Tensor],
    out: Sequence[Tensor],
    outputs: Structure,
    kept: frozenset[str],
    arguments: Mapping[str, Any],
    shapes: Mapping[Tensor, Shape],
) -> Variant:
    """`variant` with other inputs; arguments that are still needed stay inputs, the flag `training` becomes a constant."""
    graph, placed = _fed(flat, list(fed.values()), out)
    own = dict(zip(flat.inputs, _flat_inputs(program, variant), strict=True))
    specs: dict[str, TensorSpec] = {}
    places: dict[str, Tensor] = {}
    for (key, tensor), place in zip(fed.items(), placed, strict=True):
        dtype, shape = dtype_of(flat, tensor) or "float32", shapes[tensor]
        if tensor in own:
            dtype, shape = own[tensor][1].dtype, own[tensor][1].shape
        specs[key], places[key] = TensorSpec(key, dtype, shape), place
    needed = reach(graph, [t.node for t in graph.outputs], {*placed}.__contains__)
    nodes = dict(graph.nodes)
    for tensor, (name, spec) in own.items():
        if tensor in placed or tensor.node not in needed:
            continue
        if name == "training":
            flag = np.asarray(is_for_training(program, variant))
            nodes[tensor.node] = Node(tensor.node, "Const", (), (), {"value": flag, "dtype": "bool"})
        elif name in arguments:
            specs[name], places[name] = spec, tensor
    graph = replace(graph, nodes=nodes, inputs=tuple(places[k] for k in sorted(places)))
    sources = {t.node for t in own} - {t.node for t in places.values()} - {n for n in nodes if nodes[n].op == "Const"}
    trace = replace(variant.trace, args=(), kwargs=dict(specs), outputs=outputs, graph=graph)
    return Variant(trace, variant.library, variant.update_ops, kept, frozenset(sources))


def _of_these_constants(program: Program, variants: Sequence[Variant], arguments: Mapping[str, Any]) -> tuple[Variant, ...]:
    """The variants that were made with the Python constants that `arguments` and the defaults say."""
    defaults = {p.name: p.default for p in program.parameters if p.has_default}

    def fits(variant: Variant) -> bool:
        return all(
            same_constant(arguments.get(name, defaults.get(name)), expected)
            for name, expected in program.bound(variant.trace).items()
            if name != "training" and not any(True for _ in leaves(expected))
        )

    return tuple(v for v in variants if fits(v)) or tuple(variants)
