"""Comparisons, boolean logic, bits, and tests for NaN and infinity. Nothing here has a gradient."""

from typing import Any

import numpy

from thaw.lowering.elementwise import apply, elementwise
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, dtype_of, is_host, static_shape


def _register(op: str, line: str, function: Any, same: bool = False) -> None:
    function.__doc__ = line
    elementwise(op, same=same, gradient="none")(function)


_register("Less", "Whether x < y; false beside NaN.", lambda np, x, y: x < y)
_register("LessEqual", "Whether x <= y; false beside NaN.", lambda np, x, y: x <= y)
_register("Greater", "Whether x > y; false beside NaN.", lambda np, x, y: x > y)
_register("GreaterEqual", "Whether x >= y; false beside NaN.", lambda np, x, y: x >= y)
_register("LogicalAnd", "x and y.", lambda np, x, y: np.logical_and(x, y))
_register("LogicalOr", "x or y.", lambda np, x, y: np.logical_or(x, y))
_register("LogicalNot", "not x.", lambda np, x: np.logical_not(x))
_register("BitwiseAnd", "Bits of both.", lambda np, x, y: x & y, same=True)
_register("BitwiseOr", "Bits of either.", lambda np, x, y: x | y, same=True)
_register("BitwiseXor", "Bits of one of the two.", lambda np, x, y: x ^ y, same=True)
_register("Invert", "Every bit turned.", lambda np, x: ~x, same=True)
_register("IsNan", "Whether it is NaN.", lambda np, x: np.isnan(x))
_register("IsInf", "Whether it is infinite.", lambda np, x: np.isinf(x))
_register("IsFinite", "Whether it is neither NaN nor infinite.", lambda np, x: np.isfinite(x))


def _width(x: Value) -> int:
    return int(dtype_of(x).lstrip("uint"))


def _shift(np: Any, x: Value, y: Value, left: bool) -> Value:
    """Shifts by 0 to width - 1 bits, as TensorFlow: what is asked beyond is cut to that."""
    y = np.clip(y, 0, _width(x) - 1)
    return np.left_shift(x, y) if left else np.right_shift(x, y)


_register("LeftShift", "Bits moved up.", lambda np, x, y: _shift(np, x, y, True), same=True)
_register("RightShift", "Bits moved down; the sign stays.", lambda np, x, y: _shift(np, x, y, False), same=True)


@elementwise("PopulationCount", same=False, gradient="none")
def population_count(np: Any, x: Value) -> Value:
    """How many bits are set, as uint8."""
    ones = np.zeros_like(x)
    for bit in range(_width(x)):
        ones = ones + (np.right_shift(x, np.full_like(x, bit)) & 1)
    return ones.astype("uint8") if np is numpy else np.cast(ones, "uint8")


def _equal(x: Value, y: Value, must_fit: bool) -> Value:
    if not must_fit:
        try:
            numpy.broadcast_shapes(static_shape(x), static_shape(y))  # type: ignore[arg-type]
        except ValueError:
            return numpy.bool_(False)
    result = apply(lambda np, x, y: x == y, x, y)
    return result.astype(bool) if is_host(result) else result


@lowering("Equal", gradient="none")
def equal(x: Value, y: Value, *, incompatible_shape_error: bool = True) -> Value:
    """Whether x == y; false beside NaN."""
    return _equal(x, y, incompatible_shape_error)


@lowering("NotEqual", gradient="none")
def not_equal(x: Value, y: Value, *, incompatible_shape_error: bool = True) -> Value:
    """Whether x != y; true beside NaN."""
    return apply(lambda np, x: np.logical_not(x), _equal(x, y, incompatible_shape_error))


@elementwise("ApproximateEqual", same=False, gradient="none")
def approximately_equal(np: Any, x: Value, y: Value, *, tolerance: float = 1e-5) -> Value:
    """Whether x and y differ by less than `tolerance`."""
    return np.abs(x - y) < tolerance
