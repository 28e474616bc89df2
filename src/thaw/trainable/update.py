"""One update of an optimizer in which variables differ: by the steps that they trained, by multipliers of the rate.

An optimizer that needs neither is not touched. Otherwise its update runs once for each group of variables that agree, with
the step count and the learning rate of that group; slots and formulas stay the optimizer's own. Tables that come with the
gradients of some rows only are updated there. May import this package's hooks, memory and row_gradients.
"""

import functools
import math
import weakref
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from thaw.trainable import hooks, row_gradients
from thaw.trainable.memory import Memory, memory_of

# Optimizers whose update divides by 1 - beta ** steps: a slot that starts at zero late is not corrected by the common
# step count, so that its variable takes several times the learning rate at once.
_CORRECTED = ("Adam", "AdamW", "Adamax", "Nadam", "Lamb", "Muon", "ScheduleFreeAdamW")

Groups = dict[tuple[int, float], tuple[list[object], list[object]]]


def is_corrected(optimizer: keras.Optimizer) -> bool:
    """Whether an optimizer corrects its moments by the step count, so that own counts of steps change something."""
    kinds = tuple(kind for name in _CORRECTED if (kind := getattr(keras.optimizers, name, None)) is not None)
    return isinstance(optimizer, kinds)


def count_own_steps(optimizer: keras.Optimizer | None, wanted: bool) -> None:
    """Count steps by variable from now on, or as Keras does. Step functions traced before keep their way."""
    for leaf in hooks.leaf_optimizers(optimizer) if optimizer is not None else []:
        memory_of(leaf).own_steps = wanted
        take_over(leaf)


def scale_rates(optimizer: keras.Optimizer, rates: Mapping[int, float]) -> bool:
    """Multiply the learning rate of variables, by their ids; says whether anything changed.

    Step functions traced before keep their way.
    """
    wanted, changed = {key: rate for key, rate in rates.items() if rate != 1.0}, False
    for leaf in hooks.leaf_optimizers(optimizer):
        changed |= memory_of(leaf).rates != wanted
        memory_of(leaf).rates = dict(wanted)
        take_over(leaf)
    return changed


def take_over(optimizer: keras.Optimizer) -> None:
    """Put the grouping update over an optimizer that holds slots itself, if its variables differ in anything."""
    memory, built = memory_of(optimizer), hooks.built_on(optimizer)
    if any(memory.rates.get(id(v), 1.0) != 1.0 for v in built):
        hooks.hook_decay(optimizer, functools.partial(_rate_of, weakref.ref(optimizer)))
    differ = any(_group_of(optimizer, memory, v) != (0, 1.0) for v in built)
    by_rows = row_gradients.leaves_zero_rows(optimizer) and any(map(row_gradients.is_table, built))
    if differ or (by_rows and hooks.backend() != "tensorflow"):
        reference = weakref.ref(optimizer)

        def update(grads: Sequence[object], variables: Sequence[object], learning_rate: object) -> None:
            itself = reference()
            assert itself is not None
            by_rows, grads, variables = row_gradients.split(grads, variables)
            for grad, variable in by_rows:
                rate = _group_of(itself, memory_of(itself), variable)[1]
                row_gradients.subtract(variable, grad, learning_rate * rate)  # type: ignore[operator]
            if grads:
                _update_by_group(itself, hooks.own_update(itself), _groups(itself, grads, variables), learning_rate)

        hooks.hook_update(optimizer, update)


def _rate_of(reference: "weakref.ref[keras.Optimizer]", variable: keras.Variable) -> float:
    """A variable's multiplier."""
    optimizer = reference()
    assert optimizer is not None
    known = hooks.built_on(optimizer)[hooks.position(optimizer, variable)]
    return memory_of(optimizer).rates.get(id(known), 1.0)


def _group_of(optimizer: keras.Optimizer, memory: Memory, variable: keras.Variable) -> tuple[int, float]:
    """The steps that a variable missed, where they count, and its multiplier."""
    offset = memory.offsets.get(id(variable), 0) if memory.own_steps and is_corrected(optimizer) else 0
    return offset, memory.rates.get(id(variable), 1.0)


def _groups(optimizer: keras.Optimizer, grads: Sequence[object], variables: Sequence[object]) -> Groups:
    memory, built = memory_of(optimizer), hooks.built_on(optimizer)
    groups: Groups = {}
    for grad, variable in zip(grads, variables, strict=True):
        of = _group_of(optimizer, memory, built[hooks.position(optimizer, variable)])
        members = groups.setdefault(of, ([], []))
        members[0].append(grad)
        members[1].append(variable)
    return groups


def _update_by_group(optimizer: keras.Optimizer, original: Callable[..., None], groups: Groups, learning_rate: object) -> None:
    count = hooks.step_count(optimizer)
    product = hooks.running_product(optimizer)
    begun = hooks.copied(product) if product is not None else None
    # The common count goes last: Nadam's running product must end as its own.
    for offset, rate in sorted(groups, reverse=True):
        grads, variables = groups[offset, rate]
        with hooks.shifted_steps(optimizer, count, offset):
            if product is not None:
                product.assign(_product_after(optimizer) if offset else begun)
            original(grads, variables, learning_rate if rate == 1.0 else learning_rate * rate)  # type: ignore[operator]
    if product is not None and all(offset for offset, _ in groups):
        step = keras.ops.cast(optimizer.iterations + 1, product.dtype)
        product.assign(begun * optimizer.beta_1 * (1.0 - 0.5 * keras.ops.power(0.96, step)))


def _product_after(optimizer: keras.Optimizer) -> object:
    """Nadam's running product of momenta after as many steps as the optimizer counts now, from its closed form."""
    dtype = keras.backend.floatx()
    # 0.96 ** 512 is below float32's precision: the product of the decaying parts stands still from there on.
    decaying = np.cumprod([1.0] + [1.0 - 0.5 * 0.96**i for i in range(1, 513)])
    steps = optimizer.iterations
    part = keras.ops.take(keras.ops.convert_to_tensor(decaying, dtype=dtype), keras.ops.minimum(steps, 512))
    return part * keras.ops.exp(keras.ops.cast(steps, dtype) * math.log(optimizer.beta_1))
