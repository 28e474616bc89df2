"""Elementwise arithmetic."""

from thaw.lowering.registry import lowering
from thaw.lowering.values import Value


@lowering("Add", "AddV2")
def add(x: Value, y: Value) -> Value:
    """Sum."""
    return x + y


@lowering("Mul")
def multiply(x: Value, y: Value) -> Value:
    """Product."""
    return x * y
