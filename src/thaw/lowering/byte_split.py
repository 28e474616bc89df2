"""Texts as bytes, and parts of texts by where they begin and end, as TensorFlow Text has them. On the host."""

import itertools

import numpy as np

from thaw.lowering.registry import lowering
from thaw.lowering.strings import Strings, row_splits, strings


@lowering("TFText>ByteSplitWithOffsets", host=True, gradient="none")
def byte_split_with_offsets(input_values: Strings) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The bytes of texts, their row splits, where each begins and ends."""
    texts = input_values.ravel().tolist()
    starts = np.concatenate([np.arange(len(text), dtype=np.int32) for text in texts] or [np.zeros(0, np.int32)])
    return np.frombuffer(b"".join(texts), np.uint8), row_splits([len(text) for text in texts]), starts, starts + np.int32(1)


@lowering("TFText>ByteSplitByOffsets", host=True, gradient="none")
def byte_split_by_offsets(
    input_values: Strings, input_start_offsets: np.ndarray, input_end_offsets: np.ndarray, input_row_splits: np.ndarray
) -> tuple[Strings, np.ndarray]:
    """The parts of each text between bytes, and their row splits."""
    places = list(zip(input_start_offsets.tolist(), input_end_offsets.tolist(), strict=True))
    parts = []
    for text, (first, last) in zip(input_values.tolist(), itertools.pairwise(input_row_splits.tolist()), strict=True):
        for begin, end in places[first:last]:
            if not 0 <= begin <= end <= len(text):
                raise ValueError(f"TFText>ByteSplitByOffsets of bytes {begin} to {end} of a text of {len(text)}")
            parts.append(text[begin:end])
    return strings(parts), input_row_splits
