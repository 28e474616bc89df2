"""Products of matrices: MatMul, its batched forms, Einsum."""

from typing import Any

import keras
import numpy
from keras import ops

from thaw.lowering.elementwise import alike, apply
from thaw.lowering.math import is_complex
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, cast, dtype_of, is_host, on_device


def transposed(np: Any, x: Value, conjugate: bool = False) -> Value:
    """The last two axes exchanged, and complex conjugates taken where asked."""
    x = np.swapaxes(x, -1, -2)
    return np.conj(x) if conjugate and is_complex(x) else x


def _product(np: Any, a: Value, b: Value, dtype: str) -> Value:
    # Keras' own under PyTorch is float32 of float64, and looks at types for as long as a small product takes.
    plain = dtype == "float64" or (dtype == "float32" and a.dtype == b.dtype and keras.backend.backend() == "torch")
    result = a @ b if plain else np.matmul(a, b)
    if dtype_of(result) == dtype:
        return result
    return result.astype(dtype) if np is numpy else ops.cast(result, dtype)


def product(a: Value, b: Value) -> Value:
    """Product of matrices of one dtype, which stays (`keras.ops.matmul` gives float32 of float64 under PyTorch)."""
    return _product(ops, on_device(a), on_device(b), dtype_of(a))


@lowering("MatMul", ignored=("grad_a", "grad_b"))
def matmul(a: Value, b: Value, *, transpose_a: bool = False, transpose_b: bool = False) -> Value:
    """Product of two matrices."""

    def product(np: Any, a: Value, b: Value) -> Value:
        a = np.swapaxes(a, 0, 1) if transpose_a else a
        b = np.swapaxes(b, 0, 1) if transpose_b else b
        return _product(np, a, b, dtype_of(a))

    return apply(product, a, b)


def batched(x: Value, y: Value, adj_x: bool, adj_y: bool, dtype: str) -> Value:
    """Product of stacks of matrices; `adj_*` takes the conjugate transpose."""

    def product(np: Any, x: Value, y: Value) -> Value:
        x = transposed(np, x, conjugate=True) if adj_x else x
        y = transposed(np, y, conjugate=True) if adj_y else y
        return _product(np, x, y, dtype)

    return apply(product, x, y)


@lowering("BatchMatMul", "BatchMatMulV2", ignored=("grad_x", "grad_y"))
def batch_matmul(x: Value, y: Value, *, adj_x: bool = False, adj_y: bool = False) -> Value:
    """Product of stacks of matrices, leading axes broadcast."""
    return batched(x, y, adj_x, adj_y, dtype_of(x))


@lowering("BatchMatMulV3", ignored=("Ta", "Tb", "grad_x", "grad_y"))
def batch_matmul_to(x: Value, y: Value, *, Tout: str, adj_x: bool = False, adj_y: bool = False) -> Value:
    """Product of stacks of matrices in a dtype of its own, as int32 of int8."""
    if dtype_of(x) != Tout or dtype_of(y) != Tout:
        x, y = cast(x, Tout), cast(y, Tout)
    return batched(x, y, adj_x, adj_y, Tout)


@lowering("Einsum", ignored=("N",))
def einsum(*inputs: Value, equation: str) -> Value:
    """Sum over the axes that the equation leaves out; "..." broadcasts."""
    values = alike(*inputs)
    equation = equation.replace(" ", "")
    narrow = is_host(values[0]) and dtype_of(values[0]) == "bfloat16"  # numpy has no sum of these
    summed = [cast(v, "float32") for v in values] if narrow else values
    result = apply(lambda np, *v: np.einsum(equation, *v), *summed)
    return result if dtype_of(result) == dtype_of(values[0]) else cast(result, dtype_of(values[0]))


@lowering("Cross")
def cross(a: Value, b: Value) -> Value:
    """Cross product of vectors of 3."""

    def product(np: Any, a: Value, b: Value) -> Value:  # Keras' own under PyTorch is always float32
        turns = [a[..., i] * b[..., j] - a[..., j] * b[..., i] for i, j in ((1, 2), (2, 0), (0, 1))]
        return np.stack(turns, axis=-1)

    return apply(product, a, b)


@lowering("SparseMatMul", ignored=("a_is_sparse", "b_is_sparse", "Ta", "Tb"))
def mostly_zero_matmul(a: Value, b: Value, *, transpose_a: bool = False, transpose_b: bool = False) -> Value:
    """Product of two dense matrices, said to hold many zeros; float32 of any float."""
    result: Value = matmul(cast(a, "float32"), cast(b, "float32"), transpose_a=transpose_a, transpose_b=transpose_b)
    return result
