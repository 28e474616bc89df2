"""The loss of connectionist temporal classification: repeats, lengths, what cannot be, the other blank."""

import numpy as np

from lowering.case import Case
from lowering.cases.ctc import f, i

LOSS = "CTCLoss"


def labels(*rows):
    """Rows of labels as the indices and values of a sparse matrix."""
    indices = [(b, t) for b, row in enumerate(rows) for t in range(len(row))]
    return np.array(indices, "int64").reshape(-1, 2), i(*(v for row in rows for v in row))


REPEATS = labels([0, 0, 1], [2], [1, 0])
KEEP = {"ctc_merge_repeated": False}
LONG = {"ignore_longer_outputs_than_inputs": True}

CASES = [
    Case(LOSS, "lengths", (f(7, 3, 4), *REPEATS, i(7, 5, 3))),
    Case(LOSS, "double", (f(7, 3, 4).astype("float64"), *REPEATS, i(7, 5, 3))),
    Case(LOSS, "one-step", (f(1, 2, 3), *labels([1], [0]), i(1, 1))),
    Case(LOSS, "collapsed", (f(6, 2, 4), *labels([0, 0, 1, 1], [2, 2]), i(6, 6)), {"preprocess_collapse_repeated": True}),
    Case(LOSS, "repeats-kept", (f(6, 2, 4), *labels([0, 0, 1], [2, 2]), i(6, 4)), KEEP),
    Case(LOSS, "no-path", (f(3, 2, 4), *labels([1, 1, 1], [0, 1]), i(3, 3))),
    Case(LOSS, "longer-left-out", (f(3, 2, 4), *labels([1, 2, 1, 0], [0, 1]), i(3, 3)), LONG),
    Case(LOSS, "great-scores", (8 * f(5, 1, 4), *labels([1, 2]), i(5))),
]

ELSEWHERE = {"CTCLossV2": "test_ctc_loss.py: TensorFlow has it on GPUs only; it is CTCLoss with another blank"}
