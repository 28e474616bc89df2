"""The edit distance between sequences, which lie as rows of sparse tensors. On the host.

Imports numpy.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from thaw.lowering.registry import lowering


def distance(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many insertions, deletions and replacements make one sequence of the other."""
    before = list(range(len(second) + 1))
    for number, item in enumerate(first, 1):
        row = [number]
        for column, other in enumerate(second, 1):
            row.append(min(row[-1] + 1, before[column] + 1, before[column - 1] + (item != other)))
        before = row
    return before[-1]


def rows_of(indices: np.ndarray, values: np.ndarray) -> dict[tuple[int, ...], list[Any]]:
    """The values of each row of a sparse tensor, in order."""
    rows: dict[tuple[int, ...], list[Any]] = {}
    for place, value in sorted(zip(indices.tolist(), values.tolist(), strict=True), key=lambda pair: pair[0]):
        rows.setdefault(tuple(place[:-1]), []).append(value)
    return rows


@lowering("EditDistance", host=True, gradient="none")
def edit_distance(
    hypothesis_indices: np.ndarray,
    hypothesis_values: np.ndarray,
    hypothesis_shape: np.ndarray,
    truth_indices: np.ndarray,
    truth_values: np.ndarray,
    truth_shape: np.ndarray,
    *,
    normalize: bool = True,
) -> np.ndarray:
    """The edit distance of each row of a sparse tensor from that of another, by the length of the latter where asked for."""
    shape = tuple(max(int(a), int(b)) for a, b in zip(hypothesis_shape[:-1], truth_shape[:-1], strict=True))
    found, wanted = rows_of(hypothesis_indices, hypothesis_values), rows_of(truth_indices, truth_values)
    result = np.zeros(shape, np.float32)
    for row in set(found) | set(wanted):
        own, truth = found.get(row, []), wanted.get(row, [])
        steps = distance(own, truth)
        result[row] = (steps / len(truth) if truth else np.inf) if normalize else steps
    return result
