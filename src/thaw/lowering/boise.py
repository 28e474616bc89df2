"""Spans of a text as one tag a token (begin, outside, inside, singleton, end), and back, as in TensorFlow Text. On the host.

Source: TensorFlow Text, boise_offset_converter.cc.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, row_splits, strings

Span = tuple[int, int, bytes]
"""Where it begins and ends, in bytes, and its type."""


def tags(tokens: Iterable[tuple[int, int]], spans: Sequence[Span], strict: bool) -> list[bytes]:
    """The tag of each token. `strict`: a token that sticks out of a span on one side is not of it."""
    found, at = [], 0
    for begin, end in tokens:
        tag = b"O"
        while at < len(spans) and end > spans[at][0]:
            start, stop, kind = spans[at]
            if begin >= stop:
                at += 1
                continue
            first, last = begin <= start and end <= stop, begin >= start and end >= stop
            if not (first or last) and begin >= start:
                tag = b"I-" + kind
                break
            if first and not last:
                tag = tag if strict and begin != start else b"B-" + kind
                break
            at += 1
            if first:
                tag = b"S-" + kind
                break
            if last and strict and end != stop:
                break
            tag = (b"E-" if last else b"B-") + kind  # of several spans in one token, the last one counts
        found.append(tag)
    return found


def spans_of(tokens: Sequence[tuple[int, int]], tags: Sequence[bytes]) -> list[Span]:
    """The spans that tags say, also where their beginning or end is missing."""
    spans: list[Span] = []
    opened: tuple[int, bytes] | None = None
    for number, ((begin, end), tag) in enumerate(zip(tokens, tags, strict=True)):
        start = opened[0] if opened else begin
        if tag[:2] in {b"B-", b"I-"}:
            opened = start, tag[2:]
        elif tag[:2] in {b"E-", b"S-"}:
            spans.append((start, end, tag[2:]))
            opened = None
        elif opened and tag[:1] == b"O":
            spans.append((start, tokens[number - 1][1], opened[1]))
            opened = None
    if opened:
        spans.append((opened[0], tokens[-1][1], opened[1]))
    return spans


def _rows(splits: np.ndarray, *columns: np.ndarray) -> list[list[Any]]:
    """The elements of columns side by side, as lists by row."""
    every = list(zip(*(c.tolist() for c in columns), strict=True))
    return [every[begin:end] for begin, end in itertools.pairwise(splits.tolist())]


@lowering("TFText>OffsetsToBoiseTags", host=True, gradient="none")
def offsets_to_boise_tags(
    input_token_begin_offsets: np.ndarray,
    input_token_end_offsets: np.ndarray,
    input_span_begin_offsets: np.ndarray,
    input_span_end_offsets: np.ndarray,
    input_span_type: Strings,
    input_token_begin_row_splits: np.ndarray,
    input_token_end_row_splits: np.ndarray,
    input_span_begin_row_splits: np.ndarray,
    input_span_end_row_splits: np.ndarray,
    input_span_type_row_splits: np.ndarray,
    input_use_strict_boundary_mode: np.ndarray,
) -> Strings:
    """The tags of tokens, row by row, by the spans of each row."""
    tokens = _rows(input_token_begin_row_splits, input_token_begin_offsets, input_token_end_offsets)
    spans = _rows(input_span_begin_row_splits, input_span_begin_offsets, input_span_end_offsets, input_span_type)
    strict = bool(input_use_strict_boundary_mode.item())
    return strings(tag for row, found in zip(tokens, spans, strict=True) for tag in tags(row, found, strict))


@lowering("TFText>BoiseTagsToOffsets", host=True, gradient="none")
def boise_tags_to_offsets(
    input_token_begin_offsets: np.ndarray,
    input_token_end_offsets: np.ndarray,
    input_boise_tags: Strings,
    input_token_begin_row_splits: np.ndarray,
    input_token_end_row_splits: np.ndarray,
    input_boise_tags_row_splits: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, Strings, np.ndarray]:
    """The spans that the tags of tokens say, row by row: begins, ends, types, row splits."""
    rows = _rows(input_token_begin_row_splits, input_token_begin_offsets, input_token_end_offsets, input_boise_tags)
    found = [spans_of([token[:2] for token in row], [token[2] for token in row]) for row in rows]
    every = [span for row in found for span in row]
    begins, ends = (np.array([span[i] for span in every], np.int32) for i in (0, 1))
    return begins, ends, strings(span[2] for span in every), row_splits([len(row) for row in found])
