"""Word pieces by a table, and other ops of TensorFlow Text, with answers written by hand; cases/tokenize.py has recorded ones."""

import numpy as np
import pytest

import thaw.lowering.table  # noqa: F401  (fills the registry)
from lowering.cases.text import one, s
from thaw.errors import UnhandledValueError
from thaw.lowering.lookup import Table
from thaw.lowering.registry import LOWERINGS

PIECES = ["don", "'", "t", "tread", "##ness", "hel", "##lo", "there", "my", "na", "##me", "##な", "日", "[UNK]"]


def call(op, *inputs, **attrs):
    return LOWERINGS[op].function(*inputs, **attrs)


def vocabulary():
    table = Table("pieces", "string", "int64")
    table.initialize(s(*PIECES), np.arange(len(PIECES)))
    return table


def tokenize(*words, **attrs):
    defaults = {"suffix_indicator": "##", "max_bytes_per_word": 100, "use_unknown_token": True, "unknown_token": "[UNK]"}
    return [x.tolist() for x in call("WordpieceTokenizeWithOffsets", s(*words), vocabulary(), **(defaults | attrs))]


def test_word_pieces_are_the_longest_from_the_left():
    pieces, lengths, begins, ends = tokenize("don", "'", "t", "treadness", "hello", "日な")
    assert [p.decode() for p in pieces] == ["don", "'", "t", "tread", "##ness", "hel", "##lo", "日", "##な"]
    assert lengths == [1, 1, 1, 2, 2, 2]
    assert begins == [0, 0, 0, 0, 5, 0, 3, 0, 3] and ends == [3, 1, 1, 5, 9, 3, 5, 3, 6]


def test_unknown_words_are_one_piece():
    assert tokenize("dont", "hello") == [[b"[UNK]", b"hel", b"##lo"], [1, 2], [0, 0, 3], [4, 3, 5]]
    assert tokenize("dont", use_unknown_token=False)[0] == [b"dont"]
    assert tokenize("treadness", max_bytes_per_word=4) == [[b"[UNK]"], [1], [0], [5]]


def test_row_splits_and_shorter_pieces_on_request():
    assert tokenize("hello", "my", output_row_partition_type="row_splits")[1] == [0, 2, 3]
    assert tokenize("hello", max_chars_per_token=2)[0] == [b"[UNK]"]
    with pytest.raises(UnhandledValueError, match="split_unknown_characters"):
        tokenize("x", split_unknown_characters=True)


def test_words_are_split_where_a_pattern_matches():
    delimiters, kept = one(r"(\s+|[!-/])"), one(r"[!-/]")
    tokens, begins, ends, splits = call("RegexSplitWithOffsets", s("don't stop", "", " a  b"), delimiters, kept)
    assert tokens.tolist() == [b"don", b"'", b"t", b"stop", b"a", b"b"]
    assert begins.tolist() == [0, 3, 4, 6, 1, 4] and ends.tolist() == [3, 4, 5, 10, 2, 5] and splits.tolist() == [0, 4, 4, 6]
    assert call("RegexSplitWithOffsets", s("a b"), delimiters, one(""))[0].tolist() == [b"a", b"b"]


def test_case_folding_and_normal_forms():
    words = s("The  Quick-Brown", "CAT", "ß", "ÅÄÖ", "Äffin", "ﬁ", "a\u00adb", "Ⅷ")
    folded = [w.decode() for w in call("CaseFoldUTF8", words).tolist()]
    assert folded == ["the  quick-brown", "cat", "ss", "åäö", "äffin", "fi", "ab", "viii"]
    assert call("NormalizeUTF8", s("株式会社ＫＡＤＯＫＡＷＡ"), normalization_form="NFKC").tolist() == [
        "株式会社KADOKAWA".encode()
    ]
    assert call("NormalizeUTF8", s("é"), normalization_form="NFD").tolist() == ["e\u0301".encode()]
    with pytest.raises(UnhandledValueError, match="normalization_form"):
        call("NormalizeUTF8", words, normalization_form="NFX")
