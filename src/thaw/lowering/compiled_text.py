"""The compiled models of TensorFlow Text's fast tokenizers: flatbuffers around double-array tries, read into dictionaries.

The buffer is a constant of the graph, hence data from a stranger: every offset is checked against the bytes that are there, and
a trie has no more keys than units. Imports errors and numpy; no op is here.
"""

import struct
from dataclasses import dataclass

import numpy as np

from thaw.errors import UnhandledValueError

LONGEST_KEY = 512
"""Bytes of a key of a trie: a token has 255 at most, its mark of a suffix stands before it."""


class FlatTable:
    """A table of a flatbuffer: fields by number, absent ones at their default.

    Source: FlatBuffers' "internals" page.
    """

    def __init__(self, op: str, data: bytes) -> None:
        self.op = op
        self.data = data
        self._at = self._number("<I", 0)
        table = self._at - self._number("<i", self._at)
        size = self._number("<H", table)
        self._fields = [self._number("<H", table + 4 + 2 * i) for i in range(max(size - 4, 0) // 2)]

    def broken(self, what: str) -> UnhandledValueError:
        """The error for a buffer that is none."""
        return UnhandledValueError(self.op, "model", what, ("a flatbuffer of TensorFlow Text",))

    def _number(self, layout: str, at: int) -> int:
        if not 0 <= at <= len(self.data) - struct.calcsize(layout):
            raise self.broken(f"byte {at} of {len(self.data)}")
        return int(struct.unpack_from(layout, self.data, at)[0])

    def _place(self, field: int) -> int:
        """Where a field stands; 0 where it is absent."""
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._at + offset if offset else 0

    def number(self, field: int) -> int:
        """A field of type uint32; 0 where it is absent."""
        place = self._place(field)
        return self._number("<I", place) if place else 0

    def flag(self, field: int) -> bool:
        """A field of type bool."""
        place = self._place(field)
        return bool(place and self._number("<B", place))

    def _vector(self, place: int, width: int) -> bytes:
        if not place:
            return b""
        start = place + self._number("<I", place)
        count = self._number("<I", start)
        if count * width > len(self.data) - start - 4:
            raise self.broken(f"a vector of {count} at byte {start} of {len(self.data)}")
        return self.data[start + 4 : start + 4 + count * width]

    def content(self, field: int) -> bytes:
        """A field of type string or [uint8]."""
        return self._vector(self._place(field), 1)

    def numbers(self, field: int) -> np.ndarray:
        """A field of type [uint32]."""
        return np.frombuffer(self._vector(self._place(field), 4), "<u4")

    def texts(self, field: int) -> list[bytes]:
        """A field of type [string]."""
        place = self._place(field)
        if not place:
            return []
        start = place + self._number("<I", place) + 4
        count = self._number("<I", start - 4)
        if count * 4 > len(self.data) - start:
            raise self.broken(f"a vector of {count} at byte {start} of {len(self.data)}")
        return [self._vector(start + 4 * i, 1) for i in range(count)]


def trie_items(units: np.ndarray, root: int = 0) -> dict[bytes, int]:
    """The keys and values of a double-array trie (Darts-clone) below one of its nodes, found level by level."""
    found: dict[bytes, int] = {}
    size = len(units)
    labels = np.arange(1, 256, dtype=np.int64)
    seen = np.zeros(size, bool)  # a unit belongs to one parent: what comes back is a cycle of a broken trie
    places, keys = np.full(int(0 <= root < size), root, np.int64), [b""]
    for _ in range(LONGEST_KEY):
        if not len(places):
            break
        heads = units[places].astype(np.int64)
        bases = places ^ ((heads >> 10) << ((heads & 512) >> 6))
        leaves = np.flatnonzero((heads & 256).astype(bool) & (bases < size))
        for row in leaves.tolist():
            found[keys[row]] = int(units[bases[row]]) & 0x7FFFFFFF
        children = bases[:, None] ^ labels
        fits = children < size
        child_units = units[np.where(fits, children, 0)]
        fits &= (child_units & np.uint32(0x800000FF)) == labels
        fits &= ~seen[np.where(fits, children, 0)]
        rows, columns = np.nonzero(fits)
        places = children[rows, columns]
        seen[places] = True
        keys = [keys[r] + bytes((c + 1,)) for r, c in zip(rows.tolist(), columns.tolist(), strict=True)]
    return found


@dataclass(frozen=True)
class WordPieceModel:
    """A compiled vocabulary of word pieces.

    Attributes:
        ids: of each token, those that continue a word with the mark before them.
        suffix: the mark.
        unknown: the token of words that have no pieces.
        unknown_id: its number.
        longest: bytes of a word; longer ones are unknown.
        splits: whether text is split at white space and punctuation first.
        tokens: of all numbers, for the way back; empty where the model does not serve it.
        continues: of all numbers, whether the token continues a word.
    """

    ids: dict[bytes, int]
    suffix: bytes
    unknown: bytes
    unknown_id: int
    longest: int
    splits: bool
    tokens: list[bytes]
    continues: list[bool]


def word_piece_model(op: str, data: bytes) -> WordPieceModel:
    """The vocabulary in a buffer.

    Source: TensorFlow Text, fast_wordpiece_tokenizer_model.fbs and fast_wordpiece_tokenizer_utils.h.
    """
    table = FlatTable(op, data)
    continues = [bool(b) for b in table.content(13)]
    tokens = table.texts(12)
    if len(continues) != len(tokens):
        raise table.broken(f"{len(tokens)} tokens and {len(continues)} marks")
    units, suffix, unknown_id = table.numbers(0), table.content(5), table.number(7)
    # What continues a word lies below a root of its own, which in models that split text is reached from nowhere else.
    values = trie_items(units) | {suffix + key: value for key, value in trie_items(units, table.number(3)).items()}
    ids = {key: (value >> 8) & 0x3FFFFF for key, value in values.items()}
    alone = [(int(v) >> 8) & 0x3FFFFF for v in table.numbers(8)]  # the pieces of a word that is the mark itself
    if len(alone) == 1 and alone[0] != unknown_id:
        ids[suffix] = alone[0]
    return WordPieceModel(
        ids=ids,
        suffix=suffix,
        unknown=table.content(6),
        unknown_id=unknown_id,
        longest=table.number(4),
        splits=table.flag(10),
        tokens=tokens,
        continues=continues,
    )


def normalizer_map(op: str, data: bytes) -> dict[str, bytes]:
    """The characters that become something else, and what, from the buffer of a normalizer.

    Source: TensorFlow Text, fast_bert_normalizer_model.fbs: a value is `offset << 6 | length` into a pool of bytes.
    """
    table = FlatTable(op, data)
    pool = table.content(3)
    values = trie_items(table.numbers(1)) | {b"\0": table.number(2)}
    changed: dict[str, bytes] = {}
    for key, value in values.items():
        offset, length = (value & 0x3FFFFFFF) >> 6, value & 63
        if offset + length > len(pool):
            raise table.broken(f"bytes {offset} to {offset + length} of a pool of {len(pool)}")
        changed[key.decode("utf-8", "surrogateescape")] = pool[offset : offset + length]
    return changed
