"""Distances between rows of sparse tensors."""

import numpy as np

from lowering.cases.text import case, i, s


def sparse(*rows, strings=False):
    """Rows as indices, values and shape."""
    indices = np.array([(b, t) for b, row in enumerate(rows) for t in range(len(row))], "int64").reshape(-1, 2)
    flat = [v for row in rows for v in row]
    shape = np.array([len(rows), max(map(len, rows))], "int64")
    return indices, s(*flat) if strings else i(*flat), shape


WORDS = sparse("kitten", "", "abc", "same", strings=True)
TRUTH = sparse("sitting", "x", "", "same", strings=True)

CASES = [
    case("EditDistance", "normalized", *WORDS, *TRUTH),
    case("EditDistance", "steps", *WORDS, *TRUTH, normalize=False),
    case("EditDistance", "numbers", *sparse([1, 2, 3], [4], [5]), *sparse([3, 2, 1], [4, 4])[:2], np.array([3, 3], "int64")),
    case("EditDistance", "nothing", *sparse([], []), *sparse([], [])),
]
