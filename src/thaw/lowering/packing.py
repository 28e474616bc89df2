"""Strings as numbers that Keras' data adapters and compiled steps take: packed into bytes of one width.

The packed form of strings of shape `s` is uint8 of shape `s + (tokens, width)`: each string's bytes, a closing byte, zeros. The
shape itself says for how many tokens a step must be compiled, so it holds after shuffling and batching. Imports numpy.
"""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from thaw.lowering.strings import Strings, as_strings, strings

END = b"\x01"
"""Closes each string, so that zero bytes at its end are kept."""

TOKEN = re.compile(rb"[\w\x80-\xff]+|[^\w\s]")


def bucket(number: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32 ... that is at least `number`: few shapes, at most half of one wasted."""
    power = 1
    while True:
        for size in (power, power + power // 2):
            if size >= number:
                return size
        power *= 2


def count_tokens(texts: Iterable[bytes]) -> int:
    """The number of words and punctuation marks of the longest text, at least 1."""
    return max(map(len, map(TOKEN.findall, texts)), default=1) or 1


def pack(values: Any, tokens: int | None = None) -> np.ndarray:
    """Strings (any that `as_strings` takes) as uint8 of shape (..., tokens, width).

    Args:
        values: the strings.
        tokens: for how many tokens a text a compiled step makes room; by default enough for the longest of `values`.
    """
    array = as_strings(values)
    texts = array.ravel().tolist()
    tokens = bucket(count_tokens(texts)) if tokens is None else tokens
    longest = max(map(len, texts), default=0) + 1
    width = bucket(-(-longest // tokens))
    total = tokens * width
    packed = np.array([text + END for text in texts], dtype=f"S{total}")
    return packed.view(np.uint8).reshape(*array.shape, tokens, width)


def unpack(packed: np.ndarray, trial: bytes = b"") -> Strings:
    """The strings of `pack`; in place of rows of nothing but ones, with which Keras tries out a model on PyTorch, `trial`."""
    shape = packed.shape[:-2]
    total = packed.shape[-2] * packed.shape[-1]
    ones = END * total
    rows = np.ascontiguousarray(packed, dtype=np.uint8).reshape(-1, total).view(f"S{total}")
    return strings([trial if text == ones and total > 1 else text[:-1] for text in rows.ravel().tolist()], shape)


def is_trial(packed: np.ndarray) -> bool:
    """Whether there is nothing but ones, as no two texts are packed."""
    return packed.size > 1 and packed.shape[-2] * packed.shape[-1] > 1 and bool((packed == END[0]).all())
