"""Records TensorFlow Text: compiled models (tests/golden/text/*.xz), its SentencePiece answers, and a BERT preprocessor.

Needs TensorFlow, tensorflow_text of the same version, and sentencepiece. `tools/make_golden.py lowering tokenize` then records
the cases that use the models.
"""

import io
import json
import lzma
import os
import sys
import tarfile
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import sentencepiece  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_text as text  # noqa: E402
from tensorflow_text.core.pybinds import pywrap_fast_bert_normalizer_model_builder as normalizer_builder  # noqa: E402
from tensorflow_text.core.pybinds import pywrap_fast_wordpiece_tokenizer_model_builder as word_builder  # noqa: E402
from tensorflow_text.core.pybinds import pywrap_whitespace_tokenizer_config_builder as space_builder  # noqa: E402

from lowering.cases.text import WORDS  # noqa: E402
from lowering.cases.tokenize import FOLDER, PIECES  # noqa: E402

LINES = [
    "the quick brown fox jumped over the lazy dog", "pieces of sentences are learned from text", "naive models see only bytes",
    "a cafe in 中国 is nice", "Don't panic! It's only 42.", "hello world hello there",
] * 30  # fmt: skip
ASKED = [
    *WORDS,
    "the Quick brown foxes, jumped!",
    "中国 café don't",
    "  hello\tthere  \n x",
    "a\u00adb ﬁ Ａ\u200b x\u0300",
    "\u2581the",
]
FLAGS = ({}, {"add_bos": True, "add_eos": True}, {"reverse": True, "add_bos": True, "add_eos": True}, {"reverse": True})
VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "qu", "##ick", "brown", "fox", "##es", "jump", "##ed", ",", ".", "!", "中", "国",
    "over", "cafe", "don", "'", "t", "a", "##b",
]  # fmt: skip


def trained(kind: str) -> bytes:
    """A SentencePiece model."""
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=buffer, vocab_size=380 if kind == "bpe" else 120, model_type=kind,
        hard_vocab_limit=False, byte_fallback=kind == "bpe", character_coverage=1.0, minloglevel=2,
    )  # fmt: skip
    return buffer.getvalue()


def plain(value):
    """Strings as hexadecimal text, for JSON."""
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value.hex() if isinstance(value, bytes) else value


def answers(model: bytes) -> list[dict]:
    """What TensorFlow Text answers with each of FLAGS."""
    found = []
    for flags in FLAGS:
        numbers = text.SentencepieceTokenizer(model, **flags)
        ids, begins, ends = numbers.tokenize_with_offsets(tf.constant(ASKED))
        pieces = text.SentencepieceTokenizer(model, out_type=tf.string, **flags).tokenize(tf.constant(ASKED))
        found.append({
            "flags": flags, "ids": ids.to_list(), "begins": begins.to_list(), "ends": ends.to_list(),
            "pieces": plain(pieces.to_list()), "back": plain(numbers.detokenize(ids).numpy().tolist()),
            "size": int(numbers.vocab_size()), "third": plain(numbers.id_to_string([3, 4]).numpy().tolist()),
            "known": numbers.string_to_id(["<s>", "\u2581the", "zzz"]).numpy().tolist(),
        })  # fmt: skip
    return found


class Preprocessor(tf.Module):
    """What bert_*_preprocess modules do: normalize, split, word pieces, trim, pack."""

    def __init__(self, vocabulary: Path) -> None:
        super().__init__()
        column = tf.lookup.TextFileIndex
        initializer = tf.lookup.TextFileInitializer(str(vocabulary), tf.string, column.WHOLE_LINE, tf.int64, column.LINE_NUMBER)
        self.table = tf.lookup.StaticHashTable(initializer, 1)
        self.tokenizer = text.BertTokenizer(self.table, lower_case=True, token_out_type=tf.int32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.string)])
    def __call__(self, first, second):
        tokens = [self.tokenizer.tokenize(s).merge_dims(-2, -1) for s in (first, second)]
        ids, segments = text.combine_segments(text.RoundRobinTrimmer(13).trim(tokens), 2, 3)
        words, mask = text.pad_model_inputs(ids, 16)
        types, _ = text.pad_model_inputs(segments, 16)
        return {"input_word_ids": words, "input_mask": mask, "input_type_ids": types}


def record_preprocessor() -> None:
    with tempfile.TemporaryDirectory() as place:
        vocabulary = Path(place) / "vocabulary.txt"
        vocabulary.write_text("\n".join(VOCABULARY) + "\n")
        module = Preprocessor(vocabulary)
        tf.saved_model.save(module, f"{place}/bert_preprocess", signatures=module.__call__)
        with tarfile.open(FOLDER / "bert_preprocess.tar.xz", "w:xz") as archive:
            archive.add(f"{place}/bert_preprocess", "bert_preprocess")
        first = ["the Quick brown foxes, jumped!", "中国 café don't", "", "a the the the the the the the the the the the the"]
        second = ["over the fox.", "", "a", "don't jump over the fox in 中国"]
        found = module(tf.constant(first), tf.constant(second))
    recorded = {"first": first, "second": second, **{k: v.numpy().tolist() for k, v in found.items()}}
    (FOLDER / "bert_preprocess.json").write_text(json.dumps(recorded) + "\n")


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    models = {
        "words": word_builder.build_fast_wordpiece_model(list(PIECES), 100, "##", "[UNK]", True, True),
        "texts": word_builder.build_fast_wordpiece_model(list(PIECES), 100, "##", "[UNK]", False, True),
        "normalizer": normalizer_builder.build_fast_bert_normalizer_model(True),
        "spaces": space_builder.build_whitespace_tokenizer_config(),
        "unigram": trained("unigram"),
        "bpe": trained("bpe"),
    }
    models = {name: bytes(model) for name, model in models.items()}
    for name, model in models.items():
        (FOLDER / f"{name}.xz").write_bytes(lzma.compress(model, preset=9))
    recorded = {"texts": plain([w if isinstance(w, bytes) else w.encode() for w in ASKED])}
    recorded |= {kind: answers(models[kind]) for kind in ("unigram", "bpe")}
    (FOLDER / "sentence_pieces.json").write_text(json.dumps(recorded) + "\n")
    record_preprocessor()
    sys.stdout.write(f"{len(models)} models in {FOLDER}\n")
