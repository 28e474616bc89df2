"""Whether a graph that was published for one size runs at another: found by tracing it on symbols, before anything is computed.

What fails is told with the op's name. What would not fail, but put parts of one example into another's row (a Reshape to (-1, 49)
of features that have become more), is found by comparing with the published size. Knows no layer's arguments.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from thaw.errors import GraphError, SizeNotFreeError, ThawError
from thaw.graph.free_sizes import constant_target
from thaw.graph.ir import Graph, Shape, Tensor, TensorSpec
from thaw.graph.prune import prune
from thaw.graph.tap import tap
from thaw.lowering.run import Context, Resources, needs

POOLS = frozenset({"AvgPool", "MaxPool", "MaxPoolV2", "Conv2D", "DepthwiseConv2dNative", "AvgPool3D", "MaxPool3D", "Conv3D"})
"""Ops that give nothing where their window is larger than the image."""

EXAMPLE = 3
"""Stands for a length that is not known while a step is traced."""

Lengths = tuple[int, ...]


class _Weight:
    """A symbol in the place of a variable."""

    def __init__(self, value: Any) -> None:
        self.value, self.shape = value, tuple(value.shape)
        self.dtype = keras.backend.standardize_dtype(value.dtype)

    def assign(self, value: Any) -> None:
        """Forgets `value`: only shapes are asked for."""


class _Shapes(keras.Operation):  # type: ignore[misc]
    """Runs a graph on symbols; weights are symbols, too."""

    def call(self, feeds: Sequence[Any], weights: Sequence[Any]) -> list[Any]:
        symbols = {key: _Weight(weight) for key, weight in zip(self.keys, weights, strict=True)}
        resources = Resources(symbols, self.library, self.files)
        values = resources.plan(self.graph, "float32").run(Context(resources), list(feeds))
        return [keras.ops.convert_to_tensor(value) for value in values]


def _traced(graph: Graph, resources: Resources, feeds: Sequence[tuple[Lengths, str]]) -> list[Lengths]:
    """The shapes of the outputs of `graph` for inputs of those shapes and dtypes."""
    operation = _Shapes()
    operation.graph, operation.library, operation.files = graph, resources.library, resources.files
    operation.keys = list(resources.variables)
    weights = [keras.KerasTensor(v.shape, dtype=v.dtype) for v in resources.variables.values()]
    symbols = [keras.KerasTensor(shape, dtype=dtype) for shape, dtype in feeds]
    try:
        outputs = operation.compute_output_spec(symbols, weights)
    except TypeError as error:  # Keras makes a new error of the same class, from one text; ours want their parts
        if isinstance(error.__context__, ThawError):
            raise error.__context__ from None
        raise
    return [tuple(EXAMPLE if n is None else int(n) for n in t.shape) for t in outputs]


def found_shapes(graph: Graph, resources: Resources, specs: Sequence[TensorSpec]) -> list[Shape]:
    """The shapes of what `graph` gives, by two examples for each free length: what differs is free. None: it cannot be traced.

    `resources.variables` may be anything with a shape and a dtype.
    """
    found = []
    for example in (EXAMPLE, EXAMPLE + 2):
        feeds = [(tuple(example if n is None else n for n in spec.shape or ()), spec.dtype) for spec in specs]
        try:
            found.append(_traced(graph, resources, feeds))
        except GraphError:
            return [None] * len(graph.outputs)
    few, more = found
    return [tuple(a if a == b else None for a, b in zip(*pair, strict=True)) for pair in zip(few, more, strict=True)]


def check_sizes(graph: Graph, resources: Resources, specs: Sequence[TensorSpec], given: Sequence[Shape]) -> None:
    """That `graph` answers for inputs of the shapes `given` as it did for those that `specs` published.

    Raises:
        SizeNotFreeError: it does not; names the op, and the sizes that are allowed.
    """
    published = [_lengths(s.shape, g) for s, g in zip(specs, given, strict=True)]
    wanted = [_lengths(g, None) for g in given]
    if published == wanted:
        return
    watched = _watched(graph)
    tapped = prune(tap(graph, [*(t for pair in watched for t in pair), *graph.outputs]), resources.library, updates=False)
    dtypes = [s.dtype for s in specs]

    def trouble(shapes: Sequence[Lengths], reference: Mapping[int, bool]) -> tuple[str, dict[int, bool]]:
        """What is wrong at those shapes, and which of what is watched keeps its rows."""
        try:
            found = _traced(tapped, resources, list(zip(shapes, dtypes, strict=True)))
        except GraphError as error:
            return str(error).partition(" Expected ")[0], {}
        rows: dict[int, bool] = {}
        for index, (_, after) in enumerate(watched):
            one, other = found[2 * index], found[2 * index + 1]
            node = graph.nodes[after.node]
            if 0 in other and 0 not in one:
                return f"Node {node.name!r} ({node.op}) has nothing left: {list(one)} becomes {list(other)}.", rows
            rows[index] = bool(one and other) and one[0] == other[0]
            if reference.get(index) and not rows[index]:
                target = constant_target(graph, node)
                shape = f" to the shape {target.tolist()}" if target is not None else ""
                return f"Node {node.name!r} ({node.op}){shape} would mix examples: {list(one)} becomes {list(other)}.", rows
        examples = next((shape[0] for shape in shapes if shape), 0)
        for index, (tensor, made) in enumerate(zip(graph.outputs, found[2 * len(watched) :], strict=True), len(watched)):
            rows[index] = bool(made) and made[0] == examples
            if reference.get(index) and not rows[index]:
                return f"The output {tensor.node!r} has the shape {list(made)} for {examples} examples.", rows
        return "", rows

    problem, reference = trouble(published, {})
    if problem and [p[:1] for p in published] == [w[:1] for w in wanted]:
        return  # what cannot be asked is found out by running; whether a batch was baked in is not
    if problem:
        raise SizeNotFreeError([list(w) for w in wanted], [list(p) for p in published], problem, "")
    problem, _ = trouble(wanted, reference)
    if problem:
        raise SizeNotFreeError(
            [list(w) for w in wanted], [list(p) for p in published], problem, _allowed(published, reference, trouble)
        )


def _watched(graph: Graph) -> list[tuple[Tensor, Tensor]]:
    """(what goes in, what comes out) of the nodes at which a size may do harm without an error."""
    found = []
    for node in map(graph.nodes.__getitem__, needs(graph)):
        if node.op in POOLS or constant_target(graph, node) is not None:
            found.append((node.inputs[0], Tensor(node.name)))
    return found


def _lengths(shape: Shape, other: Shape) -> Lengths:
    """`shape` in numbers: free lengths are those of `other`, or an example."""
    other = other or ()
    shape = shape if shape is not None else other
    free = (other[i] if i < len(other) else None for i in range(len(shape)))
    # A length under JAX's export is a symbol: no number, and not None.
    return tuple(n if isinstance(n, int) else m if isinstance(m, int) else EXAMPLE for n, m in zip(shape, free, strict=True))


def _allowed(published: Sequence[Lengths], reference: Mapping[int, bool], trouble: Any) -> str:
    """The square sizes around the published one that run, for images; the published one alone elsewhere."""
    images = [i for i, shape in enumerate(published) if len(shape) == 4 and shape[1] == shape[2]]
    if len(images) != 1 or not reference:
        return ""
    at, size = images[0], published[images[0]][1]

    def runs(length: int) -> bool:
        shapes = [(s[0], length, length, s[3]) if i == at else s for i, s in enumerate(published)]
        return length > 0 and not trouble(shapes, reference)[0]

    low, high = size, size
    for step in (64, 32, 16, 8, 4, 2, 1):  # sizes that fit lie in one run, whose ends are looked for
        low -= step if runs(low - step) else 0
        high += step if runs(high + step) else 0
    return f"{low} to {high}" if low < high else str(size)
