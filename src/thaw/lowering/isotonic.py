"""Isotonic regression: the closest rows that nowhere rise. On the host."""

import numpy as np

from thaw.lowering.registry import lowering
from thaw.lowering.values import numpy_dtype


def _blocks(row: np.ndarray) -> list[tuple[float, int]]:
    """Means and lengths of the blocks of which the closest falling row is made: neighbours that rise are pooled."""
    blocks: list[tuple[float, int]] = []
    for value in row.tolist():
        total, count = value, 1
        while blocks and blocks[-1][0] / blocks[-1][1] < total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    return [(total / count, count) for total, count in blocks]


@lowering("IsotonicRegression", host=True, gradient="none")
def isotonic_regression(input: np.ndarray, *, output_dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """The closest rows that nowhere rise, and the number of the block of equal values in which each element stands."""
    output, segments = np.empty(input.shape, numpy_dtype(output_dtype)), np.empty(input.shape, np.int32)
    for row, values, numbers in zip(input, output, segments, strict=True):
        blocks = _blocks(row)
        lengths = [count for _, count in blocks]
        values[:] = np.repeat(np.array([mean for mean, _ in blocks], output.dtype), lengths)
        numbers[:] = np.repeat(np.arange(len(blocks)), lengths)
    return output, segments
