"""What is remembered of an optimizer beside what it holds itself: plain data, kept as long as the optimizer lives.

Never attributes of the optimizer, which Keras would track or save. May import nothing of this package.
"""

import weakref
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy.typing as npt


@dataclass(slots=True)
class Parked:
    """The slots of a variable that was frozen, on the host, until it comes back."""

    variable: "weakref.ref[keras.Variable]"
    slots: dict[str, npt.NDArray[Any]]
    offset: int
    since: int


@dataclass(slots=True)
class Memory:
    """What thaw remembers of one optimizer, by the ids of variables.

    Attributes:
        parked: slots of what is frozen now.
        offsets: the steps that a variable missed because it was frozen.
        rates: the multipliers of the learning rate; 1 where there is none.
        own_steps: whether `offsets` are put to use.
        children: the positions of a MultiOptimizer's optimizers.
    """

    parked: dict[int, Parked] = field(default_factory=dict)
    offsets: dict[int, int] = field(default_factory=dict)
    rates: dict[int, float] = field(default_factory=dict)
    own_steps: bool = True
    children: dict[int, int] = field(default_factory=dict)


_memories: "weakref.WeakKeyDictionary[keras.Optimizer, Memory]" = weakref.WeakKeyDictionary()


def memory_of(optimizer: keras.Optimizer) -> Memory:
    """What is remembered of `optimizer`."""
    return _memories.setdefault(optimizer, Memory())
