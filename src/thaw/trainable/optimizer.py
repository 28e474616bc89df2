"""Carries an optimizer over to another set of variables, in place.

Moments of what goes on training are kept, slots of what is frozen are parked on the host, slots of what is new start
fresh. The optimizer object, its step count and its learning rate stay the same objects. Which attributes are Keras'
own is known to hooks.py alone; what slots mean is known here. May import errors and this package's hooks, memory and update.
"""

import weakref
from collections.abc import Sequence

import keras

from thaw.errors import OptimizerRefusedError
from thaw.trainable import hooks
from thaw.trainable.memory import Memory, Parked, memory_of
from thaw.trainable.update import take_over


def fits(optimizer: keras.Optimizer, variables: Sequence[keras.Variable]) -> bool:
    """Whether `optimizer` is built on exactly these variables, by identity and in this order."""
    return same_variables(hooks.built_on(optimizer), variables)


def same_variables(some: Sequence[keras.Variable], others: Sequence[keras.Variable]) -> bool:
    """Whether two lists hold the same variables in the same order."""
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


def regroup(optimizer: keras.Optimizer, variables: Sequence[keras.Variable], fresh_slots: str = "own_steps") -> None:
    """Make `optimizer` one of `variables`, keeping what it knows of those that it had.

    Args:
        optimizer: any Keras optimizer, built or not, also LossScaleOptimizer and MultiOptimizer around others.
        variables: the variables to train from now on, in the model's order.
        fresh_slots: "own_steps" counts the steps of each variable from its first one, so that bias corrections hold for
            what is thawed late; "keras" uses the common step count, as Keras does.

    Raises:
        OptimizerRefusedError: the optimizer has state of which it cannot be said to which variable it belongs.
    """
    for leaf in hooks.leaf_optimizers(optimizer):
        _check(leaf)
    _regroup(optimizer, list(variables), fresh_slots)


def _regroup(optimizer: keras.Optimizer, variables: list[keras.Variable], fresh_slots: str) -> None:
    inner, several = hooks.inner_optimizer(optimizer), hooks.several_optimizers(optimizer)
    memory = memory_of(optimizer)
    memory.own_steps = fresh_slots == "own_steps"
    if not optimizer.built:
        # Nothing to carry over; wrappers build what they wrap.
        hooks.build_again(optimizer, variables)
        for leaf in hooks.leaf_optimizers(optimizer):
            memory_of(leaf).own_steps = memory.own_steps
        return
    if inner is not None:
        _regroup(inner, variables, fresh_slots)
        hooks.point_wrapper_at(optimizer, variables, None)
    elif several is not None:
        memory.children |= hooks.child_positions(optimizer, hooks.built_on(optimizer))
        for variable in variables:
            if id(variable) not in memory.children:
                memory.children[id(variable)] = hooks.assigned_child(optimizer, variable)
        for position, child in enumerate(hooks.several_optimizers(optimizer) or []):
            own = [v for v in variables if memory.children[id(v)] == position]
            if child.built or own:
                _regroup(child, own, fresh_slots)
        hooks.point_wrapper_at(optimizer, variables, memory.children)
    else:
        _regroup_leaf(optimizer, variables, memory)


def _check(optimizer: keras.Optimizer) -> None:
    """Refuse an optimizer with state that is neither one for all nor one for each variable."""
    if not optimizer.built or not hooks.built_on(optimizer):
        return
    slots = hooks.slot_lists(optimizer)
    known = {id(v) for v in hooks.single_variables(optimizer).values()}
    known |= {id(slot) for entries in slots.values() for slot in entries if slot is not None}
    strange = [str(v.name) for v in hooks.tracked(optimizer) if id(v) not in known]
    if strange:
        raise OptimizerRefusedError(
            f"{optimizer.name!r} ({type(optimizer).__name__})",
            f"it cannot be said to which trained variable its state {', '.join(strange[:6])} belongs",
        )


def _regroup_leaf(optimizer: keras.Optimizer, variables: list[keras.Variable], memory: Memory) -> None:
    before = hooks.built_on(optimizer)
    lists = hooks.slot_lists(optimizer)
    steps = hooks.raw_steps(optimizer)
    staying = {id(v) for v in variables}
    # Leavers go to the host first, so that at no moment two sets of slots lie on the device for them.
    for index, variable in enumerate(before):
        if id(variable) not in staying:
            _park(memory, variable, {name: entries[index] for name, entries in lists.items()}, steps)
    kept = {
        (name, id(variable)): hooks.copied(slot)
        for name, entries in lists.items()
        for variable, slot in zip(before, entries, strict=True)
        if slot is not None and id(variable) in staying
    }
    singles = _rebuild(optimizer, lists, variables)
    _restore_singles(optimizer, singles)
    had = {id(v) for v in before}
    for name, entries in hooks.slot_lists(optimizer).items():
        for variable, slot in zip(variables, entries, strict=True):
            if slot is None:
                continue
            value = kept.get((name, id(variable)))
            if value is not None:
                slot.assign(value)
            elif id(variable) not in had:
                _welcome(memory, optimizer, name, variable, slot, steps)
    for variable in variables:
        if id(variable) not in had:
            _count_from(memory, optimizer, variable, steps)
    _forget_the_dead(memory)
    assert fits(optimizer, variables)
    take_over(optimizer)


def _park(memory: Memory, variable: keras.Variable, slots: dict[str, keras.Variable | None], steps: int) -> None:
    # A half sum of gradients from long ago would be wrong when it comes back.
    held = {n: hooks.fresh_copy(s) for n, s in slots.items() if s is not None and n != hooks.HALF_SUMS}
    key = id(variable)
    memory.parked[key] = Parked(weakref.ref(variable), held, memory.offsets.pop(key, 0), steps)


def _rebuild(
    optimizer: keras.Optimizer, lists: dict[str, list[keras.Variable | None]], variables: list[keras.Variable]
) -> dict[str, tuple[keras.Variable, object, bool]]:
    """Build anew; returns the single variables as they were: attribute -> (variable, value, whether taken out)."""
    tracked = hooks.tracked(optimizer)
    slots = {id(slot) for entries in lists.values() for slot in entries if slot is not None}
    first_slot = next((i for i, v in enumerate(tracked) if id(v) in slots), len(tracked))
    # Those behind the first slot were made by build() and will be again: taking them out keeps Keras' own order.
    late = {id(v) for v in tracked[first_slot:]}
    singles = {n: (v, hooks.copied(v), id(v) in late) for n, v in hooks.single_variables(optimizer).items()}
    for variable in tracked[first_slot:]:
        hooks.untrack(optimizer, variable)
    hooks.build_again(optimizer, variables)
    return singles


def _restore_singles(optimizer: keras.Optimizer, singles: dict[str, tuple[keras.Variable, object, bool]]) -> None:
    now = hooks.single_variables(optimizer)
    for name, (old, value, taken_out) in singles.items():
        new = now[name]
        if new is not old:
            new.assign(value)
            if not taken_out:
                hooks.untrack(optimizer, old)
        elif taken_out:
            hooks.track(optimizer, old)


def _welcome(
    memory: Memory, optimizer: keras.Optimizer, name: str, variable: keras.Variable, slot: keras.Variable, steps: int
) -> None:
    """Fill one slot of a variable that enters: from what was parked, or as its kind of slot must start."""
    parked = _parked(memory, variable)
    value = parked.slots.get(name) if parked else None
    if name == hooks.AVERAGES:
        # Keras starts averages at zero, and writes them over the weights at the end of fit: a late one must start as a
        # copy. While it was frozen, an average would have gone on towards the weight that stood still.
        now = hooks.fresh_copy(variable)
        away = steps - parked.since if parked else 0
        slot.assign(now if value is None else now + float(optimizer.ema_momentum) ** away * (value - now))
    elif value is not None and value.shape == tuple(slot.shape):
        slot.assign(value)


def _parked(memory: Memory, variable: keras.Variable) -> Parked | None:
    parked = memory.parked.get(id(variable))
    return parked if parked is not None and parked.variable() is variable else None


def _count_from(memory: Memory, optimizer: keras.Optimizer, variable: keras.Variable, steps: int) -> None:
    """Note how many steps an entering variable has missed."""
    parked = _parked(memory, variable)
    missed = parked.offset + steps - parked.since if parked else steps
    every = optimizer.gradient_accumulation_steps or 1
    memory.offsets[id(variable)] = missed // every * every
    memory.parked.pop(id(variable), None)


def _forget_the_dead(memory: Memory) -> None:
    for key in [key for key, parked in memory.parked.items() if parked.variable() is None]:
        del memory.parked[key]
