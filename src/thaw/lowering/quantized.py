"""Arithmetic of graphs that TensorFlow 1's tools quantized to 8 bits: integers, each tensor with the range that it stands for.

Forward only, as in TensorFlow, on the host and bit by bit: rounding decides, and no backend has this arithmetic. Layers are in
quantized_layers.py; what makes integers of numbers and numbers of integers is in quantization.py. Imports numpy.
Source: tensorflow/core/kernels/quantization_utils.h, whose float32 and float64 are kept where they stand.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from thaw.lowering.detection import on_host
from thaw.lowering.quantization import LIMITS
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, sizes, xp

Real: TypeAlias = "float | np.floating[Any]"

Range = tuple[Real, Real]
"""The numbers that the least and the greatest integer stand for."""

SCALAR: tuple[int | None, ...] = ()


def half_away(x: np.ndarray) -> np.ndarray:
    """The nearest integer, as C rounds: halves away from zero."""
    whole = np.trunc(x)
    rounded: np.ndarray = whole + np.copysign(np.abs(x - whole) >= 0.5, x).astype(x.dtype)
    return rounded


def stored(dtype: str) -> str:
    """The integer dtype that a quantized dtype is kept in."""
    return dtype.removeprefix("q")


def steps(dtype: str) -> int:
    """How many integers a quantized dtype has."""
    least, greatest = LIMITS[dtype]
    return greatest - least + 1


def level(value: np.ndarray | float, dtype: str, low: Real, high: Real) -> np.ndarray:
    """The integers that stand for numbers of a range, unclamped, as int64."""
    least, _ = LIMITS[dtype]
    if low == high:
        return np.full(np.shape(value), least, np.int64)
    count = steps(dtype)
    scale = count / (np.float64(np.float32(high) - np.float32(low)) * (count / (count - 1.0)))
    wide = np.asarray(value, np.float32).astype(np.float64)
    result: np.ndarray = (half_away(wide * scale) - half_away(np.asarray(np.float32(low) * scale))).astype(np.int64) + least
    return result


def clamped(values: np.ndarray, dtype: str) -> np.ndarray:
    """Integers as a quantized dtype keeps them, those outside of it at its ends."""
    result: np.ndarray = np.clip(values, *LIMITS[dtype]).astype(stored(dtype))
    return result


def number(value: np.ndarray | int, dtype: str, low: Real, high: Real) -> np.ndarray:
    """The float32 numbers that integers of a range stand for, computed one by one (in float64)."""
    low, high = np.float32(low), np.float32(high)
    if low == high:
        return np.full(np.shape(value), low, np.float32)
    count, (least, _) = steps(dtype), LIMITS[dtype]
    scale = np.float64(high - low) * (count / (count - 1.0)) / count
    narrow = np.float32(scale)
    origin = np.float64(half_away(np.asarray(low / narrow))) * np.float64(narrow)
    return np.asarray(origin + (np.asarray(value, np.float64) - least) * scale).astype(np.float32)


def numbers(value: np.ndarray, dtype: str, low: Real, high: Real) -> np.ndarray:
    """What `number` gives, computed many at once (in float32, which rounds elsewhere)."""
    scale = np.float32(np.float64(high - low) / (steps(dtype) - 1.0))
    origin = low if low == high else half_away(np.asarray(low / scale)).astype(np.float32) * scale
    result: np.ndarray = (origin - np.float32(LIMITS[dtype][0]) * scale) + value.astype(np.float32) * scale
    return result


def integers(value: np.ndarray, dtype: str, low: Real, high: Real) -> np.ndarray:
    """The integers of a quantized dtype for float32 numbers, computed many at once."""
    least, greatest = LIMITS[dtype]
    scale = np.float32(0 if low == high else (steps(dtype) - 1.0) / np.float64(high - low))
    shift = half_away(np.asarray(low * scale)).astype(np.float32) - np.float32(least)
    top = np.float32(min(greatest, 2147483520))  # the greatest float32 that is an int32
    result: np.ndarray = np.clip(half_away(value * scale) - shift, np.float32(least), top).astype(np.int64).astype(stored(dtype))
    return result


def product_range(low: Range, high: Range, dtypes: tuple[str, str, str]) -> Range:
    """The range of a product of integers; `low` and `high` of the two factors, their dtypes and the product's."""
    one, other, result = dtypes
    each = [np.float32((h - li) / np.float32(steps(d) - 1)) for li, h, d in zip(low, high, (one, other), strict=True)]
    unit = np.float32(each[0] * each[1])
    least, greatest = LIMITS[result]
    return np.float32(unit * np.float32(least)), np.float32(unit * np.float32(greatest))


def sum_range(*ends: Real) -> Range:
    """The range of a sum: symmetric about zero, with room for many of them."""
    top = np.float32(max(abs(float(e)) for e in ends) * (1 << 17))
    return np.float32(-top), top


def with_range(
    function: Callable[..., np.ndarray], x: Value, low: Value, high: Value, shape: Sequence[int | None], dtype: str
) -> tuple[Value, ...]:
    """`function` of integers and their range, which holds for the result too."""

    def run(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
        low, high = low.reshape(()), high.reshape(())
        return [function(x, low[()], high[()]), low, high]

    outputs = [(tuple(shape), stored(dtype)), (SCALAR, "float32"), (SCALAR, "float32")]
    return on_host(run, outputs, [x, low, high], "input")


def bounded(x: Value, low: Value, high: Value, dtype: str, least: float, greatest: float | None) -> tuple[Value, ...]:
    """Integers between those of two numbers."""

    def run(x: np.ndarray, low: Real, high: Real) -> np.ndarray:
        result = np.maximum(x, clamped(level(least, dtype, low, high), dtype))
        upper = clamped(level(greatest, dtype, low, high), dtype) if greatest is not None else None
        bounded_above: np.ndarray = result if upper is None else np.minimum(result, upper)
        return bounded_above

    return with_range(run, x, low, high, x.shape, dtype)


@lowering("QuantizedRelu", gradient="none", ignored=("out_type",))
def quantized_relu(features: Value, min_features: Value, max_features: Value, *, Tinput: str) -> tuple[Value, ...]:
    """The positive part."""
    return bounded(features, min_features, max_features, Tinput, 0.0, None)


@lowering("QuantizedRelu6", gradient="none", ignored=("out_type",))
def quantized_relu6(features: Value, min_features: Value, max_features: Value, *, Tinput: str) -> tuple[Value, ...]:
    """Between 0 and 6."""
    return bounded(features, min_features, max_features, Tinput, 0.0, 6.0)


@lowering("QuantizedReshape", gradient="none", static=("shape",), ignored=("T",))
def quantized_reshape(tensor: Value, shape: np.ndarray, input_min: Value, input_max: Value) -> tuple[Value, ...]:
    """Another shape, the same range."""
    return xp(tensor).reshape(tensor, sizes(shape)), input_min, input_max


@lowering("QuantizedConcat", gradient="none", static=("concat_dim",))
def quantized_concat(concat_dim: np.ndarray, *rest: Value, T: str) -> tuple[Value, ...]:
    """Tensors one after the other along an axis, all brought to the widest range."""
    count, axis = len(rest) // 3, int(concat_dim.item())
    lengths = [v.shape[axis] for v in rest[:count]]
    shape = list(rest[0].shape)
    shape[axis] = None if any(n is None for n in lengths) else sum(int(n) for n in lengths)

    def run(*rest: np.ndarray) -> list[np.ndarray]:
        lows, highs = ([np.float32(v.item()) for v in rest[count * i : count * (i + 1)]] for i in (1, 2))
        low, high = min(lows), max(highs)
        if LIMITS[T][0] < 0:
            high = max(abs(low), abs(high))
            low = np.float32(-high)
        parts = [
            v if (a, b) == (low, high) else integers(numbers(v, T, a, b), T, low, high)
            for v, a, b in zip(rest[:count], lows, highs, strict=True)
        ]
        return [np.concatenate(parts, axis=axis), np.asarray(low), np.asarray(high)]

    outputs = [(tuple(shape), stored(T)), (SCALAR, "float32"), (SCALAR, "float32")]
    return on_host(run, outputs, list(rest), "values")


def broadcast(x: Value, y: Value) -> tuple[int | None, ...]:
    """The shape of two broadcast tensors; nothing is known of an axis where one of them does not say."""
    rank = max(len(x.shape), len(y.shape))
    pairs = zip(*((1,) * (rank - len(v.shape)) + tuple(v.shape) for v in (x, y)), strict=True)
    return tuple(None if a is None or b is None else max(int(a), int(b)) if 0 not in (a, b) else 0 for a, b in pairs)


@lowering("QuantizedMul", gradient="none")
def quantized_mul(
    x: Value,
    y: Value,
    min_x: Value,
    max_x: Value,
    min_y: Value,
    max_y: Value,
    *,
    T1: str,
    T2: str,
    Toutput: str = "qint32",
) -> tuple[Value, ...]:
    """The product, broadcast."""

    def run(x: np.ndarray, y: np.ndarray, *ends: np.ndarray) -> list[np.ndarray]:
        low_x, high_x, low_y, high_y = (np.float32(e.item()) for e in ends)
        left = x.astype(np.int64) - level(0.0, T1, low_x, high_x)
        right = y.astype(np.int64) - level(0.0, T2, low_y, high_y)
        low, high = product_range((low_x, low_y), (high_x, high_y), (T1, T2, Toutput))
        return [(left * right).astype(stored(Toutput)), np.asarray(low), np.asarray(high)]

    outputs = [(broadcast(x, y), stored(Toutput)), (SCALAR, "float32"), (SCALAR, "float32")]
    return on_host(run, outputs, [x, y, min_x, max_x, min_y, max_y], "x")


@lowering("QuantizedAdd", gradient="none")
def quantized_add(
    x: Value,
    y: Value,
    min_x: Value,
    max_x: Value,
    min_y: Value,
    max_y: Value,
    *,
    T1: str,
    T2: str,
    Toutput: str = "qint32",
) -> tuple[Value, ...]:
    """The sum, broadcast, in a range that is wide enough."""

    def by_steps(values: np.ndarray, dtype: str, ends: Range, low: Real, high: Real) -> np.ndarray:
        # TensorFlow brings a tensor to the new range by a line through its first two integers, a scalar by itself.
        if values.size == 1:
            return clamped(level(number(values, dtype, *ends), Toutput, low, high), Toutput)
        zero, one = (int(level(number(n, dtype, *ends), Toutput, low, high)) for n in (0, 1))
        return clamped(zero + values.astype(np.int64) * (one - zero), Toutput)

    def run(x: np.ndarray, y: np.ndarray, *ends: np.ndarray) -> list[np.ndarray]:
        low_x, high_x, low_y, high_y = (np.float32(e.item()) for e in ends)
        widest = max(abs(min(low_x, low_y)), abs(max(high_x, high_y)))
        high = np.float32(widest * np.float32(1 << 14))
        low = np.float32(-high)
        left = by_steps(x, T1, (low_x, high_x), low, high).astype(np.int64)
        right = by_steps(y, T2, (low_y, high_y), low, high).astype(np.int64)
        return [(left + right).astype(stored(Toutput)), np.asarray(low), np.asarray(high)]

    outputs = [(broadcast(x, y), stored(Toutput)), (SCALAR, "float32"), (SCALAR, "float32")]
    return on_host(run, outputs, [x, y, min_x, max_x, min_y, max_y], "x")


def actual(x: np.ndarray, dtype: str, low: Real, high: Real) -> Range:
    """The range that the integers really reach, 0 included below."""
    least, greatest = LIMITS[dtype]
    ends = (int(x.min(initial=greatest)), int(x.max(initial=least)))
    bottom, top = (np.float32(number(n, dtype, low, high)) for n in ends)
    return min(np.float32(0), bottom), top


def requantized(x: np.ndarray, source: str, ends: Range, target: str, low: Real, high: Real) -> np.ndarray:
    """Integers of one range in another. From 32 bits to 8 by fixed-point arithmetic of its own, as in TensorFlow."""
    if (source, target) != ("qint32", "quint8"):
        return integers(numbers(x, source, *ends), target, low, high)
    span = np.float32(high - low)
    middle = np.float32(np.float32(ends[0] + ends[1]) / 2.0)
    scale = int(255.0 * 65536 * float(ends[1] - ends[0]) / float(span)) if span else 0
    per_step = np.float32(255.0 / float(span)) if span else np.float32(0)
    offset_in = int(np.float32(middle * per_step) * np.float32(65536))
    offset_out = int(65536 * (float(low) * 255.0) / float(span)) if span else 0
    shifted = ((x.astype(np.int64) * scale) >> 32) + (offset_in - offset_out + 32768)
    result: np.ndarray = np.clip(shifted >> 16, 0, 255).astype(np.uint8)
    return result


@lowering("RequantizationRange", gradient="none")
def requantization_range(input: Value, input_min: Value, input_max: Value, *, Tinput: str) -> tuple[Value, ...]:
    """The range that the integers really reach."""

    def run(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(v) for v in actual(x, Tinput, np.float32(low.item()), np.float32(high.item()))]

    return on_host(run, [(SCALAR, "float32")] * 2, [input, input_min, input_max], "input")


@lowering("QuantizeDownAndShrinkRange", gradient="none")
def quantize_down_and_shrink_range(
    input: Value, input_min: Value, input_max: Value, *, Tinput: str, out_type: str
) -> tuple[Value, ...]:
    """Integers of fewer bits, in the range that they really reach."""

    def run(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
        ends = (np.float32(low.item()), np.float32(high.item()))
        reached = actual(x, Tinput, *ends)
        return [requantized(x, Tinput, ends, out_type, *reached), *(np.asarray(v) for v in reached)]

    outputs = [(tuple(input.shape), stored(out_type)), (SCALAR, "float32"), (SCALAR, "float32")]
    return on_host(run, outputs, [input, input_min, input_max], "input")


@lowering("Requantize", gradient="none")
def requantize(
    input: Value,
    input_min: Value,
    input_max: Value,
    requested_output_min: Value,
    requested_output_max: Value,
    *,
    Tinput: str,
    out_type: str,
) -> tuple[Value, ...]:
    """Integers of fewer bits, in a given range."""

    def run(x: np.ndarray, *ends: np.ndarray) -> list[np.ndarray]:
        low, high, new_low, new_high = (np.float32(e.item()) for e in ends)
        new = requantized(x, Tinput, (low, high), out_type, new_low, new_high)
        return [new, np.asarray(new_low), np.asarray(new_high)]

    outputs = [(tuple(input.shape), stored(out_type)), (SCALAR, "float32"), (SCALAR, "float32")]
    return on_host(run, outputs, [input, input_min, input_max, requested_output_min, requested_output_max], "input")
