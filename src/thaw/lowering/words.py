"""Strings by number: what the host part makes of a string is computed once, however often a batch brings it.

While a `fit` lasts, its texts have numbers (`thaw.lowering.packing.Kept`). A plan that runs on numbers asks op by op: what treats
each string by itself answers from what it made of it before; what splits strings gives the numbers of words, split before; what
only moves strings moves numbers. Any other op gets the strings. Ops decide by their names alone, so nothing here knows a graph.
Imports numpy.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from thaw.lowering.lookup import Table
from thaw.lowering.loop_kernels import as_written
from thaw.lowering.packing import Kept, refers
from thaw.lowering.run import Context, Plan, Step
from thaw.lowering.strings import Strings, strings
from thaw.lowering.values import Value, is_host

EACH = frozenset({
    "Equal", "LookupTableFind", "LookupTableFindV2", "NotEqual", "RegexFullMatch", "RegexReplace", "StaticRegexFullMatch",
    "StaticRegexReplace", "StringLength", "StringLower", "StringStrip", "StringToHashBucket", "StringToHashBucketFast",
    "StringToHashBucketStrong", "StringUpper",
})  # fmt: skip
"""Ops whose answer for a string depends on that string alone, as long as their other inputs are single values."""

SPLITS = frozenset({"StringSplit", "StringSplitV2"})
"""Ops that give indices, values and shape of the pieces of each string."""

MOVES = {
    "ExpandDims": ((0,), (0,)),
    "GatherV2": ((0,), (0,)),
    "Identity": ((0,), (0,)),
    "RaggedTensorToSparse": ((-1,), (1,)),
    "RaggedTensorToTensor": ((1, 2), (0,)),
    "Reshape": ((0,), (0,)),
    "SparseFillEmptyRows": ((1, 3), (1,)),
    "SparseToDense": ((2, 3), (0,)),
    "Squeeze": ((0,), (0,)),
}
"""Ops that only put strings elsewhere: positions of the strings among inputs and outputs."""

_running = threading.RLock()  # a backend may call the host from several threads


class Growing:
    """An array that grows at its end."""

    def __init__(self) -> None:
        self._room: np.ndarray | None = None
        self.count = 0

    def append(self, values: np.ndarray) -> None:
        """Adds rows; every other time or so without copying those that are there."""
        count = self.count + len(values)
        if self._room is None or count > len(self._room):
            room = np.empty((max(count, 2 * self.count), *values.shape[1:]), values.dtype)
            room[: self.count] = self.values
            self._room = room
        self._room[self.count : count] = values
        self.count = count

    @property
    def values(self) -> np.ndarray:
        """All rows."""
        return np.empty(0, np.int64) if self._room is None else self._room[: self.count]


class Vocabulary:
    """Strings by number, and what was made of each."""

    def __init__(self, items: Sequence[bytes] = ()) -> None:
        self._items = list(items)
        self._codes: dict[bytes, int] = {}  # of those that came later
        self._made: dict[Hashable, Any] = {}

    def codes(self, words: Sequence[bytes]) -> np.ndarray:
        """The numbers of `words`, which those that have none are given."""
        known, items = self._codes, self._items
        for word in words:
            if word not in known:
                known[word] = len(items)
                items.append(word)
        return np.fromiter(map(known.__getitem__, words), np.int64, len(words))

    def strings(self, codes: np.ndarray) -> Strings:
        """The strings of these numbers, in their shape."""
        return strings(map(self._items.__getitem__, codes.ravel().tolist()), codes.shape)

    def each(self, key: Hashable, function: Callable[[Strings], np.ndarray]) -> "np.ndarray | tuple[np.ndarray, Vocabulary]":
        """What `function` makes of every string, by number; of what are strings again, their numbers and vocabulary.

        Args:
            key: under which it is kept.
            function: of a vector of strings, treats each by itself.
        """
        kept, target = self._made.get(key, (None, None))
        if kept is None or kept.count < len(self._items):
            made = function(strings(self._items[0 if kept is None else kept.count :]))
            if kept is None:
                kept, target = self._made[key] = Growing(), Vocabulary() if made.dtype == object else None
            kept.append(made if target is None else target.codes(made.tolist()))
        return kept.values if target is None else (kept.values, target)

    def pieces(self, key: Hashable, function: Callable[[Strings], Sequence[np.ndarray]]) -> "Pieces":
        """What `function` splits every string into; arguments as those of `each`."""
        kept: Pieces = self._made.setdefault(key, Pieces())
        new = self._items[kept.lengths.count :]
        if new:
            kept.append(len(new), *function(strings(new))[:2])
        return kept


class Pieces:
    """The pieces of strings: how many each has, and their numbers end to end."""

    def __init__(self) -> None:
        self.vocabulary = Vocabulary()
        self.lengths, self._starts, self._codes = Growing(), Growing(), Growing()

    def append(self, count: int, indices: np.ndarray, values: Strings) -> None:
        """Adds those of `count` strings, as the ops give them."""
        lengths = np.bincount(indices[:, 0], minlength=count)
        self._starts.append(self._codes.count + np.cumsum(lengths) - lengths)
        self.lengths.append(lengths)
        self._codes.append(self.vocabulary.codes(values.tolist()))

    def of(self, codes: np.ndarray) -> tuple[np.ndarray, "Words", np.ndarray]:
        """Indices, values and shape for the strings of these numbers."""
        lengths = self.lengths.values[codes]
        rows = np.repeat(np.arange(len(codes)), lengths)
        columns = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        values = self._codes.values[np.repeat(self._starts.values[codes], lengths) + columns]
        shape = np.array([len(codes), lengths.max(initial=0)], np.int64)
        return np.stack([rows, columns], axis=1), Words(values, self.vocabulary), shape


class Words:
    """An array of strings by number.

    Attributes:
        codes: the numbers.
        vocabulary: whose they are.
    """

    def __init__(self, codes: np.ndarray, vocabulary: Vocabulary) -> None:
        self.codes, self.vocabulary = codes, vocabulary

    @property
    def size(self) -> int:
        """How many strings."""
        return int(self.codes.size)

    def strings(self) -> Strings:
        """The strings themselves."""
        return self.vocabulary.strings(self.codes)

    def with_row(self, text: bytes) -> "Words":
        """One row more, all of it `text`."""
        row = np.broadcast_to(self.vocabulary.codes([text])[0], (1, *self.codes.shape[1:]))
        return Words(np.concatenate([self.codes, row]), self.vocabulary)

    def each(self, key: Hashable, function: Callable[[Strings], np.ndarray]) -> "np.ndarray | Words":
        """What `function` makes of each of them."""
        made = self.vocabulary.each(key, function)
        return Words(made[0][self.codes], made[1]) if isinstance(made, tuple) else made[self.codes]


class WordPlan(Plan):
    """A plan whose inputs may be `Words`; its outputs are not."""

    @as_written
    def run(self, context: Context, inputs: Sequence[Value]) -> list[Value]:
        """As that of a plan."""
        with _running:
            return [_plain(value) for value in super().run(context, inputs)]

    def _apply(self, step: Step, context: Context, arguments: list[Value]) -> Value:
        places = [i for i, value in enumerate(arguments) if isinstance(value, Words)]
        if not places:
            return super()._apply(step, context, arguments)
        op = step.node.op
        if op in MOVES:
            return self._moved(step, context, arguments)
        others = [v for i, v in enumerate(arguments) if i != places[0]]
        if len(places) == 1 and (op in EACH or op in SPLITS) and all(map(_is_single, others)):
            words: Words = arguments[places[0]]
            key = (step.node.name, id(self), *(v.item() if is_host(v) else id(v) for v in others))

            def plain(of: Strings) -> Any:
                return super(WordPlan, self)._apply(step, context, [of if i in places else v for i, v in enumerate(arguments)])

            if op in EACH:
                return words.each(key, plain)
            if words.codes.ndim == 1:
                return words.vocabulary.pieces(key, plain).of(words.codes)
        return super()._apply(step, context, [_plain(v) for v in arguments])

    def _moved(self, step: Step, context: Context, arguments: list[Value]) -> Value:
        inputs, outputs = MOVES[step.node.op]
        places = [i % len(arguments) for i in inputs]
        vocabulary = next((v.vocabulary for i, v in enumerate(arguments) if i in places and isinstance(v, Words)), None)
        given = [_plain(v) if i not in places else v for i, v in enumerate(arguments)]
        if vocabulary is None:
            return super()._apply(step, context, given)
        for i in places:
            if isinstance(given[i], Words) and given[i].vocabulary is vocabulary:
                given[i] = given[i].codes
            else:
                text = _plain(given[i])
                given[i] = vocabulary.codes(text.ravel().tolist()).reshape(text.shape)
        made = super()._apply(step, context, given)
        if not isinstance(made, tuple):
            return Words(made, vocabulary)
        return tuple(Words(v, vocabulary) if i in outputs else v for i, v in enumerate(made))


def kept_words(packed: np.ndarray) -> "Words | None":
    """The strings that packed ones refer to, by number; None where they refer to none, or to what will not be asked for again."""
    if not refers(packed):
        return None
    texts, codes, memory = Kept.found(packed)
    if memory is None:
        return None
    with _running:
        if "vocabulary" not in memory:
            memory["vocabulary"] = Vocabulary(texts.tolist())
        return Words(codes, memory["vocabulary"])


def _plain(value: Value) -> Value:
    return value.strings() if isinstance(value, Words) else value


def _is_single(value: Value) -> bool:
    """Whether an op's other input is one value, which it may be remembered by."""
    if isinstance(value, Table):
        return not value.mutable
    return is_host(value) and value.size == 1 and value.ndim == 0
