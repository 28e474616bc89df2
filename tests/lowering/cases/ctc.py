"""Decoding scores over time: repeats, blanks, lengths, ranks."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(23)


def f(*shape):
    return (2 * R.standard_normal(shape)).astype("float32")


def i(*values):
    return np.array(values, "int32")


GREEDY, BEAM = "CTCGreedyDecoder", "CTCBeamSearchDecoder"

CASES = [
    Case(GREEDY, "lengths", (f(9, 3, 4), i(9, 5, 0)), gradient=False),
    Case(GREEDY, "merged", (f(20, 2, 3), i(20, 17)), {"merge_repeated": True}, gradient=False),
    Case(GREEDY, "other-blank", (f(9, 2, 4), i(9, 8)), {"blank_index": 1, "merge_repeated": True}, gradient=False),
    Case(BEAM, "one-path", (f(8, 2, 4), i(8, 6)), {"beam_width": 10, "top_paths": 1}, gradient=False),
    Case(BEAM, "three-paths", (f(6, 2, 5), i(6, 4)), {"beam_width": 12, "top_paths": 3, "merge_repeated": False}, gradient=False),
    Case(BEAM, "narrow", (f(12, 1, 4), i(12)), {"beam_width": 3, "top_paths": 2, "merge_repeated": False}, gradient=False),
]
