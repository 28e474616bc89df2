"""SentencePiece, and a BERT preprocessor as a whole, against what TensorFlow Text answered (tools/make_text_golden.py)."""

import json
import sys
import tarfile

import keras
import numpy as np
import pytest

import thaw
from lowering.cases.text import s
from lowering.cases.tokenize import FOLDER, model
from thaw.errors import MissingLibraryError, UnhandledValueError
from thaw.graph.ir import Node
from thaw.lowering.registry import LOWERINGS
from thaw.lowering.run import Context, Resources

ANSWERS = json.loads((FOLDER / "sentence_pieces.json").read_text())
TEXTS = s(*map(bytes.fromhex, ANSWERS["texts"]))
KINDS = ("unigram", "bpe")


def pieces_of(content: bytes):
    context = Context(Resources())
    context.node = Node("sp", "SentencepieceOp")
    return LOWERINGS["SentencepieceOp"].function(context, model=content, shared_name="sp")


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    pytest.importorskip("sentencepiece", reason="the extra `text` is not installed")
    return request.param, pieces_of(model(request.param).tobytes())


def tokenize(handle, texts, op="SentencepieceTokenizeWithOffsetsOp", nbest_size=0, out_type="int32", **flags):
    asked = [np.array(flags.get(name, False)) for name in ("add_bos", "add_eos", "reverse")]
    return LOWERINGS[op].function(handle, texts, np.array(nbest_size), np.array(1.0), *asked, out_type=out_type)


def nested(values, splits):
    return [part.tolist() for part in np.split(values, splits[1:-1])]


@pytest.mark.parametrize("number", range(4), ids=["plain", "bos-eos", "reversed-bos-eos", "reversed"])
def test_sentence_pieces_are_those_of_tensorflow_text(kind, number):
    name, handle = kind
    answer = ANSWERS[name][number]
    ids, splits, begins, ends = tokenize(handle, TEXTS, **answer["flags"])
    assert ids.dtype == np.int32 and splits.dtype == np.int64
    assert nested(ids, splits) == answer["ids"]
    assert nested(begins, splits) == answer["begins"] and nested(ends, splits) == answer["ends"]
    words, splits = tokenize(handle, TEXTS, "SentencepieceTokenizeOp", out_type="string", **answer["flags"])
    assert nested(words, splits) == [[bytes.fromhex(p) for p in row] for row in answer["pieces"]]
    flags = [np.array(answer["flags"].get(f, False)) for f in ("add_bos", "add_eos", "reverse")]
    back = LOWERINGS["SentencepieceDetokenizeOp"].function(handle, ids, splits, *flags)
    assert back.tolist() == [bytes.fromhex(t) for t in answer["back"]]


def test_the_vocabulary_of_a_sentence_piece_model(kind):
    name, handle = kind
    answer = ANSWERS[name][0]
    assert LOWERINGS["SentencepieceVocabSizeOp"].function(handle) == answer["size"]
    third = LOWERINGS["SentencepieceIdToStringOp"].function(handle, np.array([3, 4], np.int32))
    assert third.tolist() == [bytes.fromhex(p) for p in answer["third"]]
    known = LOWERINGS["SentencepieceStringToIdOp"].function(handle, s("<s>", "\u2581the", "zzz"))
    assert known.tolist() == answer["known"]
    with pytest.raises(ValueError, match="vocabulary of"):
        LOWERINGS["SentencepieceIdToStringOp"].function(handle, np.array([answer["size"]]))
    with pytest.raises(ValueError, match="vocabulary of"):
        ids, splits, no = np.array([-1]), np.array([0, 1]), np.array(False)
        LOWERINGS["SentencepieceDetokenizeOp"].function(handle, ids, splits, no, no, no)


def test_sampled_pieces_are_refused(kind):
    with pytest.raises(UnhandledValueError, match="nbest_size"):
        tokenize(kind[1], TEXTS, nbest_size=-1)


@pytest.mark.parametrize("content", [b"", b"\x12\x34junk", b"\xff" * 40], ids=["empty", "truncated", "noise"])
def test_what_is_no_sentence_piece_model_is_refused(content):
    pytest.importorskip("sentencepiece", reason="the extra `text` is not installed")
    with pytest.raises(UnhandledValueError, match="model"):
        pieces_of(content)


def test_the_library_is_asked_for_where_it_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingLibraryError, match="sentencepiece"):
        pieces_of(b"anything")


@pytest.mark.parametrize("name", ["words", "texts", "normalizer"])
def test_broken_compiled_models_are_refused(name):
    good, rng = model(name)[:60000], np.random.default_rng(0)
    op = "FastBertNormalize" if name == "normalizer" else "FastWordpieceTokenizeWithOffsets"
    refused = 0
    for _ in range(40):
        bad = good.copy()
        bad[rng.integers(0, 120, 3)] = rng.integers(0, 256, 3)
        try:
            LOWERINGS[op].function(s("they're"), bad)
        except UnhandledValueError:
            refused += 1
    assert refused
    with pytest.raises(UnhandledValueError, match="flatbuffer"):
        LOWERINGS[op].function(s("a"), good[:30])


def test_a_bert_preprocessor_packs_pairs_of_texts(tmp_path):
    with tarfile.open(FOLDER / "bert_preprocess.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    answer = json.loads((FOLDER / "bert_preprocess.json").read_text())
    path = str(tmp_path / "bert_preprocess")
    layer = thaw.KerasLayer(path, signature="serving_default", signature_outputs_as_dict=True)
    found = layer({name: np.array(answer.pop(name)) for name in ("first", "second")})
    assert {name: keras.ops.convert_to_numpy(value).tolist() for name, value in found.items()} == answer
