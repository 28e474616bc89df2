"""Makes the control flow of TensorFlow 1 functional: Enter, Merge, Switch and the like become While and If nodes.

1. Each loop becomes one node While; every use of an Exit becomes a use of its output (`thaw.graph.frames`).
2. Condition and body of each loop are cut out as graphs of their own: all of (variables + captures) go in, the body answers
   with all of them, captures unchanged, as TensorFlow 2's While does.
3. In each such graph, and at the top, Merges become If nodes (`thaw.graph.guards`); their branches are cut out likewise.
4. Assignments that TensorFlow would run because a needed node waits for them become updates of the graph where they stand.

Needs control edges: run it before anything that drops them. Imports this room only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from thaw.errors import ControlFlowError
from thaw.graph.frames import (
    ENTER,
    EXIT,
    MERGE,
    V1_CONTROL_FLOW,
    Loop,
    Path,
    before,
    find_frames,
    find_loops,
    sort,
    through_identity,
    unique,
)
from thaw.graph.guards import Guard, Guards
from thaw.graph.ir import Attribute, Graph, Node, Tensor
from thaw.graph.prune import EFFECTS

DEEPEST = 50
"""Loops and conditions nested deeper than this are refused."""


def functionalize(graph: Graph) -> Graph:
    """`graph` without any v1 control flow, cut to what its outputs and updates need.

    Besides its own updates, the assignments that an output or update waits for by control edges become updates, each in the
    graph (top, body, branch) where it stands.

    Raises:
        ControlFlowError: loops or conditions that do not fit together; names the node.
    """
    graph = _with_value_indices(graph)
    seeds = [t.node for t in graph.outputs if t.node in graph.nodes] + [u for u in graph.updates if u in graph.nodes]
    ordered = sort(graph.nodes, seeds, graph.name)
    effects = [n for n in ordered if graph.nodes[n].op in EFFECTS]
    grouping = {u for u in graph.updates if u in graph.nodes and graph.nodes[u].op == "NoOp"}  # its members are effects
    effects += [u for u in dict.fromkeys(graph.updates) if u in graph.nodes and u not in grouping and u not in set(effects)]
    if not any(graph.nodes[n].op in V1_CONTROL_FLOW for n in ordered):
        return replace(graph, updates=tuple(effects))
    return _Functionalizer(graph, ordered, effects).result()


def _with_value_indices(graph: Graph) -> Graph:
    """Merges that are asked which of their inputs was alive (output 1) get a twin that merges the numbers of the inputs.

    Nothing but a frozen graph that ends in a condition asks, and that only because all outputs of its last node are taken.
    """
    uses = (t for tensors in (graph.outputs, *(n.inputs for n in graph.nodes.values())) for t in tensors)
    asked = {t for t in uses if t.output == 1 and t.node in graph.nodes and graph.nodes[t.node].op in MERGE}
    if not asked:
        return graph
    nodes, taken = dict(graph.nodes), set(graph.nodes)
    twins: dict[Tensor, Tensor] = {}

    def add(name: str, op: str, inputs: tuple[Tensor, ...] = (), **attrs: Attribute) -> Tensor:
        node = Node(unique(name, taken), op, inputs, (), attrs)
        nodes[node.name] = node
        return Tensor(node.name)

    for merge in sorted(asked):
        numbers = []
        for index, tensor in enumerate(nodes[merge.node].inputs):
            size = add(f"{merge.node}/size_{index}", "Size", (tensor,))  # what makes the number alive with its input
            zero = add(f"{merge.node}/zero_{index}", "Sub", (size, size))
            number = add(f"{merge.node}/number_{index}", "Const", value=np.array(index, "int32"), dtype="int32")
            numbers.append(add(f"{merge.node}/index_{index}", "AddV2", (zero, number)))
        twins[merge] = add(f"{merge.node}/value_index", "Merge", tuple(numbers))
    for name, node in nodes.items():
        if any(t in twins for t in node.inputs):
            nodes[name] = replace(node, inputs=tuple(twins.get(t, t) for t in node.inputs))
    return replace(graph, nodes=nodes, outputs=tuple(twins.get(t, t) for t in graph.outputs))


@dataclass
class _Conditional:
    """Merges that become one If: those of one predicate that do not wait for one another."""

    name: str
    predicate: Tensor
    merges: list[str] = field(default_factory=list)
    effects: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))


@dataclass(frozen=True)
class _Region:
    """What is being cut out: which tensors are its inputs (by position), and what holds there anyway."""

    name: str
    outputs: Sequence[Tensor]
    effects: Sequence[str]
    arguments: Mapping[Tensor, int]
    count: int
    base: Guard
    depth: int


class _Functionalizer:
    def __init__(self, graph: Graph, ordered: list[str], effects: list[str]) -> None:
        self.graph = graph
        self.supplied = set(graph.inputs)
        self.nodes: dict[str, Node] = dict(graph.nodes)
        self.taken = set(graph.nodes)
        frames = find_frames(self.nodes, ordered, graph.name)
        in_loops = [frames[e][:i] for e in effects for i in range(1, len(frames[e]) + 1)]
        busy = dict.fromkeys(in_loops)  # loops that must run for their effect
        conditions = [n for n in ordered if self.nodes[n].op == "LoopCond" and frames[n] in busy]
        wanted = [t.node for t in graph.outputs if t not in self.supplied] + effects + conditions
        needed = self._needed(wanted)
        self.loops = find_loops(self.nodes, [n for n in ordered if n in needed], frames, graph.name)
        self.by_name = {loop.name: loop for loop in self.loops.values()}
        self.bounds: dict[str, dict[int, tuple[Node, int, int]]] = {}
        self._replace_loops()
        inner = [n for loop in self.loops.values() for n in (loop.condition, *(v.next for v in loop.variables))]
        outer = [t.node for t in graph.outputs if t.node in self.nodes] + list(self.by_name) + effects + inner
        self.position = {n: i for i, n in enumerate(sort(self.nodes, [self._moved(n) for n in outer], graph.name))}
        for loop in self.loops.values():
            frames[loop.name] = loop.path[:-1]
        self.frames = frames
        self.guards = Guards(self.nodes, self.position, self.loops.values(), graph.name)
        self.effects: dict[tuple[Path, bool], list[str]] = {}  # by frame, and whether in the body
        for name in [*effects, *(self.loops[p].name for p in sorted(busy) if p in self.loops)]:
            path = frames[name]
            self.effects.setdefault((path, bool(path) and self._in_body(name, self.loops[path])), []).append(self._moved(name))
        self.has_effects = bool(effects)

    def result(self) -> Graph:
        outputs = [self.exits.get(t.node, t) for t in self.graph.outputs]
        region = _Region(self.graph.name, outputs, self.effects.get(((), False), []), {}, 0, frozenset(), 0)
        return self._cut(region)

    def _needed(self, seeds: Iterable[str]) -> set[str]:
        found: set[str] = set()
        stack = list(seeds)
        while stack:
            name = stack.pop()
            if name not in found and name in self.nodes:
                found.add(name)
                stack.extend(t.node for t in self.nodes[name].inputs if t not in self.supplied)
        return found

    def _moved(self, name: str) -> str:
        """The node that stands for `name` now: the While for its Exits."""
        return self.exits[name].node if name in self.exits else name

    def _replace_loops(self) -> None:
        """Puts a While node into the table for each loop, and redirects every use of its Exits."""
        finals = {
            Tensor(v.switch): Tensor(loop.name, i)
            for loop in self.loops.values()
            for i, v in enumerate(loop.variables)
            if v.switch is not None
        }
        self.exits = {
            name: finals[node.inputs[0]]
            for name, node in self.nodes.items()
            if node.op in EXIT and node.inputs and node.inputs[0] in finals
        }
        for loop in self.loops.values():
            entered = [v.enter for v in loop.variables] + list(loop.captures)
            inputs = [self.nodes[enter].inputs[0] for enter in entered]
            self.bounds[loop.name] = self._bounds(loop, inputs)
            self.nodes[loop.name] = Node(loop.name, "While", tuple(inputs))
        for name, node in self.nodes.items():
            if any(t.node in self.exits for t in node.inputs) or any(c in self.exits for c in node.control):
                inputs = [self.exits.get(t.node, t) for t in node.inputs]
                control = dict.fromkeys(self._moved(c) for c in node.control)
                self.nodes[name] = replace(node, inputs=tuple(inputs), control=tuple(control))

    def _bounds(self, loop: Loop, inputs: list[Tensor]) -> dict[int, tuple[Node, int, int]]:
        """Captures that are the minimum of two tensors, as `dynamic_rnn` makes them: min(steps, longest).

        Both are captured as well (added to `inputs`), and the minimum is taken inside, where the first alone is enough to
        bound the trip count.
        """
        found: dict[int, tuple[Node, int, int]] = {}
        for index in range(len(loop.variables), len(inputs)):
            source = self.nodes.get(through_identity(self.nodes, inputs[index]).node)
            if source is not None and source.op == "Minimum":
                found[index] = (source, len(inputs), len(inputs) + 1)
                inputs.extend(source.inputs)
        return found

    def _in_body(self, name: str, loop: Loop) -> bool:
        """Whether a node of the loop's frame runs only when the loop goes on."""
        switches = {v.switch for v in loop.variables}
        heads = {v.merge for v in loop.variables}
        seen: set[str] = set()
        stack = [name]
        while stack:
            current = stack.pop()
            if current in switches:
                return True
            if current in seen or current in heads or self.nodes[current].op in ENTER:
                continue
            seen.add(current)
            stack.extend(before(self.nodes, self.nodes[current]))
        return False

    def _while(self, loop: Loop, depth: int) -> Node:
        """The While node of a loop, with its two graphs."""
        variables, inputs = loop.variables, self.nodes[loop.name].inputs
        shared = {Tensor(v.merge): i for i, v in enumerate(variables)}
        shared |= {Tensor(c): len(variables) + i for i, c in enumerate(loop.captures)}
        onward = {Tensor(v.switch, 1): i for i, v in enumerate(variables) if v.switch is not None}
        attrs: dict[str, Attribute] = {}
        for part, arguments in (("cond", shared), ("body", shared | onward)):
            body = part == "body"
            node_outputs = [self.nodes[v.next].inputs[0] for v in variables] if body else [self.nodes[loop.condition].inputs[0]]
            effects = self.effects.get((loop.path, body), [])
            name = f"{loop.name}/{part}"
            cut = self._cut(_Region(name, node_outputs, effects, arguments, len(inputs), frozenset(), depth + 1))
            outputs = cut.outputs + (cut.inputs[len(variables) :] if body else ())
            attrs[part] = replace(cut, outputs=outputs) if body else _bounded(cut, self.bounds[loop.name])
        return Node(loop.name, "While", inputs, (), attrs)

    def _cut(self, region: _Region) -> Graph:
        """The graph of a region: its own nodes, with a While for each loop and an If for each condition in it."""
        if region.depth > DEEPEST:
            raise ControlFlowError(self.graph.name, region.name, f"is nested {region.depth} deep", f"at most {DEEPEST} levels")
        everything = self._reach([*region.outputs, *map(Tensor, region.effects)], region.arguments)
        conditionals = self._conditionals(region, everything)
        joined = {m: Tensor(c.name, i) for c in conditionals for i, m in enumerate(c.merges)}
        owned: dict[str, str] = {}  # nodes of branches -> the If that runs them
        ifs = {c.name: self._if(c, region, owned) for c in conditionals}
        places = [self._place(region, i) for i in range(region.count)]

        def resolve(tensor: Tensor) -> Tensor:
            if tensor in region.arguments:
                return places[region.arguments[tensor]]
            if tensor.node in joined:
                if tensor.output != 0:
                    raise ControlFlowError(
                        self.graph.name, tensor.node, "is asked which of its branches ran (output 1)", "only its value to be used"
                    )
                return joined[tensor.node]
            return tensor

        nodes: dict[str, Node] = {t.node: Node(t.node, "_Arg", (), (), {"index": i}) for i, t in enumerate(places)}
        active = [c.name for c in conditionals if any(c.effects)]
        own = [e for e in region.effects if not self.guards.node(e) - region.base]
        updates = [*(resolve(Tensor(e)).node for e in own), *active]
        outputs = tuple(resolve(t) for t in region.outputs)
        stack = [t.node for t in outputs if t not in self.supplied] + updates
        while stack:
            name = stack.pop()
            if name in nodes:
                continue
            if name in ifs:
                node = ifs[name]
            elif name in self.by_name:
                node = self._while(self.by_name[name], region.depth)
            else:
                node = self._plain(name)
            node = replace(node, inputs=tuple(resolve(t) for t in node.inputs), control=())
            nodes[name] = node
            stack.extend(t.node for t in node.inputs if t not in self.supplied and t.node not in nodes)
        if self.has_effects:
            nodes = {n: replace(v, control=self._control(n, nodes, owned, ifs)) for n, v in nodes.items()}
        inputs = tuple(places) if region.depth else self.graph.inputs
        for tensor in () if region.depth else self.graph.inputs:
            nodes.setdefault(tensor.node, self.nodes[tensor.node])
        order = sorted(nodes, key=lambda n: self.position.get(n, self.position.get(n.removesuffix("/If"), -1)))
        return Graph(region.name, {n: nodes[n] for n in order}, inputs, outputs, tuple(dict.fromkeys(updates)))

    def _place(self, region: _Region, index: int) -> Tensor:
        return Tensor(unique(f"{region.name}/input_{index}", self.taken))

    def _plain(self, name: str) -> Node:
        """A node as it is; nothing of a loop's machinery may be left."""
        if name not in self.nodes:
            raise ControlFlowError(self.graph.name, name, "is an input of another node, but is not there", "every input")
        node = self.nodes[name]
        if node.op == "LoopCond":
            return replace(node, op="Identity")
        if node.op in V1_CONTROL_FLOW:
            raise ControlFlowError(
                self.graph.name, name, f"({node.op}) is used from outside of its loop or branch", "the way through Exit or Merge"
            )
        return node

    def _reach(self, seeds: Iterable[Tensor], stops: Mapping[Tensor, int]) -> list[str]:
        """Names of what the seeds need over data edges, up to the stops, each after what it needs."""
        found: set[str] = set()
        stack = [t for t in seeds if t not in stops and t not in self.supplied]
        while stack:
            tensor = stack.pop()
            if tensor.node in found or tensor.node not in self.nodes:
                continue
            found.add(tensor.node)
            stack.extend(t for t in self.nodes[tensor.node].inputs if t not in stops and t not in self.supplied)
        return sorted(found, key=lambda n: self.position.get(n, -1))

    def _conditionals(self, region: _Region, everything: list[str]) -> list[_Conditional]:
        """The outermost Merges of a region, grouped: one predicate, and none waits for another of its group."""
        level: dict[str, dict[Tensor, int]] = {}  # of each node, by predicate: how many Merges of it lie before
        found: dict[tuple[Tensor, int], _Conditional] = {}
        members = set(everything)

        def levels_before(name: str) -> dict[Tensor, int]:
            most: dict[Tensor, int] = {}
            for other in before(self.nodes, self.nodes[name]):
                for predicate, count in level.get(other, {}).items():
                    most[predicate] = max(most.get(predicate, 0), count)
            return most

        # Control edges may lead through nodes outside of the region: every node is asked, in order.
        every = self.position if self.has_effects else everything
        for name in every:
            if self.has_effects and name not in members and self.nodes[name].op in MERGE:
                level[name] = levels_before(name)
                continue
            most = levels_before(name)
            if name in members and name in self.guards.joins and not self.guards.node(name) - region.base:
                predicate = self.guards.joins[name][0]
                count = most.get(predicate, 0)
                self._conditional(found, region, predicate, count, name).merges.append(name)
                most[predicate] = count + 1
            level[name] = most
        for effect in region.effects:
            beyond = self.guards.node(effect) - region.base
            outermost = [(p, b) for p, b in beyond if not self.guards.tensor(p) - region.base]
            if beyond and not outermost:
                raise ControlFlowError(self.graph.name, effect, "stands under conditions that depend on one another", "a nest")
            if beyond:
                predicate, branch = min(outermost)
                count = level.get(effect, {}).get(predicate, 0)
                self._conditional(found, region, predicate, count, effect).effects[branch].append(effect)
        return _acyclic(self, list(found.values()), region)

    def _conditional(
        self, found: dict[tuple[Tensor, int], _Conditional], region: _Region, predicate: Tensor, count: int, name: str
    ) -> _Conditional:
        if self.guards.tensor(predicate) - region.base:
            raise ControlFlowError(
                self.graph.name,
                name,
                f"joins the branches of {predicate.node!r}, which is itself not always alive",
                "a live predicate",
            )
        if (predicate, count) not in found:
            found[predicate, count] = _Conditional(unique(f"{name}/If", self.taken), predicate)
        return found[predicate, count]

    def _if(self, conditional: _Conditional, region: _Region, owned: dict[str, str]) -> Node:
        """The If node of a group, with its two branches."""
        captured: dict[Tensor, int] = {}
        sides: list[tuple[list[Tensor], dict[Tensor, int]]] = []
        for branch in (0, 1):
            outputs = []
            for merge in conditional.merges:
                true = self.guards.joins[merge][1]
                outputs.append(self.nodes[merge].inputs[true if branch else 1 - true])
            seeds = [*outputs, *map(Tensor, conditional.effects[branch])]
            arguments, inside = self._captures(conditional.predicate, branch, seeds, captured, region)
            sides.append((outputs, arguments))
            owned.update(dict.fromkeys([*inside, *conditional.merges], conditional.name))
        branches: dict[str, Attribute] = {}
        for branch, (outputs, arguments) in enumerate(sides):
            name = f"{conditional.name}/{'then' if branch else 'else'}"
            effects = conditional.effects[branch]
            base = region.base | {(conditional.predicate, branch)}
            cut = _Region(name, outputs, effects, arguments, len(captured), base, region.depth + 1)
            branches["then_branch" if branch else "else_branch"] = self._cut(cut)
        return Node(conditional.name, "If", (conditional.predicate, *captured), (), branches)

    def _captures(
        self, predicate: Tensor, branch: int, seeds: Iterable[Tensor], captured: dict[Tensor, int], region: _Region
    ) -> tuple[dict[Tensor, int], list[str]]:
        """Where a branch begins: which tensors are its inputs (their captured source is added to `captured`); and its nodes."""
        arguments: dict[Tensor, int] = {}
        inside: dict[str, None] = {}
        stack = list(seeds)[::-1]
        while stack:
            tensor = stack.pop()
            if tensor in arguments:
                continue
            source: Tensor | None = None
            known = tensor.node in self.nodes
            if known and self.guards.switches(tensor.node) and self.guards.predicate(tensor.node) == predicate:
                if tensor.output != branch:
                    raise ControlFlowError(
                        self.graph.name, tensor.node, "is used by the branch that it does not feed", "the other"
                    )
                source = self.nodes[tensor.node].inputs[0]
            elif not known or (predicate, branch) not in self.guards.tensor(tensor) or tensor in region.arguments:
                source = tensor
            if source is not None:
                if source not in region.arguments and self.guards.tensor(source) - region.base:
                    raise ControlFlowError(
                        self.graph.name,
                        source.node,
                        "is used by a branch of a condition in which it is not alive",
                        "a live input",
                    )
                arguments[tensor] = captured.setdefault(source, len(captured))
            elif tensor.node not in inside:
                inside[tensor.node] = None
                stack.extend(reversed(self.nodes[tensor.node].inputs))
        return arguments, list(inside)

    def _control(
        self,
        name: str,
        nodes: Mapping[str, Node],
        owned: Mapping[str, str],
        ifs: Mapping[str, Node],
    ) -> tuple[str, ...]:
        """The nodes of a region that `name` waits for, through any that are gone."""
        if name not in self.nodes and name not in ifs:
            return ()
        starts: list[str] = []
        for part in [name] if name in self.nodes else [m for m, i in owned.items() if i == name]:
            starts += self.nodes[part].control
        found: dict[str, None] = {}
        seen: set[str] = set()
        stack = starts[::-1]
        while stack:
            current = stack.pop()
            if current in seen or current not in self.nodes:
                continue
            seen.add(current)
            here = owned.get(current, current)
            if here in nodes:
                if here != name:
                    found[here] = None
                continue
            if self.nodes[current].op not in ENTER and self.frames.get(current) == self.frames.get(
                name, self.frames.get(current)
            ):
                stack.extend(reversed(list(before(self.nodes, self.nodes[current]))))
        return tuple(found)


def _bounded(condition: Graph, bounds: Mapping[int, tuple[Node, int, int]]) -> Graph:
    """The condition of a loop with each captured minimum taken anew from its two captured inputs."""
    for index, (source, first, second) in bounds.items():
        old, new = condition.inputs[index], Tensor(f"{source.name}/inside_{index}")
        nodes = {
            name: replace(node, inputs=tuple(new if t == old else t for t in node.inputs))
            for name, node in condition.nodes.items()
        }
        nodes[new.node] = Node(new.node, "Minimum", (condition.inputs[first], condition.inputs[second]), (), source.attrs)
        outputs = tuple(new if t == old else t for t in condition.outputs)
        condition = replace(condition, nodes=nodes, outputs=outputs)
    return condition


def _acyclic(owner: _Functionalizer, conditionals: list[_Conditional], region: _Region) -> list[_Conditional]:
    """`conditionals`, those that wait for one another in a circle (through other predicates) split into single Merges."""
    of = {m: i for i, c in enumerate(conditionals) for m in c.merges}
    if len(conditionals) < 2 or all(len(c.merges) < 2 for c in conditionals):
        return conditionals
    waits: list[set[int]] = [set() for _ in conditionals]
    above: dict[str, set[int]] = {}
    for name in sorted(owner.position, key=owner.position.__getitem__):
        groups: set[int] = set()
        for other in before(owner.nodes, owner.nodes[name]):
            groups |= above.get(other, set())
        if name in of:
            waits[of[name]] |= groups
            groups = groups | {of[name]}
        above[name] = groups
    reached = [set(w) for w in waits]
    for _ in conditionals:
        for mine in reached:
            for number in list(mine):
                mine |= reached[number]
    split: list[_Conditional] = []
    for i, c in enumerate(conditionals):
        if i not in reached[i] or len(c.merges) < 2:
            split.append(c)
            continue
        for number, merge in enumerate(c.merges):
            effects = c.effects if number == 0 else ([], [])
            name = c.name if number == 0 else unique(f"{merge}/If", owner.taken)
            split.append(_Conditional(name, c.predicate, [merge], effects))
    return split
