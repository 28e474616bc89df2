"""Trimming the segments of a text model's input to a number of tokens, as TensorFlow Text does: in turns. On the host."""

from collections.abc import Sequence

import numpy as np

from thaw.lowering.registry import lowering
from thaw.lowering.strings import row_splits


def _share(limit: int, lengths: Sequence[int]) -> list[int]:
    """How many tokens of each segment stay, where the segments take one token each in turns."""
    kept, left = [0] * len(lengths), max(limit, 0)
    waiting = sorted(range(len(lengths)), key=lengths.__getitem__)
    while waiting and lengths[waiting[0]] <= left // len(waiting):
        kept[waiting[0]] = lengths[waiting[0]]
        left -= lengths[waiting.pop(0)]
    if waiting:
        share, rest = divmod(left, len(waiting))
        for turn, segment in enumerate(sorted(waiting)):
            kept[segment] = share + (turn < rest)
    return kept


def _trimmed(limit: np.ndarray, splits: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each segment: which of its tokens stay, and how many in each row."""
    lengths = np.stack([np.diff(s) for s in splits])
    kept = np.array([_share(int(limit), column) for column in lengths.T.tolist()], np.int64).reshape(lengths.shape[::-1]).T
    masks = []
    for rows, stay in zip(lengths, kept, strict=True):
        position = np.arange(int(rows.sum())) - np.repeat(np.cumsum(rows) - rows, rows)
        masks.append(position < np.repeat(stay, rows))
    return masks, list(kept)


@lowering("TFText>RoundRobinTrim", host=True, gradient="none", ignored=("Tsplits",))
def round_robin_trim(max_sequence_length: np.ndarray, *segments: np.ndarray) -> tuple[np.ndarray, ...]:
    """The tokens that stay of each segment, then the row splits of each."""
    values, splits = segments[: len(segments) // 2], segments[len(segments) // 2 :]
    masks, kept = _trimmed(max_sequence_length, splits)
    return (
        *(v[m] for v, m in zip(values, masks, strict=True)),
        *(row_splits(k, s.dtype.name) for k, s in zip(kept, splits, strict=True)),
    )


@lowering("TFText>RoundRobinGenerateMasks", host=True, gradient="none", ignored=("Tsplits",))
def round_robin_generate_masks(max_sequence_length: np.ndarray, *segments: np.ndarray) -> tuple[np.ndarray, ...]:
    """Which tokens of each segment stay."""
    return tuple(_trimmed(max_sequence_length, segments[len(segments) // 2 :])[0])
