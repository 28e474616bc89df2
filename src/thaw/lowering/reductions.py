"""Sums, means, extrema and the like over axes, running sums, and sums over segments."""

from collections.abc import Callable
from typing import Any

import numpy
from keras import ops

from thaw.lowering import kernels, sequence_kernels
from thaw.lowering.elementwise import apply
from thaw.lowering.math import is_complex
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, cast, dtype_of, is_host, sizes, static_shape


def axes_of(x: Value, axis: Value) -> tuple[int, ...]:
    """An axis input (scalar or vector, possibly negative or empty) as axes from 0."""
    rank = len(static_shape(x))
    return tuple(sorted({n % rank for n in sizes(axis)}))


def _reduce(function: Callable[..., Value], x: Value, axis: Value, keep_dims: bool) -> Value:
    axes = axes_of(x, axis)
    if not axes:
        return x
    result = apply(lambda np, x: function(np, x, axis=axes, keepdims=keep_dims), x)
    return result if dtype_of(result) == dtype_of(x) else cast(result, dtype_of(x))


@lowering("Sum", static=("axis",))
def total(input: Value, axis: Value, *, keep_dims: bool = False) -> Value:
    """Sum over axes, in the dtype of the input."""
    return _reduce(lambda np, x, **k: np.sum(x, **k), input, axis, keep_dims)


@lowering("Mean", static=("axis",))
def mean(input: Value, axis: Value, *, keep_dims: bool = False) -> Value:
    """Mean over axes; of integers, rounded towards zero."""
    if "int" in dtype_of(input):
        count = int(numpy.prod([static_shape(input)[a] or 1 for a in axes_of(input, axis)]))
        summed = total(input, axis, keep_dims=keep_dims)
        return apply(
            lambda np, s: np.sign(s) * (np.abs(s) // numpy.asarray(count, s.dtype) if np is numpy else np.abs(s) // count), summed
        )
    return _reduce(lambda np, x, **k: np.mean(x, **k), input, axis, keep_dims)


@lowering("Prod", static=("axis",))
def product(input: Value, axis: Value, *, keep_dims: bool = False) -> Value:
    """Product over axes."""

    def one_at_a_time(np: Any, x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
        for a in reversed(axis):  # PyTorch multiplies over one axis at a time
            x = np.prod(x, axis=a, keepdims=keepdims)
        return x

    return _reduce(one_at_a_time, input, axis, keep_dims)


def _extremum(name: str, empty: float) -> Callable[..., Value]:
    def function(np: Any, x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
        if 0 in static_shape(x):
            lowest = -numpy.inf if empty < 0 else numpy.inf
            if "int" in dtype_of(x):
                lowest = numpy.iinfo(dtype_of(x)).min if empty < 0 else numpy.iinfo(dtype_of(x)).max
            shape = [1 if a in axis else n for a, n in enumerate(static_shape(x)) if keepdims or a not in axis]
            return np.full(shape, lowest, dtype=x.dtype if np is numpy else dtype_of(x))
        return getattr(np, name)(x, axis=axis, keepdims=keepdims)

    return function


def _equal_shares(name: str, input: Value, axis: Value, keep_dims: bool) -> Value:
    """Max or Min whose gradient is shared equally between equal extrema, as TensorFlow does (PyTorch does too)."""
    axes = axes_of(input, axis)
    if kernels.chosen("jax-cpu") and axes and "float" in dtype_of(input) and not is_host(input) and 0 not in static_shape(input):
        return sequence_kernels.extremum(name, input, axes, keep_dims)
    return _reduce(_extremum(name, -1 if name == "max" else 1), input, axis, keep_dims)


@lowering("Max", static=("axis",))
def greatest(input: Value, axis: Value, *, keep_dims: bool = False) -> Value:
    """The greatest over axes; -inf over none. Equal ones share the gradient."""
    return _equal_shares("max", input, axis, keep_dims)


@lowering("Min", static=("axis",))
def smallest(input: Value, axis: Value, *, keep_dims: bool = False) -> Value:
    """The smallest over axes; inf over none. Equal ones share the gradient."""
    return _equal_shares("min", input, axis, keep_dims)


@lowering("All", static=("axis",), gradient="none")
def every(input: Value, axis: Value, *, keep_dims: bool = False) -> Value:
    """Whether all are true."""
    return _reduce(lambda np, x, **k: np.all(x, **k), input, axis, keep_dims)


@lowering("Any", static=("axis",), gradient="none")
def some(input: Value, axis: Value, *, keep_dims: bool = False) -> Value:
    """Whether any is true."""
    return _reduce(lambda np, x, **k: np.any(x, **k), input, axis, keep_dims)


@lowering("EuclideanNorm", static=("axis",))
def euclidean_norm(input: Value, axis: Value, *, keep_dims: bool = False) -> Value:
    """Root of the sum of squared magnitudes."""
    squares = apply(lambda np, x: x * (np.conj(x) if is_complex(x) else x), input)
    norms = apply(lambda np, x: np.sqrt(x), total(squares, axis, keep_dims=keep_dims))
    return cast(norms, dtype_of(input)) if dtype_of(norms) != dtype_of(input) else norms


@lowering("L2Loss")
def half_squared_norm(t: Value) -> Value:
    """Half the sum of squares."""
    result = apply(lambda np, x: np.sum(x * x) / 2, t)
    return cast(result, dtype_of(t)) if dtype_of(result) != dtype_of(t) else result


@lowering("ArgMax", static=("dimension",), gradient="none")
def index_of_greatest(input: Value, dimension: Value, *, output_type: str = "int64") -> Value:
    """Index of the first greatest."""
    return _argument("argmax", input, dimension, output_type)


@lowering("ArgMin", static=("dimension",), gradient="none")
def index_of_smallest(input: Value, dimension: Value, *, output_type: str = "int64") -> Value:
    """Index of the first smallest."""
    return _argument("argmin", input, dimension, output_type)


def _argument(name: str, input: Value, axis: Value, dtype: str) -> Value:
    if dtype_of(input) == "bool":
        input = cast(input, "int32")
    return cast(apply(lambda np, x: getattr(np, name)(x, axis=int(axis)), input), dtype)


def _running(
    function: Callable[[Any, Value, int], Value], start: float, x: Value, axis: int, exclusive: bool, reverse: bool
) -> Value:
    """A running sum or the like along an axis, possibly from the end, possibly without the element itself."""
    axis %= len(static_shape(x))

    def run(np: Any, x: Value) -> Value:
        if reverse:
            x = np.flip(x, axis=axis)
        y = function(np, x, axis)
        if exclusive:
            lead = tuple(slice(0, 1) if a == axis else slice(None) for a in range(len(x.shape)))
            head = tuple(slice(0, -1) if a == axis else slice(None) for a in range(len(x.shape)))
            y = np.concatenate([np.full_like(x[lead], start), y[head]], axis=axis)
        return np.flip(y, axis=axis) if reverse else y

    if static_shape(x)[axis] == 0:
        return x
    result = apply(run, x)
    return cast(result, dtype_of(x)) if dtype_of(result) != dtype_of(x) else result


@lowering("Cumsum", static=("axis",))
def running_sum(x: Value, axis: Value, *, exclusive: bool = False, reverse: bool = False) -> Value:
    """Running sum along an axis."""
    return _running(lambda np, x, a: np.cumsum(x, axis=a), 0, x, int(axis), exclusive, reverse)


@lowering("Cumprod", static=("axis",))
def running_product(x: Value, axis: Value, *, exclusive: bool = False, reverse: bool = False) -> Value:
    """Running product along an axis."""
    return _running(lambda np, x, a: np.cumprod(x, axis=a), 1, x, int(axis), exclusive, reverse)


@lowering("CumulativeLogsumexp", static=("axis",))
def running_logsumexp(x: Value, axis: Value, *, exclusive: bool = False, reverse: bool = False) -> Value:
    """Logarithm of the running sum of exponentials along an axis; where nothing is summed, -inf."""

    def function(np: Any, x: Value, a: int) -> Value:
        if 0 in static_shape(x):  # PyTorch has no maximum of nothing
            return x
        top = np.max(x, axis=a, keepdims=True)
        top = top if np is numpy else ops.stop_gradient(top)
        return np.log(np.cumsum(np.exp(x - top), axis=a)) + top

    return _running(function, -numpy.inf, x, int(axis), exclusive, reverse)
