"""The index of a table's words answers as the dictionary does, whatever the words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thaw.lowering import word_index
from thaw.lowering.word_index import LONGEST, WordIndex

WORDS = st.one_of(
    st.binary(max_size=20),
    st.integers(0, 9).map(lambda n: b"a" * (LONGEST - 4 + n)),
    st.integers(0, 3).map(lambda n: b"w" + b"\0" * n),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(WORDS, unique=True), st.lists(WORDS))
def test_every_word_is_found_where_the_dictionary_has_it(keys, words):
    positions = {key: 3 * i + 1 for i, key in enumerate(keys)}
    found = WordIndex(positions).find(words + keys)
    assert found.tolist() == [positions.get(w, -1) for w in words + keys]


def test_words_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(word_index._Blocks, "hashes", lambda self: np.full(len(self.lengths), 7, np.uint64))
    positions = {f"w{i}".encode(): i for i in range(10)}
    assert WordIndex(positions).find([b"w3", b"w9", b"x1", b""]).tolist() == [3, 9, -1, -1]


def test_keys_that_crowd_are_left_to_the_dictionary(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(word_index._Blocks, "hashes", lambda self: np.arange(len(self.lengths), dtype=np.uint64))
    positions = {f"w{i}".encode(): i for i in range(100)}
    index = WordIndex(positions)
    assert index.crowded and index.find([b"w3", b"w99", b"x"]).tolist() == [3, 99, -1]
