"""The host part on numbers of strings gives what it gives on the strings, and computes on each string once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import thaw.lowering.table  # noqa: F401  (fills the registry)
from lowering import text_graphs
from lowering.cases.text import one, s
from thaw.graph.ir import Tensor
from thaw.lowering.host import TextProgram
from thaw.lowering.packing import MOST_REMEMBERED, Kept, pack
from thaw.lowering.words import Growing, Vocabulary, Words, kept_words


def cleaned():
    """As nnlm-en-dim128-with-normalization: punctuation goes, empty rows are filled, words are hashed too."""
    build = text_graphs.Builder()
    build.add("x", "Placeholder", dtype="string", shape=(None,))
    build.add("plain", "StaticRegexReplace", "x", pattern=r"\pP", rewrite="")
    build.const("space", one(" "))
    build.add("split", "StringSplitV2", "plain", "space")
    build.const("nothing", one(""))
    build.add("filled", "SparseFillEmptyRows", "split", Tensor("split", 1), Tensor("split", 2), "nothing", T="string")
    build.add("lower", "StringLower", Tensor("filled", 1), encoding="utf-8")
    text_graphs.look_up(build, "lower")
    build.add("hash", "StringToHashBucketFast", "lower", num_buckets=1000)
    build.add("joined", "StringJoin", "lower", "lower", separator="-")
    return build.graph(["x"], "ids", "hash", "joined", "filled")


GRAPHS = {"sparse": text_graphs.sparse_mean, "padded": text_graphs.padded_tokens, "cleaned": cleaned}


def program(build, inputs=(0,)):
    return TextProgram(build(), text_graphs.resources(), inputs)


def agree(made, values):
    exact, found = (made._host(given) for given in values)
    assert [(v.shape, v.dtype, v.tolist()) for v in found] == [(v.shape, v.dtype, v.tolist()) for v in exact]


TEXTS = st.lists(st.sampled_from([*text_graphs.WORDS, "The", "ÉCOLE,", "x" * 30, "", "a\0b"]), max_size=6).map(" ".join)
MADE = {name: program(build) for name, build in GRAPHS.items()}


@pytest.mark.parametrize("name", GRAPHS)
@settings(deadline=None, max_examples=25)
@given(texts=st.lists(TEXTS, min_size=1, max_size=8), seed=st.integers(0, 9))
def test_batches_by_number_equal_batches_of_strings(name, texts, seed):
    kept, made = Kept(repeated=True), MADE[name]
    rows = kept.pack(texts, 4)
    for batch in np.random.default_rng(seed).integers(0, len(texts), (3, 4)):
        words = kept_words(rows[batch])
        agree(made, ([words.strings()], [words]))
        longer = words.with_row(b"a a a")
        agree(made, ([longer.strings()], [longer]))
    kept.release()


def test_columns_by_number_equal_columns_of_strings():
    made, kept = program(text_graphs.columns, (0, 1)), Kept(repeated=True)
    columns = [kept.pack(s("good", "bad", "?", shape=(3, 1))), kept.pack(s("1.5", "-2", "30"))]
    words = [kept_words(c[[2, 0]]) for c in columns]
    agree(made, ([w.strings() for w in words], words))


def test_each_string_is_computed_on_once():
    asked = []

    def lower(texts):
        asked.extend(texts.tolist())
        return np.array([t.lower() for t in texts.tolist()], object)

    words = Words(np.array([0, 2, 0]), Vocabulary([b"A", b"B", b"a"]))
    for _ in range(3):
        made = words.each("lower", lower)
        assert made.strings().tolist() == [b"a", b"a", b"a"]
    assert asked == [b"A", b"B", b"a"]
    assert words.with_row(b"NEW").each("lower", lower).strings().tolist() == [b"a", b"a", b"a", b"new"]
    assert asked == [b"A", b"B", b"a", b"NEW"]


def test_tables_that_may_change_are_asked_every_time():
    made, kept = program(text_graphs.sparse_mean), Kept(repeated=True)
    words = kept_words(kept.pack(["good"]))
    table = made.resources.objects["t"]
    before = made._host([words])[0].tolist()
    table.mutable = True
    table.insert(s("good"), np.array([99]))
    assert (before, made._host([words])[0].tolist()) == ([3], [99])


def test_nothing_is_remembered_of_what_comes_once_or_is_too_much(monkeypatch: pytest.MonkeyPatch):
    assert kept_words(pack(["a"])) is None and kept_words(Kept().pack(["a"])) is None
    assert kept_words(Kept(repeated=True).pack(["a"])) is not None
    assert MOST_REMEMBERED > 1000
    monkeypatch.setattr("thaw.lowering.packing.MOST_REMEMBERED", 3)
    assert kept_words(Kept(repeated=True).pack(["ab", "cd"])) is None


@given(st.lists(st.lists(st.integers(0, 99)), min_size=1))
def test_arrays_grow(parts):
    growing = Growing()
    for part in parts:
        growing.append(np.array(part, np.int64))
    assert growing.values.tolist() == [n for part in parts for n in part]
