"""Tokenizers of TensorFlow Text: word pieces. On the host.

Others (SentencePiece, FastWordpiece, ...) hold a compiled model of their own and are refused by name, as ops without a lowering.
The words that word pieces are made of come from RegexSplitWithOffsets (regex.py) and the normalizers of unicode.py.
"""

import numpy as np

from thaw.errors import UnhandledValueError
from thaw.lowering.lookup import Table
from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, row_splits, strings, utf8_starts

Piece = tuple[bytes, int, int]
"""A piece, and where it begins and ends in its word."""


def word_pieces(word: bytes, table: Table, suffix: bytes, longest: int) -> list[Piece] | None:
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
