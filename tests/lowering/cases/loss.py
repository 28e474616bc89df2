"""Losses over logits and counts of right answers."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(15)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def likely(*shape, dtype="float32"):
    x = np.exp(R.standard_normal(shape))
    return (x / x.sum(-1, keepdims=True)).astype(dtype)


def i(*values, dtype="int32"):
    return np.array(values, dtype)


SCORES = np.array([[0.1, 0.5, 0.5, 0.2], [1.0, 0.0, np.inf, 3.0], [0.3, 0.2, np.nan, 0.1]], "float32")
SPARSE, DENSE = "SparseSoftmaxCrossEntropyWithLogits", "SoftmaxCrossEntropyWithLogits"

CASES = [
    Case(DENSE, "matrix", (f(4, 5), likely(4, 5)), gradient=False),
    Case(DENSE, "labels-of-any-sum", (f(4, 5), likely(4, 5) * 3), gradient=False),
    Case(DENSE, "broadcast", (f(4, 5), likely(1, 5)), gradient=False),
    Case(DENSE, "large", (300 * f(3, 4), likely(3, 4)), gradient=False),
    Case(DENSE, "half", (f(3, 4, dtype="float16"), likely(3, 4, dtype="float16")), gradient=False),
    Case(DENSE, "empty", (f(0, 4), likely(0, 4)), gradient=False),
    Case(SPARSE, "int32", (f(4, 5), i(0, 4, 2, 2)), gradient=False),
    Case(SPARSE, "int64", (f(3, 5), i(1, 0, 3, dtype="int64")), gradient=False),
    Case(SPARSE, "double", (f(3, 5, dtype="float64"), i(1, 0, 3)), gradient=False),
    Case("InTopK", "ties-and-infinities", (SCORES, i(1, 3, 0)), {"k": 2}, gradient=False),
    Case("InTopK", "infinite-target", (SCORES, i(2, 2, 2)), {"k": 4}, gradient=False),
    Case("InTopK", "int64-out-of-range", (SCORES, i(4, -1, 3, dtype="int64")), {"k": 3}, gradient=False),
    Case("InTopKV2", "k-as-input", (SCORES, i(0, 3, 1), np.array(1, "int32")), gradient=False),
]
