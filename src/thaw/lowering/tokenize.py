"""Tokenizers of TensorFlow Text: words, word pieces, and the fast ones whose vocabulary is compiled. On the host.

SentencePiece is in sentence_pieces.py. The words that word pieces are made of come from RegexSplitWithOffsets (regex.py) and the
normalizers of unicode.py.
"""

import functools
import itertools
import unicodedata
from collections.abc import Container, Iterator

import numpy as np

from thaw.errors import UnhandledValueError
from thaw.lowering.compiled_text import WordPieceModel, normalizer_map, word_piece_model
from thaw.lowering.lookup import Table
from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, row_splits, strings, utf8_starts
from thaw.lowering.strings import row_splits as splits_of
from thaw.lowering.unicode import script_of

Piece = tuple[bytes, int, int]
"""A piece, and where it begins and ends in its word."""


def word_pieces(word: bytes, table: Container[bytes], suffix: bytes, longest: int) -> list[Piece] | None:
    """The longest known pieces of `word` from left to right; None where a part of it is unknown.

    Source: TensorFlow Text, wordpiece_tokenizer.cc.
    """
    ends = [*utf8_starts(word).tolist()[1:], len(word)]
    pieces: list[Piece] = []
    start = 0
    while start < len(word):
        candidates = [e for e in ends if e > start]
        for end in reversed(candidates[:longest] if longest > 0 else candidates):
            piece = (suffix if start else b"") + word[start:end]
            if piece in table:
                pieces.append((piece, start, end))
                start = end
                break
        else:
            return None
    return pieces


@lowering("WordpieceTokenizeWithOffsets", host=True, stateful=True, gradient="none")
def wordpiece_tokenize_with_offsets(
    input_values: Strings,
    vocab_lookup_table: Table,
    *,
    suffix_indicator: str,
    max_bytes_per_word: int,
    use_unknown_token: bool,
    unknown_token: str,
    max_chars_per_token: int = 0,
    split_unknown_characters: bool = False,
    output_row_partition_type: str = "row_lengths",
) -> tuple[Strings, np.ndarray, np.ndarray, np.ndarray]:
    """The word pieces of words: pieces, how many each word has (or row splits), where they begin and end."""
    op = "WordpieceTokenizeWithOffsets"
    if split_unknown_characters:
        raise UnhandledValueError(op, "split_unknown_characters", True, (False,))
    if output_row_partition_type not in {"row_lengths", "row_splits"}:
        raise UnhandledValueError(op, "output_row_partition_type", output_row_partition_type, ("row_lengths", "row_splits"))
    suffix, unknown = suffix_indicator.encode(), unknown_token.encode()
    found: list[Piece] = []
    counts = []
    known: dict[bytes, list[Piece]] = {}
    for word in input_values.ravel().tolist():
        if word not in known:
            whole = unknown if use_unknown_token else word
            if len(word) > max_bytes_per_word:
                known[word] = [(whole, 0, len(whole))]
            else:
                pieces = word_pieces(word, vocab_lookup_table, suffix, max_chars_per_token)
                known[word] = [(whole, 0, len(word))] if pieces is None else pieces
        found += known[word]
        counts.append(len(known[word]))
    rows = np.array(counts, np.int64) if output_row_partition_type == "row_lengths" else row_splits(counts)
    begins, ends = (np.array([p[i] for p in found], np.int64) for i in (1, 2))
    return strings([p[0] for p in found]), rows, begins, ends


WHITE_SPACE = frozenset(
    map(chr, (*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000))
)
"""Unicode's White_Space, which is not what `str.isspace` means."""

IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
"""Characters that BERT takes for words of their own."""


def _characters(text: bytes) -> Iterator[tuple[str, int, int]]:
    """The characters of UTF-8 bytes, a malformed byte being one, and where each begins and ends."""
    at = 0
    for character in text.decode("utf-8", "surrogateescape"):
        end = at + len(character.encode("utf-8", "surrogateescape"))
        yield character, at, end
        at = end


@functools.lru_cache(maxsize=65536)
def _stands_alone(character: str) -> bool:
    """Whether BERT splits before and after it: punctuation (all of ASCII's that is no letter or digit), and ideographs."""
    code = ord(character)
    if code < 128:
        return 32 < code < 127 and not character.isalnum()
    return unicodedata.category(character).startswith("P") or any(low <= code <= high for low, high in IDEOGRAPHS)


def _spans(text: bytes) -> list[tuple[int, int]]:
    """Where the words of a text begin and end: split at white space, punctuation and ideographs, of which the last two stay."""
    spans: list[tuple[int, int]] = []
    start = -1
    for character, begin, end in _characters(text):
        space = character in WHITE_SPACE
        alone = not space and _stands_alone(character)
        if (space or alone) and start >= 0:
            spans.append((start, begin))
            start = -1
        if alone:
            spans.append((begin, end))
        elif not space and start < 0:
            start = begin
    return [*spans, (start, len(text))] if start >= 0 else spans


@functools.lru_cache(maxsize=4)
def _word_piece_model(op: str, data: bytes) -> WordPieceModel:
    return word_piece_model(op, data)


@functools.lru_cache(maxsize=4)
def _normalizer_map(op: str, data: bytes) -> dict[str, bytes]:
    return normalizer_map(op, data)


@lowering("FastWordpieceTokenizeWithOffsets", host=True, gradient="none")
def fast_wordpiece_tokenize_with_offsets(
    input_values: Strings, wp_model: np.ndarray
) -> tuple[Strings, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The word pieces of texts: pieces, their numbers, row splits, where they begin and end.

    Source: TensorFlow Text, fast_wordpiece_tokenizer.cc.
    """
    model = _word_piece_model("FastWordpieceTokenizeWithOffsets", wp_model.tobytes())
    found: list[Piece] = []
    counts = []
    for text in input_values.ravel().tolist():
        before = len(found)
        for begin, end in _spans(text) if model.splits else [(0, len(text))] if text else []:
            word = text[begin:end]
            pieces = word_pieces(word, model.ids, model.suffix, 0) if len(word) <= model.longest else None
            found += [(model.unknown, begin, end)] if pieces is None else [(p, begin + b, begin + e) for p, b, e in pieces]
        counts.append(len(found) - before)
    ids = np.array([model.ids.get(p[0], model.unknown_id) for p in found], np.int64)
    found = [(model.unknown, *p[1:]) if i == model.unknown_id else p for p, i in zip(found, ids.tolist(), strict=True)]
    begins, ends = (np.array([p[i] for p in found], np.int64) for i in (1, 2))
    return strings([p[0] for p in found]), ids, row_splits(counts), begins, ends


@lowering("TFText>FastWordpieceDetokenize", host=True, gradient="none")
def fast_wordpiece_detokenize(input_values: np.ndarray, input_row_splits: np.ndarray, wp_model: np.ndarray) -> Strings:
    """The texts of rows of numbers of word pieces."""
    op = "TFText>FastWordpieceDetokenize"
    model = _word_piece_model(op, wp_model.tobytes())
    if input_values.size and not model.tokens:
        raise UnhandledValueError(op, "support_detokenization", False, (True,))
    ids = input_values.tolist()
    if any(not 0 <= i < len(model.tokens) for i in ids):
        raise ValueError(f"{op} of {ids[:8]}: expected numbers of a vocabulary of {len(model.tokens)}")
    texts = []
    for begin, end in itertools.pairwise(input_row_splits.tolist()):
        parts = [(b"" if model.continues[i] or at == 0 else b" ") + model.tokens[i] for at, i in enumerate(ids[begin:end])]
        texts.append(b"".join(parts))
    return strings(texts)


@lowering("FastBertNormalize", host=True, gradient="none")
def fast_bert_normalize(
    input_values: Strings, fast_bert_normalizer_model: np.ndarray, *, get_offsets: bool = False
) -> tuple[Strings, np.ndarray, np.ndarray]:
    """Texts with each character replaced by what the model says; on request, from which byte each of the result comes."""
    changed = _normalizer_map("FastBertNormalize", fast_bert_normalizer_model.tobytes())
    texts: list[bytes] = []
    offsets: list[int] = []
    counts = []
    for text in input_values.ravel().tolist():
        parts, before = [], len(offsets)
        for character, begin, end in _characters(text):
            new = changed.get(character)
            parts.append(text[begin:end] if new is None else new)
            if get_offsets:
                offsets.extend(range(begin, end) if new is None else [begin] * len(new))
        texts.append(b"".join(parts))
        if get_offsets:
            offsets.append(len(text))
        counts.append(len(offsets) - before)
    return strings(texts, input_values.shape), np.array(offsets, np.int64), row_splits(counts)


@lowering("TFText>WhitespaceTokenizeWithOffsetsV2", host=True, gradient="none")
def whitespace_tokenize_with_offsets_v2(
    input_values: Strings, input_config: Strings
) -> tuple[Strings, np.ndarray, np.ndarray, np.ndarray]:
    """The words between white space, which the bits of `input_config` name by code point: words, row splits, begins, ends.

    Source: TensorFlow Text, whitespace_tokenizer.cc: a word ends one byte before the end of the white space behind it, and so
    takes the first bytes of a space that has several.
    """
    bits = np.unpackbits(np.frombuffer(input_config.item(), np.uint8), bitorder="little")
    spaces = frozenset(map(chr, np.flatnonzero(bits[:0x110000]).tolist()))
    found: list[Piece] = []
    counts = []
    for text in input_values.ravel().tolist():
        before, start = len(found), -1
        for character, begin, end in _characters(text):
            if character in spaces:
                if start >= 0:
                    found.append((text[start : end - 1], start, end - 1))
                start = -1
            elif start < 0:
                start = begin
        if start >= 0:
            found.append((text[start:], start, len(text)))
        counts.append(len(found) - before)
    begins, ends = (np.array([p[i] for p in found], np.int32) for i in (1, 2))
    return strings([p[0] for p in found]), row_splits(counts), begins, ends


def _cut(codes: np.ndarray, splits: np.ndarray, kinds: list[int], drop: int | None) -> tuple[np.ndarray, ...]:
    """Runs of code points of one kind, row by row, but for those of the kind `drop`."""
    points, dtype = codes.tolist(), splits.dtype.name
    values: list[int] = []
    spans: list[tuple[int, int]] = []
    counts = []
    for first, last in itertools.pairwise(splits.tolist()):
        before = len(spans)
        for kind, run in itertools.groupby(range(first, last), key=kinds.__getitem__):
            places = list(run)
            if kind != drop:
                values.extend(points[places[0] : places[-1] + 1])
                spans.append((places[0] - first, places[-1] + 1 - first))
        counts.append(len(spans) - before)
    begins, ends = (np.array([s[i] for s in spans], np.int64) for i in (0, 1))
    return np.array(values, np.int32), row_splits(ends - begins, dtype), begins, ends, row_splits(counts, dtype)


@lowering("WhitespaceTokenizeWithOffsets", host=True, gradient="none", ignored=("Tsplits",))
def whitespace_tokenize_with_offsets(input_values: np.ndarray, input_splits: np.ndarray) -> tuple[np.ndarray, ...]:
    """The words between white space, in code points: values, their splits, begins, ends, the splits of the words into rows."""
    spaces = [int(chr(c) in WHITE_SPACE) for c in input_values.tolist()]
    return _cut(input_values, input_splits, spaces, 1)


@lowering("UnicodeScriptTokenizeWithOffsets", host=True, gradient="none", ignored=("Tsplits",))
def unicode_script_tokenize_with_offsets(
    input_values: np.ndarray, input_splits: np.ndarray, *, keep_whitespace: bool = False
) -> tuple[np.ndarray, ...]:
    """Runs of code points of one script, white space being a script of its own; as WhitespaceTokenizeWithOffsets gives them."""
    white = -2
    scripts = [
        white if chr(c) in WHITE_SPACE else s
        for c, s in zip(input_values.tolist(), script_of(input_values).tolist(), strict=True)
    ]
    return _cut(input_values, input_splits, scripts, None if keep_whitespace else white)


@lowering("SplitMergeTokenizeWithOffsets", host=True, gradient="none")
def split_merge_tokenize_with_offsets(
    input_values: Strings, labels: np.ndarray, row_splits: np.ndarray, *, force_split_at_break_character: bool = True
) -> tuple[Strings, np.ndarray, np.ndarray, np.ndarray]:
    """Words of the characters of texts, by a label of each: 0 begins a word; words, row splits, where they begin and end.

    Source: TensorFlow Text, split_merge_tokenize_kernel.cc: a word that goes on after white space leaves it out.
    """
    op, found, counts = "SplitMergeTokenizeWithOffsets", list[Piece](), []
    for text, (first, last) in zip(input_values.tolist(), itertools.pairwise(row_splits.tolist()), strict=True):
        marks, before, broken = labels[first:last].tolist(), len(found), False
        for number, (character, begin, end) in enumerate(_characters(text)):
            if number >= len(marks):
                raise ValueError(f"{op} got {len(marks)} labels for {text[:60]!r}: expected one for each character")
            space, fresh = character in WHITE_SPACE, len(found) == before
            if not space and (marks[number] == 0 or fresh or (broken and force_split_at_break_character)):
                found.append((text[begin:end], begin, end))
            elif not space:
                word, start, _ = found[-1]
                found[-1] = word + text[begin:end], start, end
            broken = space
        counts.append(len(found) - before)
    begins, ends = (np.array([p[i] for p in found], np.int64) for i in (1, 2))
    return strings([p[0] for p in found]), splits_of(counts), begins, ends
