"""Splits a graph in two: what must run on the host (strings, tables, parsing), and the rest, which runs on the device.

The host part takes the strings (and the numbers that tables are asked for) and gives the boundary: numeric tensors that are
inputs of the device part. What an op needs is told by the caller (`OpNeeds`): this pass knows no op table. Imports ir only.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from thaw.graph.ir import Graph, Node, Tensor


@dataclass(frozen=True, slots=True)
class OpNeeds:
    """What a node asks of the place where it runs.

    Attributes:
        host: whether its inputs must be numpy (strings, tables, parsing).
        device: whether it can run on the device only (it reads variables, draws random numbers, ...).
        known: positions of the inputs that must be known while a step is traced (shapes, axes).
    """

    host: bool = False
    device: bool = False
    known: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class HostSplit:
    """A graph in two parts.

    Attributes:
        host: its outputs are the boundary.
        device: its inputs are those of the whole that are not strings, in order, then the boundary.
        boundary: the tensors that cross.
        host_inputs: positions, among the inputs of the whole, of what the host part takes.
        device_inputs: positions, among the inputs of the whole, of what the device part takes.
        sizes: for each boundary tensor, whether its value may decide shapes, so that it is better known while tracing.
    """

    host: Graph
    device: Graph
    boundary: tuple[Tensor, ...]
    host_inputs: tuple[int, ...]
    device_inputs: tuple[int, ...]
    sizes: tuple[bool, ...]


SIZE_MATH = frozenset({
    "Add", "AddV2", "Cast", "ConcatV2", "ExpandDims", "FloorDiv", "FloorMod", "Gather", "GatherV2", "Identity", "Max", "Maximum",
    "Min", "Minimum", "Mul", "Neg", "Pack", "Prod", "Reshape", "Select", "SelectV2", "Slice", "Split", "SplitV", "Squeeze",
    "StridedSlice", "Sub", "Sum", "Unpack",
})  # fmt: skip
"""Ops by which graphs compute sizes from sizes. What else stands in the way (Shape, a loop) gives known sizes or none."""

CONTROL_FLOW = frozenset({"If", "StatelessIf", "Case", "StatelessCase", "While", "StatelessWhile"})

SEGMENT_OPS = {f"SparseSegment{kind}": f"SparseSegment{kind}WithNumSegments" for kind in ("Sum", "Mean", "SqrtN")}
"""Ops that find out from their segments how many there are, and their namesakes that are told."""

GATHERS = frozenset({"Gather", "GatherV2", "ResourceGather"})


def split_host(
    graph: Graph,
    library: Mapping[str, Graph],
    needs: Callable[[Node, Mapping[str, Graph]], OpNeeds],
    string_inputs: Collection[int],
) -> HostSplit:
    """`graph`, calls inlined, in two parts.

    To the host goes what handles strings or tables, and all that leads to it; then what decides shapes on the device, and
    branches and loops, as far as they follow from the host part and not from variables. A host op that depends on variables
    (words for the most likely ids) stays on the device, where it runs eagerly only.

    Args:
        graph: the whole, without unconditional calls (see inline_functions).
        library: for the functions that its loops and branches name.
        needs: what a node asks of its place.
        string_inputs: positions among `graph.inputs` of the strings.
    """
    work = _Split(graph, library, needs)
    work.drop_duplicate_removal()
    work.choose([graph.inputs[i] for i in string_inputs])
    return work.parts(string_inputs)


class _Split:
    """The nodes that are needed, and where each goes."""

    def __init__(self, graph: Graph, library: Mapping[str, Graph], needs: Callable[[Node, Mapping[str, Graph]], OpNeeds]) -> None:
        self.graph = graph
        self.supplied = set(graph.inputs)
        self.nodes = dict(graph.nodes)
        self.order = self._needed()
        self.needs = {name: needs(self.nodes[name], library) for name in self.order}
        self.host: set[str] = set()
        self.sizes: set[Tensor] = set()

    def _inputs(self, name: str) -> list[Tensor]:
        """The inputs of a node that other nodes compute."""
        return [t for t in self.nodes[name].inputs if t not in self.supplied]

    def _needed(self) -> list[str]:
        """The nodes behind the outputs and updates, each after its inputs. A circle is left for the runner to complain of."""
        roots = [t.node for t in self.graph.outputs if t not in self.supplied] + list(self.graph.updates)
        result: dict[str, None] = {}
        opened: set[str] = set()
        stack = [(name, False) for name in reversed(roots)]
        while stack:
            name, leave = stack.pop()
            if leave:
                result[name] = None
            elif name not in opened and name in self.nodes:
                opened.add(name)
                stack.append((name, True))
                stack.extend((t.node, False) for t in reversed(self._inputs(name)))
        return list(result)

    def _consumers(self) -> dict[Tensor, list[tuple[str, int]]]:
        found: dict[Tensor, list[tuple[str, int]]] = {}
        for name in self.order:
            for position, tensor in enumerate(self.nodes[name].inputs):
                found.setdefault(tensor, []).append((name, position))
        return found

    def drop_duplicate_removal(self) -> None:
        """Lets an embedding lookup take every id instead of the distinct ones, where nothing else sees the difference.

        How many distinct ids a batch has is no concern of the result, but would be a shape that differs from batch to batch.
        """
        consumers = self._consumers()
        outputs = set(self.graph.outputs)

        def uses(tensor: Tensor) -> list[tuple[str, int]]:
            result = []
            for name, position in consumers.get(tensor, []):
                if self.nodes[name].op in {"Identity", "Cast"}:
                    result += uses(Tensor(name))
                else:
                    result.append((name, position))
            return result

        for name in self.order:
            if self.nodes[name].op != "Unique" or outputs & {Tensor(name, 0), Tensor(name, 1)}:
                continue
            values, places = uses(Tensor(name, 0)), uses(Tensor(name, 1))
            gathered = all(self.nodes[n].op in GATHERS and p == 1 for n, p in values)
            summed = all(self.nodes[n].op in SEGMENT_OPS and p == 1 for n, p in places)
            if gathered and summed:
                self.nodes[name] = replace(self.nodes[name], op="ThawEvery")

    def choose(self, strings: Iterable[Tensor]) -> None:
        """Decides what goes to the host."""
        movable: dict[str, bool] = {}
        for name in self.order:
            movable[name] = not self.needs[name].device and all(movable.get(t.node, False) for t in self._inputs(name))
        texts = set(strings)
        seeds = [n for n in self.order if self.needs[n].host or touches_strings(self.nodes[n])]
        seeds += [n for n in self.order if texts & set(self.nodes[n].inputs)]
        self._pull(n for n in seeds if movable[n])
        for name in self.order:
            node = self.nodes[name]
            if name not in self.host and node.op in SEGMENT_OPS and node.inputs[2] not in self.supplied:
                segments = node.inputs[2].node
                if movable[segments] and self._follows_from_host(segments):
                    self._pull([segments])
                    self._count_segments(name)
        for name in self.order:
            if name not in self.host:
                node = self.nodes[name]
                deciding = [node.inputs[p] for p in self.needs[name].known if p < len(node.inputs)]
                if node.op in CONTROL_FLOW:  # what a branch gives may have other sizes than what its twin gives
                    deciding = list(node.inputs)
                if movable[name] and any(t.node in movable and self._follows_from_host(t.node) for t in deciding):
                    self._pull([name])
                    continue
                if node.op in CONTROL_FLOW:  # the number of turns may be among what goes in
                    deciding = [t for t in self._inputs(name) if self.nodes[t.node].op in SIZE_MATH and movable[t.node]]
                self._fix(deciding, movable)

    def _pull(self, names: Iterable[str]) -> None:
        """To the host, with all that leads there."""
        stack = list(names)
        while stack:
            name = stack.pop()
            if name not in self.host:
                self.host.add(name)
                stack.extend(t.node for t in self._inputs(name))

    def _count_segments(self, name: str) -> None:
        node = self.nodes[name]
        count = f"{name}/count_segments"
        self.nodes[count] = Node(count, "ThawCountSegments", (node.inputs[2],))
        self.host.add(count)
        self.sizes.add(Tensor(count))
        self.nodes[name] = replace(node, op=SEGMENT_OPS[node.op], inputs=(*node.inputs, Tensor(count)))

    def _fix(self, tensors: Iterable[Tensor], movable: Mapping[str, bool]) -> None:
        """Sees to it that the value of `tensors` is known while tracing, as far as it comes from the host part."""
        stack, seen = list(tensors), set()
        while stack:
            tensor = stack.pop()
            if tensor in seen or tensor in self.supplied or tensor.node not in self.nodes:
                continue
            seen.add(tensor)
            if tensor.node in self.host:
                self.sizes.add(tensor)
            elif movable.get(tensor.node) and self._follows_from_host(tensor.node):
                self._pull([tensor.node])
                self.sizes.add(tensor)
            elif self.nodes[tensor.node].op in SIZE_MATH:
                stack.extend(self._inputs(tensor.node))

    def _follows_from_host(self, name: str) -> bool:
        stack, seen = [name], set()
        while stack:
            name = stack.pop()
            if name in self.host and self.nodes[name].op != "Const":
                return True
            if name not in seen:
                seen.add(name)
                stack.extend(t.node for t in self._inputs(name))
        return False

    def parts(self, string_inputs: Collection[int]) -> HostSplit:
        """The two graphs."""
        graph = self.graph
        device = {n: self.nodes[n] for n in self.order if n not in self.host}
        # What has no inputs (constants, tables) may stand on both sides; everything else crosses.
        crossing = [t for node in device.values() for t in node.inputs] + list(graph.outputs)
        boundary: dict[Tensor, None] = {}
        for tensor in crossing:
            if tensor in self.supplied:
                if graph.inputs.index(tensor) in string_inputs:
                    boundary[tensor] = None
            elif tensor.node in self.host and self.nodes[tensor.node].inputs:
                boundary[tensor] = None
            elif tensor.node in self.host:
                device[tensor.node] = self.nodes[tensor.node]
        host = {n: self.nodes[n] for n in [*self.order, *self.nodes] if n in self.host}
        used = {t for node in host.values() for t in node.inputs} | set(boundary)
        host_inputs = tuple(i for i, t in enumerate(graph.inputs) if t in used)
        device_inputs = tuple(i for i in range(len(graph.inputs)) if i not in string_inputs)
        return HostSplit(
            host=Graph(
                name=f"{graph.name} (host)",
                nodes=host,
                inputs=tuple(graph.inputs[i] for i in host_inputs),
                outputs=tuple(boundary),
                updates=tuple(u for u in graph.updates if u in self.host),
            ),
            device=Graph(
                name=f"{graph.name} (device)",
                nodes=device,
                inputs=(*(graph.inputs[i] for i in device_inputs), *boundary),
                outputs=graph.outputs,
                updates=tuple(u for u in graph.updates if u not in self.host),
            ),
            boundary=tuple(boundary),
            host_inputs=host_inputs,
            device_inputs=device_inputs,
            sizes=tuple(t in self.sizes for t in boundary),
        )


def touches_strings(node: Node) -> bool:
    """Whether a node takes or gives strings: some attribute of it says so."""
    for value in node.attrs.values():
        if isinstance(value, str) and value == "string":
            return True
        if isinstance(value, tuple) and "string" in [v for v in value if isinstance(v, str)]:
            return True
        if isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
            return True
    return False
