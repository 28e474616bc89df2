"""The decorator for elementwise ops: one line of arithmetic that serves numpy, tensors, and both mixed.

`@elementwise("Sqrt")` over `def sqrt(np, x)` registers `sqrt(x)`: `np` is numpy where every input is known, `keras.ops`
otherwise, in which case known inputs become tensors first (PyTorch does not add an array to a tensor).
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy
from keras import ops

from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, cast, dtype_of, is_host, on_device

Arithmetic = Callable[..., Value]


def alike(*values: Value) -> tuple[Value, ...]:
    """`values` on one side: all numpy where all are known, all tensors otherwise."""
    first = is_host(values[0])
    for value in values:
        if is_host(value) != first:
            return tuple(on_device(v) if is_host(v) else v for v in values)
    return values


def apply(function: Arithmetic, *values: Value, **attributes: Any) -> Value:
    """`function(np, *values)` in the namespace that fits; numpy's warnings are TensorFlow's silent NaN and overflow."""
    return _on_one_side(function, alike(*values), attributes)


def _on_one_side(function: Arithmetic, values: tuple[Value, ...], attributes: dict[str, Any]) -> Value:
    if is_host(values[0]):
        with numpy.errstate(all="ignore"):
            return function(numpy, *values, **attributes)
    return function(ops, *values, **attributes)


def elementwise(
    *names: str, same: bool = True, gradient: str = "yes", ignored: tuple[str, ...] = ()
) -> Callable[[Arithmetic], Arithmetic]:
    """Registers `function(np, x, ..., *, attributes)` as the lowering `(x, ..., *, attributes)` of the ops `names`.

    Args:
        names: op types.
        same: whether the result has the dtype of the first input (numpy and Keras promote where TensorFlow does not).
        gradient: as for `lowering`.
        ignored: as for `lowering`.
    """

    def register(function: Arithmetic) -> Arithmetic:
        @functools.wraps(function)
        def run(*values: Value, **attributes: Any) -> Value:
            values = alike(*values)
            result = _on_one_side(function, values, attributes)
            if same and result.dtype != values[0].dtype and dtype_of(result) != dtype_of(values[0]):
                result = cast(result, dtype_of(values[0]))
            return result

        own = inspect.signature(function)
        run.__signature__ = own.replace(parameters=list(own.parameters.values())[1:])  # type: ignore[attr-defined]
        lowering(*names, gradient=gradient, ignored=ignored)(run)
        return function

    return register
