"""Runs a plan in segments that keep nothing for the backward pass but what crosses their borders: memory for time.

The steps of a plan are cut, in their order, where few values are alive; what lies between two cuts runs under `keras.remat`,
which computes it again when its gradients are asked for. Within a segment, reads of variables come first and assignments
last, both outside of what is repeated. What draws random numbers, loops, or works on tables or lists runs between segments,
as ever. Imports run and effects.
"""

from dataclasses import dataclass

import keras

from thaw.errors import LoweringError, StaticInputError
from thaw.lowering.effects import is_assignment
from thaw.lowering.run import Context, Plan
from thaw.lowering.values import Handle, Value, is_host

READS = frozenset({"VarHandleOp", "VariableV2", "Variable", "ReadVariableOp", "VariableShape"})
REFERENCES = frozenset({"VariableV2", "Variable"})
LISTS = ("Tensor", "Stack")
"""How the names of ops begin whose values are lists of tensors (TensorList, TensorArray)."""


@dataclass
class Segment:
    """Steps that run together, by index in their plan: first what is read, then what can be repeated, then what is assigned.

    Attributes:
        reads: run plainly, before.
        inside: run under `keras.remat`, where there are several.
        assigns: run plainly, after.
        taken: slots that `inside` needs from outside.
        copied: those of them that are values of variables which change before the backward pass, in place on PyTorch.
        given: slots that others need of `inside`.
        free: slots that nobody needs after it.
        plain: whether `inside` was found not to be repeatable.
    """

    reads: list[int]
    inside: list[int]
    assigns: list[int]
    taken: list[int]
    copied: frozenset[int]
    given: list[int]
    free: list[int]
    plain: bool = False


class _NotATensorError(Exception):
    """A value that is neither a tensor nor known now crosses the border of a segment."""


def advance(plan: Plan, context: Context, values: list[Value]) -> None:
    """Runs all steps of `plan` on `values`, by slot, in segments as `context.remat` says."""
    key = int(context.remat) if context.remat is not True else 0
    if key not in plan.segments:
        plan.segments[key] = segments(plan, key)
    for segment in plan.segments[key]:
        for index in segment.reads:
            plan.advance(index, context, values)
        if segment.plain or len(segment.inside) < 2 or not _run_repeatably(plan, context, values, segment):
            for index in segment.inside:
                plan.advance(index, context, values)
        for index in segment.assigns:
            plan.advance(index, context, values)
        for number in segment.free:
            values[number] = None


def _run_repeatably(plan: Plan, context: Context, values: list[Value], segment: Segment) -> bool:
    """Runs the inside of `segment` under `keras.remat`; False, and nothing has happened, where its borders do not allow it."""
    places: list[int] = []
    arguments: list[Value] = []
    fixed: dict[int, Value] = {}
    for number in segment.taken:
        value = values[number]
        if isinstance(value, Handle) and value.reference:
            value = context.read(value.key)
        if number in segment.copied and keras.ops.is_tensor(value):
            value = keras.ops.copy(value)
        if keras.ops.is_tensor(value) and keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype)):
            places.append(number)
            arguments.append(value)
        elif keras.ops.is_tensor(value) or _known(value):
            fixed[number] = value
        else:
            return False
    tensors: list[int] = []
    known: dict[int, Value] = {}
    again: list[bool] = []

    def inside(*arguments: Value) -> tuple[Value, ...]:
        local: list[Value] = [None] * plan.size
        for number, value in fixed.items():
            local[number] = value
        for number, value in zip(places, arguments, strict=True):
            local[number] = value
        try:
            for index in segment.inside:
                plan.advance(index, context, local)
        except LoweringError as error:
            cause = error.__cause__
            if not again or cause is None:
                raise
            # What worked the first time: PyTorch says that it has all it wants. Errors that hold each other would hold the
            # frames, and these all that was computed again, until garbage is collected.
            error.__cause__ = error.__context__ = None
            try:
                raise cause from None
            finally:
                del cause
        again.append(True)
        tensors[:] = [n for n in segment.given if keras.ops.is_tensor(local[n])]
        known.update((n, local[n]) for n in segment.given if not keras.ops.is_tensor(local[n]))
        if not all(_known(value) for value in known.values()):
            raise _NotATensorError
        return tuple(local[n] for n in tensors)

    try:
        results = keras.remat(inside)(*arguments)
    except (_NotATensorError, StaticInputError):
        segment.plain = True
        return False
    for number, value in (*zip(tensors, results, strict=True), *known.items()):
        values[number] = value
    return True


def _known(value: Value) -> bool:
    """Whether `value` holds no tensor of the backend."""
    return is_host(value) or value is None or isinstance(value, (Handle, int, float, str, bytes)) or value == ()


def segments(plan: Plan, wanted: int) -> list[Segment]:
    """The steps of `plan` in segments, about `wanted` of them (0: the square root of the number of steps)."""
    made_by = {number: index for index, targets in enumerate(plan.targets) for _, number in targets}
    kinds = [_kind(plan, index, made_by) for index in range(len(plan.steps))]
    repeated = [index for index, kind in enumerate(kinds) if kind == "repeated"]
    length = max(2, round(len(repeated) / (wanted or max(1, round(len(repeated) ** 0.5)))))
    cuts = _cuts(plan, kinds, made_by, repeated, length)
    changed = {_key(plan, step.inputs, made_by) for step, kind in zip(plan.steps, kinds, strict=True) if kind == "assigned"}
    found: list[Segment] = []
    reads: list[int] = []
    inside: list[int] = []
    assigns: list[int] = []
    keys: set[str | None] = set()
    made: set[int] = set()  # by what does not run before all else in this segment

    def close() -> None:
        if reads or inside or assigns:
            segment = _bordered(plan, list(reads), list(inside), list(assigns))
            read = [n for n in segment.taken if n in made_by and kinds[made_by[n]] == "read"]
            segment.copied = frozenset(n for n in read if not changed.isdisjoint({_key(plan, [n], made_by), None}))
            found.append(segment)
        for part in (reads, inside, assigns):
            part.clear()
        keys.clear()
        made.clear()

    for index, kind in enumerate(kinds):
        step = plan.steps[index]
        if index in cuts:
            close()
        outputs = [number for _, number in plan.targets[index]]
        if kind == "alone" or (kind != "assigned" and _follows(plan, index, assigns)):
            close()
        if kind == "read":
            key = _key(plan, step.inputs, made_by)
            if made.intersection(step.inputs) or (keys and (None in keys or key is None or key in keys)):
                close()
            reads.append(index)
        elif kind == "assigned":
            keys.add(_key(plan, step.inputs, made_by))
            assigns.append(index)
            made.update(outputs)
        elif kind == "repeated":
            inside.append(index)
            made.update(outputs)
        else:
            reads.append(index)
            close()
    close()
    return found


def _kind(plan: Plan, index: int, made_by: dict[int, int]) -> str:
    """How a step may run: "repeated", "read" (before its segment), "assigned" (after it), or "alone"."""
    step = plan.steps[index]
    before = [plan.steps[made_by[n]].node.op for n in step.inputs if n in made_by]
    if step.node.op in READS or (step.node.op == "Identity" and before and before[0] in REFERENCES):
        return "read"
    if is_assignment(step.node.op):
        return "assigned"
    if step.lowering.context or step.lowering.stateful or step.lowering.host or step.node.op.startswith(LISTS):
        return "alone"
    return "repeated"


def _key(plan: Plan, inputs: list[int], made_by: dict[int, int]) -> str | None:
    """The name of the node that the variable of a read or assignment comes from; None where it is not known."""
    while inputs and inputs[0] in made_by:
        node = plan.steps[made_by[inputs[0]]]
        if not node.inputs:
            return str(node.node.attrs.get("shared_name") or node.node.name)
        inputs = node.inputs
    return None if inputs else ""  # a handle itself reads nothing


def _follows(plan: Plan, index: int, assigns: list[int]) -> bool:
    """Whether a step takes what one of `assigns` gives."""
    step = plan.steps[index]
    given = {number for i in assigns for _, number in plan.targets[i]}
    return bool(given.intersection(step.inputs))


def _cuts(plan: Plan, kinds: list[str], made_by: dict[int, int], repeated: list[int], length: int) -> set[int]:
    """Where segments begin: about every `length` steps, there where the fewest values are alive."""
    last: dict[int, int] = {}
    for index, step in enumerate(plan.steps):
        for number in step.inputs:
            if number in made_by and kinds[made_by[number]] != "read":
                last[number] = index
    last |= {number: len(plan.steps) for number in plan.outputs if number in made_by}
    change = [0] * (len(plan.steps) + 2)
    for number, end in last.items():
        change[made_by[number] + 1] += 1
        change[end + 1] -= 1
    alive, count = [], 0
    for index in range(len(plan.steps)):
        count += change[index]
        alive.append(count)
    cuts: set[int] = set()
    slack = max(1, length // 4)
    at = length
    while at < len(repeated):
        window = range(max(at - slack, 1), min(at + slack + 1, len(repeated)))
        best = min(window, key=lambda i: (alive[repeated[i]], abs(i - at)))
        cuts.add(repeated[best])
        at = best + length
    return cuts


def _bordered(plan: Plan, reads: list[int], inside: list[int], assigns: list[int]) -> Segment:
    """The segment of these steps, with what crosses its border."""
    made = {number for index in inside for _, number in plan.targets[index]}
    taken = dict.fromkeys(n for index in inside for n in plan.steps[index].inputs if n not in made)
    own = {n for index in inside for n in plan.steps[index].free}
    later = {n for index in assigns for n in plan.steps[index].inputs}
    free = [n for index in (*reads, *inside, *assigns) for n in plan.steps[index].free]
    given = sorted((made - own) | (made & later))
    return Segment(reads, inside, assigns, list(taken), frozenset(), given, free)
