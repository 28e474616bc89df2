"""Loop frames of TensorFlow 1: which nodes run in which loop, and the parts of each loop.

A v1 loop is a frame: Enter brings a value in, Merge(Enter, NextIteration) is a loop variable, LoopCond decides, Switch
hands on to the body or to Exit. No names and no collections are needed (frozen graphs have none): the way through Enter
and Exit says it all. The key of a loop is its whole path of frame names. Not here: cutting out bodies. Imports ir only.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from thaw.errors import ControlFlowError
from thaw.graph.ir import Node, Tensor

ENTER = frozenset({"Enter", "RefEnter"})
EXIT = frozenset({"Exit", "RefExit"})
NEXT = frozenset({"NextIteration", "RefNextIteration"})
MERGE = frozenset({"Merge", "RefMerge"})
SWITCH = frozenset({"Switch", "RefSwitch"})
V1_CONTROL_FLOW = ENTER | EXIT | NEXT | MERGE | SWITCH | {"LoopCond"}
"""Ops of the v1 control flow; none is left in a functional graph."""

Path = tuple[str, ...]
"""Frame names from the outermost loop inwards; () is outside of any loop."""


@dataclass(frozen=True, slots=True)
class LoopVariable:
    """One variable of a loop, by the names of its nodes; `switch` is None where neither body nor result uses it."""

    enter: str
    merge: str
    next: str
    switch: str | None


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop: its name in the functional graph, the LoopCond node, its variables, and the Enters of what it captures."""

    path: Path
    name: str
    condition: str
    variables: tuple[LoopVariable, ...]
    captures: tuple[str, ...]


def through_identity(nodes: Mapping[str, Node], tensor: Tensor) -> Tensor:
    """The tensor behind a chain of Identity nodes."""
    seen = 0
    while tensor.node in nodes and nodes[tensor.node].op == "Identity" and seen <= len(nodes):
        tensor, seen = nodes[tensor.node].inputs[0], seen + 1
    return tensor


def before(nodes: Mapping[str, Node], node: Node) -> Iterator[str]:
    """Names of the nodes that must run before `node` in the same iteration: data, then control; a loop's way back is left out."""
    for tensor in node.inputs:
        if tensor.node in nodes and not (node.op in MERGE and nodes[tensor.node].op in NEXT):
            yield tensor.node
    for name in node.control:
        if name in nodes:
            yield name


def sort(nodes: Mapping[str, Node], seeds: Iterable[str], graph: str) -> list[str]:
    """Names of all nodes that `seeds` wait for over data and control edges, each after those that it waits for.

    What only the ways back of loops wait for comes last.

    Raises:
        ControlFlowError: nodes wait for one another in a circle that is not a loop's.
    """
    result: list[str] = []
    done: dict[str, bool] = {}
    seeds, new = list(seeds), 0
    while seeds:
        for seed in seeds:
            _visit(nodes, seed, done, result, graph)
        merges = [nodes[name] for name in result[new:] if nodes[name].op in MERGE]
        new = len(result)
        seeds = [t.node for merge in merges for t in merge.inputs if t.node in nodes and t.node not in done]
    return result


def _visit(nodes: Mapping[str, Node], seed: str, done: dict[str, bool], result: list[str], graph: str) -> None:
    work = [(seed, False)]
    while work:
        name, leave = work.pop()
        if leave:
            done[name] = True
            result.append(name)
        elif name not in done:
            done[name] = False
            work.append((name, True))
            work.extend((b, False) for b in reversed(list(before(nodes, nodes[name]))) if not done.get(b))
        elif not done[name]:
            raise ControlFlowError(
                graph, name, "stands in a circle of nodes outside of any loop", "circles only through NextIteration"
            )


def find_frames(nodes: Mapping[str, Node], ordered: Iterable[str], graph: str) -> dict[str, Path]:
    """The frame of each node: an Enter belongs to the frame that it opens, an Exit to the one around.

    Raises:
        ControlFlowError: an Exit outside of any frame, or a node with inputs of two frames neither of which holds the other.
    """
    frames: dict[str, Path] = {}
    for name in ordered:
        node = nodes[name]
        own: Path = ()
        for other in before(nodes, node):
            path = frames[other]
            if path[: len(own)] != own and own[: len(path)] != path:
                raise ControlFlowError(
                    graph, name, f"takes inputs from two unrelated loops ({own[-1]!r} and {path[-1]!r})", "inputs of one loop"
                )
            own = max(own, path, key=len)
        if node.op in ENTER:
            own = (*own, str(node.attrs.get("frame_name", "")))
        elif node.op in EXIT:
            if not own:
                raise ControlFlowError(graph, name, "leaves a loop, but stands in none", "an Enter before every Exit")
            own = own[:-1]
        frames[name] = own
    return frames


def find_loops(nodes: Mapping[str, Node], needed: Iterable[str], frames: Mapping[str, Path], graph: str) -> dict[Path, Loop]:
    """Every loop among the `needed` nodes, outer ones before inner ones.

    Raises:
        ControlFlowError: a frame with no LoopCond or with two, a loop variable that is not Merge(Enter, NextIteration), or
            one whose value leaves the loop other than by an Exit.
    """
    needed = list(needed)
    consumers: dict[Tensor, list[str]] = {}
    enters: dict[Path, list[str]] = {}
    conditions: dict[Path, list[str]] = {}
    for name in needed:
        for tensor in nodes[name].inputs:
            consumers.setdefault(tensor, []).append(name)
        if nodes[name].op in ENTER:
            enters.setdefault(frames[name], []).append(name)
        elif nodes[name].op == "LoopCond":
            conditions.setdefault(frames[name], []).append(name)
    loops: dict[Path, Loop] = {}
    taken = set(nodes)
    for path in sorted(enters, key=len):
        here = conditions.get(path, [])
        if len(here) != 1:
            found = "no LoopCond" if not here else f"{len(here)} LoopConds ({', '.join(map(repr, here))})"
            raise ControlFlowError(graph, enters[path][0], f"opens the loop {path[-1]!r}, which has {found}", "exactly one")
        variables: list[LoopVariable] = []
        captures: list[str] = []
        for enter in enters[path]:
            merges = [c for c in consumers.get(Tensor(enter), []) if nodes[c].op in MERGE]
            if not merges:
                captures.append(enter)
            for merge in merges:
                variables.append(_variable(nodes, enter, merge, here[0], consumers, graph))
        name = unique((path[-1].removesuffix("/while_context").rstrip("/") or "while"), taken)
        loops[path] = Loop(path, name, here[0], tuple(variables), tuple(captures))
    for path, names in conditions.items():
        if path not in loops:
            raise ControlFlowError(graph, names[0], "is a LoopCond outside of any loop", "an Enter and a Merge before it")
    return loops


def _variable(
    nodes: Mapping[str, Node], enter: str, merge: str, condition: str, consumers: Mapping[Tensor, list[str]], graph: str
) -> LoopVariable:
    inputs = nodes[merge].inputs
    others = [t.node for t in inputs if t.node != enter]
    if len(inputs) != 2 or len(others) != 1 or others[0] not in nodes or nodes[others[0]].op not in NEXT:
        raise ControlFlowError(
            graph, merge, f"merges {[t.node for t in inputs]} at the head of a loop", "one Enter and one NextIteration"
        )
    switches = [
        c
        for c in consumers.get(Tensor(merge), [])
        if nodes[c].op in SWITCH and through_identity(nodes, nodes[c].inputs[1]).node == condition
    ]
    if len(switches) > 1:
        raise ControlFlowError(graph, merge, f"goes into {len(switches)} Switches of its loop: {switches}", "one at most")
    for name in consumers.get(Tensor(switches[0], 0), []) if switches else []:
        if nodes[name].op not in EXIT:
            raise ControlFlowError(graph, name, f"takes the final value of {switches[0]!r} without an Exit", "an Exit between")
    return LoopVariable(enter, merge, others[0], switches[0] if switches else None)


def unique(name: str, taken: set[str]) -> str:
    """`name`, or with a number where it is taken; takes it."""
    result, number = name, 0
    while result in taken:
        number += 1
        result = f"{name}_{number}"
    taken.add(result)
    return result
