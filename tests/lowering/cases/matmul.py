"""Products of matrices."""

import ml_dtypes
import numpy as np

from lowering.case import Case

R = np.random.default_rng(7)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def z(*shape):
    return (f(*shape) + 1j * f(*shape)).astype("complex64")


CASES = [
    Case("MatMul", "plain", (f(2, 3), f(3, 4))),
    Case("MatMul", "both-transposed", (f(3, 2), f(4, 3)), {"transpose_a": True, "transpose_b": True}),
    Case("MatMul", "empty", (f(2, 0), f(0, 4))),
    Case("MatMul", "float16", (f(2, 3, dtype="float16"), f(3, 4, dtype="float16"))),
    Case("MatMul", "bfloat16", (f(2, 3).astype(ml_dtypes.bfloat16), f(3, 4).astype(ml_dtypes.bfloat16))),
    Case("MatMul", "int32", (np.arange(6, dtype="int32").reshape(2, 3), np.ones((3, 2), "int32")), gradient=False),
    Case("BatchMatMul", "batch", (f(2, 3, 4), f(2, 4, 5))),
    Case("BatchMatMulV2", "broadcast", (f(2, 1, 3, 4), f(5, 4, 2))),
    Case("BatchMatMulV2", "adjoint", (z(2, 4, 3), z(2, 2, 4)), {"adj_x": True, "adj_y": True}),
    Case("BatchMatMulV2", "adjoint-float32", (f(2, 4, 3), f(2, 4, 2)), {"adj_x": True}),
    Case("BatchMatMulV3", "float32", (f(2, 3, 4), f(2, 4, 5)), {"Tout": "float32"}),
    Case(
        "BatchMatMulV3",
        "int8-to-int32",
        (np.full((2, 3), 100, "int8"), np.full((3, 2), 100, "int8")),
        {"Tout": "int32"},
        gradient=False,
    ),
    Case("Einsum", "attention", (f(2, 3, 4), f(2, 5, 4)), {"equation": "bqd,bkd->bqk"}),
    Case("Einsum", "ellipsis", (f(2, 3, 4), f(4, 5)), {"equation": "...d,de->...e"}),
    Case("Einsum", "one-operand-sum", (f(2, 3),), {"equation": "ab->b"}),
    Case("Einsum", "four-axes", (f(2, 3, 4), f(4, 2, 5)), {"equation": "abc,cde->abde"}),
    Case("Cross", "rows", (f(2, 3), f(2, 3))),
    Case("SparseMatMul", "transposed", (f(3, 2), f(3, 4)), {"transpose_a": True}),
]
