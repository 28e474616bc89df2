"""Strings as numbers that Keras' data adapters and compiled steps take: packed into bytes of one width, or as references.

The packed form of strings of shape `s` is uint8 of shape `s + (tokens, width)`: each string's bytes, a closing byte, zeros. The
shape itself says for how many tokens a step must be compiled, so it holds after shuffling and batching. For the length of one
call the strings themselves may stay on the host instead, `Kept`, and rows of the same kind of shape say where. Imports numpy.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np

from thaw.errors import TextsGoneError
from thaw.lowering.strings import Strings, as_strings, strings

END = b"\x01"
"""Closes each string, so that zero bytes at its end are kept."""

REFERENCE = np.dtype([("texts", "<u4"), ("row", "<u4"), ("closing", "u1")])
"""A row that says where its string is kept."""

CLOSING = 2
"""Closes a reference; a packed string's last byte before the zeros is `END`."""

MOST_REMEMBERED = 1 << 28
"""Bytes of strings of which a `fit` remembers what the host part makes; of more, each batch is computed anew."""

Pack: TypeAlias = Callable[[Any, "int | None"], np.ndarray]
"""`pack`, or what stands in for it."""

TOKEN = re.compile(rb"[\w\x80-\xff]+|[^\w\s]")
SPACE, IN_WORD, ALONE = 0, 1, 2
KINDS = bytes(
    SPACE if bytes([code]).isspace() else IN_WORD if TOKEN.fullmatch(bytes([code, 97])) else ALONE for code in range(256)
)
"""What each byte is to `TOKEN`."""


def bucket(number: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32 ... that is at least `number`: few shapes, at most half of one wasted."""
    power = 1
    while True:
        for size in (power, power + power // 2):
            if size >= number:
                return size
        power *= 2


def token_counts(texts: Sequence[bytes]) -> np.ndarray:
    """The number of words and punctuation marks of each text: as many as `TOKEN` finds, counted in one pass."""
    kinds = np.frombuffer(b" ".join([b"", *texts, b""]).translate(KINDS), np.uint8)
    begins = (kinds[1:] == ALONE) | ((kinds[1:] == IN_WORD) & (kinds[:-1] != IN_WORD))
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    counted = np.cumsum(begins)
    return np.diff(counted[ends - 1], prepend=0)


def count_tokens(texts: Sequence[bytes]) -> int:
    """The number of words and punctuation marks of the longest text, at least 1."""
    return int(token_counts(texts).max(initial=1))


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
    """The strings of `pack` or `Kept.pack`; for rows of ones, with which Keras tries out a model on PyTorch, `trial`.

    Raises:
        TextsGoneError: they were kept for a call that is over.
    """
    shape = packed.shape[:-2]
    total = packed.shape[-2] * packed.shape[-1]
    ones = END * total
    flat = np.ascontiguousarray(packed, dtype=np.uint8).reshape(-1, total)
    if refers(packed):
        texts, numbers, _ = Kept.found(packed)
        kept: Strings = texts[numbers]
        return kept
    rows = flat.view(f"S{total}")
    return strings([trial if text == ones and total > 1 else text[:-1] for text in rows.ravel().tolist()], shape)


def is_trial(packed: np.ndarray) -> bool:
    """Whether there is nothing but ones, as no two texts are packed."""
    return packed.size > 1 and packed.shape[-2] * packed.shape[-1] > 1 and bool((packed == END[0]).all())


def refers(packed: np.ndarray) -> bool:
    """Whether packed strings are references; those of one array all are, or none."""
    size = REFERENCE.itemsize
    if not packed.size or packed.shape[-2] * packed.shape[-1] < size:
        return False
    row = packed[(0,) * (packed.ndim - 2)].ravel()
    return bool(row[size - 1] == CLOSING and not row[size:].any())


class Kept:
    """Strings that stay on the host while a call lasts; what goes through the backend in their place says where they are.

    Strings that need not be packed, sent to the device, sent back and unpacked cost nothing but their own memory.

    Args:
        repeated: whether the call will ask for the same strings again.
    """

    _texts: ClassVar[dict[int, tuple[Strings, dict[str, Any] | None]]] = {}
    _numbers = itertools.count()

    def __init__(self, *, repeated: bool = False) -> None:
        self._own: list[int] = []
        self._repeated = repeated

    def pack(self, values: Any, tokens: int | None = None) -> np.ndarray:
        """What stands for strings: uint8 of shape (..., tokens, width), as of the function `pack`."""
        array = as_strings(values)
        texts = array.ravel()
        tokens = bucket(count_tokens(texts.tolist())) if tokens is None else tokens
        number = next(self._numbers) % 2**32
        remembers = self._repeated and sum(map(len, texts.tolist())) <= MOST_REMEMBERED
        self._texts[number] = texts, {} if remembers else None
        self._own.append(number)
        width = bucket(-(-REFERENCE.itemsize // tokens))
        rows = np.zeros((len(texts), tokens * width), np.uint8)
        references = np.zeros(len(texts), REFERENCE)
        references["texts"], references["row"], references["closing"] = number, np.arange(len(texts)), CLOSING
        rows[:, : REFERENCE.itemsize] = references.view(np.uint8).reshape(-1, REFERENCE.itemsize)
        return rows.reshape(*array.shape, tokens, width)

    def release(self) -> None:
        """Lets go of the strings."""
        for number in self._own:
            self._texts.pop(number, None)

    @classmethod
    def found(cls, packed: np.ndarray) -> tuple[Strings, np.ndarray, dict[str, Any] | None]:
        """For packed strings that are references: all that were kept with them, which of them, and what is remembered of them.

        The last is a place for whoever computes on them, None where nothing is to be remembered.

        Raises:
            TextsGoneError: their call is over.
        """
        rows = packed.reshape(-1, packed.shape[-2] * packed.shape[-1])[:, : REFERENCE.itemsize]
        references = np.ascontiguousarray(rows, dtype=np.uint8).view(REFERENCE)[:, 0]
        number = int(references["texts"][0])
        texts, memory = cls._texts.get(number, (None, None))
        if texts is None or (references["texts"] != number).any() or references["row"].max() >= len(texts):
            raise TextsGoneError(len(references))
        return texts, references["row"].reshape(packed.shape[:-2]).astype(np.int64), memory
