"""Ops of TensorFlow Text. Their models and what takes several nodes are recorded by tools/make_text_golden.py."""

import lzma
from pathlib import Path

import numpy as np

from lowering.cases.text import BULK, case, i, one, s

R = np.random.default_rng(31)
FOLDER = Path(__file__).parent.parent.parent / "golden" / "text"


def model(name: str) -> np.ndarray:
    """A compiled model as a uint8 vector; empty before it was recorded."""
    file = FOLDER / f"{name}.xz"
    return np.frombuffer(lzma.decompress(file.read_bytes()) if file.exists() else b"", np.uint8)


WORDS, TEXTS, NORMALIZER = model("words"), model("texts"), model("normalizer")
SPACES = one(model("spaces").tobytes())

PIECES = (
    "[UNK]",
    "the",
    "##'",
    "'",
    "##re",
    "great",
    "##est",
    "they",
    "a",
    "##b",
    "don't",
    "中",
    "##",
    "##a",
    "x##y",
    "é",
    "##é",
)
"""The vocabulary of WORDS and TEXTS."""

ODD = s(
    "they're", "##a", "##", "##b", "a##a", "ab", "aXb", "", "great est", "don't", "中a", "a中", "\t a\u00a0ab\u3000the.",
    "a\x01b", "a" * 101, b"\xff", b"a\xffb", b"a\xc3", "x##y", "éé", "#", "…", "a\u0085a\x1ca", "\ufffda", "a\u200bb", b"\x00a",
    "a  b\t", "$1+1=2",
)  # fmt: skip


def codes(*texts: str) -> tuple[np.ndarray, np.ndarray]:
    """Code points and their row splits."""
    return i(*[ord(c) for t in texts for c in t]), np.cumsum([0, *map(len, texts)]).astype(np.int64)


RUNS = codes("ab中 c", "a.b", "a\u0301中\u0301", "1a", "", "a  b\t", "😀a", "ー カー", "אa", " a", "ա1ա", "\u3000x\u00a0")
NUMBERS = i(7, 2, 4, 1, 9, 8, 9, 11, 12, 0, 13, 3)
ROWS = i(0, 3, 3, 5, 12, dtype="int64")


def segments(limit: int, *lengths: list[int], dtype: str = "int32") -> tuple[np.ndarray, ...]:
    """A limit, the values of segments, and their row splits."""
    values = [np.arange(100 * n, 100 * n + sum(rows)).astype(dtype) for n, rows in enumerate(lengths)]
    return np.array(limit, np.int32), *values, *(np.cumsum([0, *rows]).astype(np.int64) for rows in lengths)


TURNS = {
    "equal": segments(6, [4, 1, 9], [4, 9, 1]),
    "nothing": segments(0, [4, 2], [4, 0]),
    "rest-to-the-first": segments(8, [3, 5], [3, 1], [3, 9]),
    "short-first": segments(7, [9, 9, 2], [2, 1, 2], [2, 9, 9]),
    "all-fit": segments(100, [3, 0], [0, 0], [3, 2]),
    "one-segment": segments(3, [5, 0, 2], dtype="int64"),
}

TOKENS = (i(0, 4, 8, 12, 17, 0, 4, 8, 0), i(3, 7, 11, 16, 20, 3, 7, 11, 9), i(0, 5, 8, 8, 9, dtype="int64"))
SPANS = {
    "aligned": (i(4, 17, 0, 0), i(16, 20, 7, 9), s("animal", "x", "loc", ""), i(0, 2, 3, 3, 4, dtype="int64")),
    "sticking-out": (i(1, 6, 13, 18, 5, 2, 7), i(2, 9, 16, 19, 10, 3, 12), s(*"abcdefg"), i(0, 4, 5, 5, 7, dtype="int64")),
    "none": (i(), i(), s(), i(0, 0, 0, 0, 0, dtype="int64")),
}
TAGS = s(
    "B-x", "I-x", "E-x", "O", "S-y", "I-x", "B-y", "O", "E-z", "B-a", "B-b", "S-c", "O", "I-", "O", "O", "B-q", "I-r", "", "Z",
    "E-w",
)  # fmt: skip
TAG_PLACES = np.arange(len(TAGS), dtype=np.int32) * 5
TAG_ROWS = i(0, 5, 9, 9, 16, 21, dtype="int64")
CHARACTERS = s("New York", "a中 b\tc", "", "  x", "é\u3000é", " ")
LENGTHS = [len(text.decode()) for text in CHARACTERS]
MARKS = R.integers(0, 2, sum(LENGTHS)).astype("int32")
MARK_ROWS = np.cumsum([0, *LENGTHS]).astype("int32")

CASES = [
    case("WhitespaceTokenizeWithOffsets", "rows", *RUNS),
    case("UnicodeScriptTokenizeWithOffsets", "rows", *RUNS),
    case("UnicodeScriptTokenizeWithOffsets", "keeps-white-space", *RUNS, keep_whitespace=True),
    case("TFText>WhitespaceTokenizeWithOffsetsV2", "odd", ODD, SPACES),
    case("TFText>WhitespaceTokenizeWithOffsetsV2", "bulk", BULK, SPACES),
    case("FastWordpieceTokenizeWithOffsets", "words", ODD, WORDS),
    case("FastWordpieceTokenizeWithOffsets", "texts", ODD, TEXTS),
    case("FastWordpieceTokenizeWithOffsets", "bulk", BULK, TEXTS),
    case("FastWordpieceTokenizeWithOffsets", "none", ODD[:0], WORDS),
    case("TFText>FastWordpieceDetokenize", "rows", NUMBERS, ROWS, WORDS),
    case("FastBertNormalize", "odd", s("Café ﬁ", "", "\u0300A", b"a\xffB\xc3", "\x00A", "中ß\tÅ"), NORMALIZER),
    case("FastBertNormalize", "offsets", s("Café ﬁ", "", "\u0300A", b"a\xffB\xc3", "\x00A", "中ß"), NORMALIZER, get_offsets=True),
    case("FastBertNormalize", "bulk", BULK, NORMALIZER, get_offsets=True),
    *[case("TFText>RoundRobinTrim", name, *inputs, N=len(inputs) // 2) for name, inputs in TURNS.items()],
    *[case("TFText>RoundRobinGenerateMasks", name, *inputs, N=len(inputs) // 2) for name, inputs in TURNS.items()],
    case("CaseFoldUTF8", "words", s("The  Quick-Brown", "CAT", "ß", "ÅÄÖ", "Äffin", "ﬁ", "a\u00adb", "Ⅷ", "", "İ", "ς")),
    case("CaseFoldUTF8", "bulk", BULK),
    *[
        case(
            "NormalizeUTF8",
            form,
            np.concatenate([BULK, s("株式会社ＫＡＤＯＫＡＷＡ", "é", "ﬁ", "가", "\u1e9b\u0323")]),
            normalization_form=form,
        )
        for form in ("NFC", "NFD", "NFKC", "NFKD")
    ],
    case("RegexSplitWithOffsets", "words", np.concatenate([BULK, ODD]), one(r"(\s+|[!-/]|[\p{P}])"), one(r"[!-/]|[\p{P}]")),
    case("RegexSplitWithOffsets", "drops-delimiters", s("don't stop", "", " a  b", "a b\0c d"), one(r"(\s+)"), one("")),
    case("TFText>ByteSplitWithOffsets", "odd", ODD),
    case("TFText>ByteSplitWithOffsets", "nothing", ODD[:0]),
    case("TFText>ByteSplitByOffsets", "rows", s("hello", "", "中a"), i(0, 1, 5, 2), i(2, 5, 5, 4), i(0, 3, 3, 4, dtype="int64")),
    case("TFText>Utf8Binarize", "odd", ODD, word_length=5, bits_per_char=24, replacement_char=65533),
    case("TFText>Utf8Binarize", "few-bits", BULK, word_length=8, bits_per_char=7, replacement_char=3),
    case("TFText>Utf8Binarize", "nothing", ODD[:0], word_length=2, bits_per_char=4, replacement_char=0),
    *[
        case(
            "TFText>NgramsStringJoin",
            f"rows-of-{n}",
            ODD,
            i(0, 3, 3, 4, len(ODD), dtype="int64"),
            RAGGED_RANK=1,
            width=n,
            axis=-1,
            string_separator="+",
        )
        for n in (1, 2, 4)
    ],
    case(
        "TFText>NgramsStringJoin",
        "dense",
        ODD[:12].reshape(2, 2, 3),
        RAGGED_RANK=0,
        Tsplits="int64",
        width=2,
        axis=-1,
        string_separator=" ",
    ),
    case(
        "TFText>NgramsStringJoin",
        "too-wide",
        ODD[:12].reshape(4, 3),
        RAGGED_RANK=0,
        Tsplits="int64",
        width=4,
        axis=-1,
        string_separator=" ",
    ),
    *[
        case(
            "TFText>OffsetsToBoiseTags",
            f"{name}-{'strict' if strict else 'loose'}",
            *TOKENS[:2],
            *spans[:3],
            TOKENS[2],
            TOKENS[2],
            spans[3],
            spans[3],
            spans[3],
            np.array(strict),
        )
        for name, spans in SPANS.items()
        for strict in (False, True)
    ],
    case("TFText>BoiseTagsToOffsets", "rows", TAG_PLACES, TAG_PLACES + 4, TAGS, TAG_ROWS, TAG_ROWS, TAG_ROWS),
    *[
        case(
            "SplitMergeTokenizeWithOffsets",
            f"{'splits' if split else 'joins'}-at-spaces",
            CHARACTERS,
            MARKS,
            MARK_ROWS,
            force_split_at_break_character=split,
        )
        for split in (True, False)
    ],
    case("RegexSplitWithOffsets", "without-a-group", s("don't stop", "", "a\0b"), one(r"\s+"), one("")),
]

ELSEWHERE = dict.fromkeys(
    (
        "SentencepieceOp", "SentencepieceTokenizeOp", "SentencepieceTokenizeWithOffsetsOp", "SentencepieceDetokenizeOp",
        "SentencepieceVocabSizeOp", "SentencepieceIdToStringOp", "SentencepieceStringToIdOp",
    ),
    "test_sentence_pieces.py: a model and its use are several nodes",
) | {"WordpieceTokenizeWithOffsets": "test_tokenize.py: a table and its use are several nodes"}  # fmt: skip
