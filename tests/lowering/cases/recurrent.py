"""Fused recurrent cells. cuDNN's have no kernel without a GPU: test_recurrent.py holds them against the formulas."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(26)
ELSEWHERE = dict.fromkeys(("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3"), "test_recurrent.py")


def f(*shape):
    return (0.5 * R.standard_normal(shape)).astype("float32")


def lstm(units=3, features=4, batch=2):
    peepholes = f(units), f(units), f(units)
    return f(batch, units), f(batch, units), f(features + units, 4 * units), *peepholes, f(4 * units)


CELL, BLOCK, BLOCK2 = "LSTMBlockCell", "BlockLSTM", "BlockLSTMV2"
ALL = np.array(5, "int64")

CASES = [
    Case(CELL, "default", (f(2, 4), *lstm()), gradient=False),
    Case(CELL, "peepholes", (f(2, 4), *lstm()), {"use_peephole": True, "forget_bias": 0.0}, gradient=False),
    Case(CELL, "clipped", (f(2, 4), *lstm()), {"cell_clip": 0.2}, gradient=False),
    Case(BLOCK, "default", (ALL, f(5, 2, 4), *lstm()), gradient=False),
    Case(BLOCK, "peepholes", (ALL, f(5, 2, 4), *lstm()), {"use_peephole": True, "cell_clip": 0.3}, gradient=False),
    Case(BLOCK2, "default", (ALL, f(5, 2, 4), *lstm()), gradient=False),
    Case(BLOCK2, "one-step", (np.array(1, "int64"), f(1, 2, 4), *lstm()), {"cell_clip": 0.2}, gradient=False),
    Case("GRUBlockCell", "default", (f(2, 4), f(2, 3), f(7, 6), f(7, 3), f(6), f(3)), gradient=False),
]
