"""TensorFlow's counter-based random numbers (Philox 4x32, ten rounds) in numpy: the same seed gives the same numbers.

Source: tensorflow/core/lib/random/philox_random.h and random_distributions.h. Imports numpy only.
"""

from typing import Any, NamedTuple

import numpy as np

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (np.uint32(0x9E3779B9), np.uint32(0xBB67AE85))
LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)


class State(NamedTuple):
    """Where a stream of numbers begins.

    Attributes:
        key: 64 bits.
        counter: 128 bits, low half first.
    """

    key: int
    counter: tuple[int, int]


def state_of(seed: Any) -> State:
    """The stream of a seed of two integers, mixed as TensorFlow does."""
    first, second = (int(n) & (2**64 - 1) for n in seed)
    mixed = [int(n) for n in blocks(State(0x02461E293EC8F720, (first, second)), 1)[0]]
    return State(mixed[0] | mixed[1] << 32, (0, mixed[2] | mixed[3] << 32))


def blocks(state: State, count: int) -> Any:
    """`count` blocks of four uint32."""
    low = np.uint64(state.counter[0]) + np.arange(count, dtype="uint64")
    high = np.uint64(state.counter[1]) + (low < np.uint64(state.counter[0]))
    counter = [low & LOW, low >> SHIFT, high & LOW, high >> SHIFT]
    keys = [np.uint32(state.key & 0xFFFFFFFF), np.uint32(state.key >> 32)]
    with np.errstate(over="ignore"):
        for _ in range(10):
            first, second = counter[0] * MULTIPLIERS[0], counter[2] * MULTIPLIERS[1]
            counter = [
                (second >> SHIFT) ^ counter[1] ^ np.uint64(keys[0]),
                second & LOW,
                (first >> SHIFT) ^ counter[3] ^ np.uint64(keys[1]),
                first & LOW,
            ]
            keys = [np.uint32(k + w) for k, w in zip(keys, WEYL, strict=True)]
    return np.stack(counter, axis=-1).astype("uint32")


def words(state: State, count: int, wide: bool = False) -> Any:
    """`count` uint32, or uint64 (low half first)."""
    drawn = blocks(state, -(-count * (2 if wide else 1) // 4)).reshape(-1)
    return drawn.view("uint64")[:count] if wide else drawn[:count]


def unit(words: Any) -> Any:
    """uint32 as float32 in [0, 1), by their low 23 bits; uint64 as float64, by 52 bits, the first word's highest."""
    if words.dtype == np.uint64:
        words = words << SHIFT | words >> SHIFT
        return ((words & np.uint64(2**52 - 1)) | np.uint64(1023 << 52)).view("float64") - 1
    return ((words & np.uint32(2**23 - 1)) | np.uint32(127 << 23)).view("float32") - np.float32(1)


def uniform(state: State, count: int, wide: bool = False) -> Any:
    """`count` numbers in [0, 1), float32 or float64."""
    return unit(words(state, count, wide))


def normal(state: State, count: int, wide: bool = False) -> Any:
    """`count` standard normal numbers, float32 or float64, two from two (Box-Muller)."""
    pairs = unit(words(state, count + count % 2, wide)).reshape(-1, 2)
    floor = np.asarray(1e-7, dtype=pairs.dtype)
    radius = np.sqrt(-2 * np.log(np.maximum(pairs[:, 0], floor)))
    angle = np.asarray(2 * np.pi, dtype=pairs.dtype) * pairs[:, 1]
    both = np.stack([np.sin(angle) * radius, np.cos(angle) * radius], axis=-1)
    return both.reshape(-1)[:count].astype(pairs.dtype)
