"""Finds many words at once among many: one pass of numpy where a dictionary misses the cache three times a word.

A supplement to the dictionary of a table, never its replacement: what the index cannot tell it asks the dictionary. Its hash has
a random key a process, so that no artifact can choose words that fall together. Imports numpy only.
"""

import itertools
import secrets
from collections.abc import Mapping, Sequence

import numpy as np

MANY_KEYS, MANY_WORDS = 2048, 64
"""From so many keys on, and for so many words asked at once, the index is faster than the dictionary."""

LONGEST = 64
"""Bytes of a key that the index holds; each eight of them are a pass more over those words that have them."""

CROWD = 32
"""Keys at most whose hashes begin alike: as many passes as that a search may take."""

_KEY = np.uint64(secrets.randbits(64) | 1)
_SHIFT = np.uint64(32)
_KEPT = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype=np.uint64)  # of a block of 8 bytes, the first n


class _Blocks:
    """Strings end to end, read by blocks of eight bytes."""

    def __init__(self, words: Sequence[bytes]) -> None:
        self.lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
        self.starts = np.cumsum(self.lengths) - self.lengths
        flat = b"".join([*words, bytes(8)])
        # Overlapping on purpose: the eight bytes that begin at each byte.
        self._windows = np.ndarray((len(flat) - 7,), "<u8", flat, 0, (1,))

    def __getitem__(self, at: tuple[np.ndarray, int]) -> np.ndarray:
        """Block `number` of the words `which`, zeros past their ends."""
        which, number = at
        left = np.minimum(self.lengths[which] - 8 * number, 8)
        block: np.ndarray = self._windows[self.starts[which] + 8 * number] & _KEPT[left]
        return block

    def hashes(self) -> np.ndarray:
        """Of all words, by their first `LONGEST` bytes and their length."""
        found = self.lengths.astype(np.uint64) * _KEY
        for number, which in self.passes(np.arange(len(self.lengths))):
            mixed = (found[which] ^ self[which, number]) * _KEY
            found[which] = mixed ^ (mixed >> _SHIFT)
        return found * _KEY

    def passes(self, which: np.ndarray) -> "list[tuple[int, np.ndarray]]":
        """The numbers of blocks, each with those of the words `which` that have it."""
        lengths = self.lengths[which]
        count = min(int(lengths.max(initial=0)), LONGEST)
        return [(n, which if lengths.min() > 8 * n else which[lengths > 8 * n]) for n in range(-(-count // 8))]


class WordIndex:
    """Where each of many words stands.

    Args:
        positions: the dictionary that is asked where the index cannot tell; it must not change while the index lives.
    """

    def __init__(self, positions: Mapping[bytes, int]) -> None:
        self._positions = positions
        keys = list(positions)
        self._keys = _Blocks(keys)
        hashes = self._keys.hashes()
        order = np.argsort(hashes, kind="stable")
        self._hashes = np.append(hashes[order], np.uint64(2**64 - 1))
        self._places = np.append(order, -1)
        self._values = np.fromiter(positions.values(), dtype=np.int64, count=len(keys))
        bits = max(len(keys), 2).bit_length() + 1
        self._cut = np.uint64(64 - bits)
        self._first = np.searchsorted(hashes[order] >> self._cut, np.arange(2**bits, dtype=np.uint64)).astype(np.int32)
        self.crowded = int(np.diff(self._first, append=len(keys)).max()) > CROWD

    def find(self, words: Sequence[bytes]) -> np.ndarray:
        """The position of each word, -1 where it is none of the keys."""
        if self.crowded:
            return np.fromiter(map(self._positions.get, words, itertools.repeat(-1)), dtype=np.int64, count=len(words))
        asked = _Blocks(words)
        hashes = asked.hashes()
        at = self._first[(hashes >> self._cut).astype(np.int64)]
        behind = np.flatnonzero(self._hashes[at] < hashes)
        while len(behind):
            at[behind] += 1
            behind = behind[self._hashes[at[behind]] < hashes[behind]]
        places = self._places[at]
        there = np.flatnonzero((self._hashes[at] == hashes) & (places >= 0))
        found = np.full(len(words), -1, np.int64)
        found[there] = self._values[places[there]]
        same = self._keys.lengths[places[there]] == asked.lengths[there]
        same &= asked.lengths[there] <= LONGEST
        for number, which in asked.passes(there):
            mine = np.searchsorted(there, which) if len(which) < len(there) else slice(None)
            same[mine] &= asked[which, number] == self._keys[places[which], number]
        for place in there[~same].tolist():  # longer than an index looks, or another word of the same hash
            found[place] = self._positions.get(words[place], -1)
        return found
