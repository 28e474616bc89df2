"""Quantization: rounding to a grid while staying float (for training), and true integers with a range.

The gradient of a rounding is that of TensorFlow: straight through inside the range, to the bounds outside of it.
"""

from typing import Any

import numpy
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.lowering.elementwise import alike, apply
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, cast, dtype_of, on_device, static_shape, xp


def straight_through(value: Value, rounded: Value) -> Value:
    """`rounded`, with the gradient of `value`."""
    return value + ops.stop_gradient(rounded - value)


def _nudged(low: Value, high: Value, num_bits: int, narrow_range: bool) -> tuple[Value, Value, Value]:
    """A range moved so that 0 lies on the grid, and the step of the grid.

    Source: tensorflow/core/kernels/fake_quant_ops_functor.h, `Nudge`.
    """
    first, last = (1 if narrow_range else 0), 2**num_bits - 1
    # By a tensor: PyTorch on a GPU divides by a number by multiplying by its reciprocal, which rounds otherwise.
    step = (high - low) / on_device(numpy.array(last - first, dtype=dtype_of(high)))
    zero = first - low / step
    zero = ops.clip(ops.floor(zero + 0.5), first, last)
    return (first - zero) * step, (last - zero) * step, step


def fake_quantized(x: Value, low: Value, high: Value, num_bits: int, narrow_range: bool) -> Value:
    """`x` on the grid of `num_bits` between `low` and `high`."""
    x, low, high = (on_device(v) for v in (x, low, high))
    least, greatest, step = _nudged(ops.stop_gradient(low), ops.stop_gradient(high), num_bits, narrow_range)
    inside = ops.clip(x, least, greatest)
    per_step = 1 / step  # the very order of operations decides what falls on a half
    zero = ops.floor(-least * per_step + 0.5)
    rounded = ops.floor((inside - least) * per_step - zero + 0.5) * step
    value = ops.where(x < least, low, ops.where(x > greatest, high, x))
    return straight_through(value, rounded)


@lowering("FakeQuantWithMinMaxArgs")
def fake_quant_fixed(
    inputs: Value, *, min: float = -6.0, max: float = 6.0, num_bits: int = 8, narrow_range: bool = False
) -> Value:
    """Rounded to the grid of a fixed range."""
    dtype = dtype_of(inputs)
    return fake_quantized(inputs, numpy.array(min, dtype=dtype), numpy.array(max, dtype=dtype), num_bits, narrow_range)


@lowering("FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
def fake_quant(inputs: Value, min: Value, max: Value, *, num_bits: int = 8, narrow_range: bool = False) -> Value:
    """Rounded to the grid of a range that trains (of one a channel)."""
    return fake_quantized(inputs, min, max, num_bits, narrow_range)


@lowering("FakeQuantWithMinMaxArgsGradient")
def fake_quant_fixed_gradient(
    gradients: Value, inputs: Value, *, min: float = -6.0, max: float = 6.0, num_bits: int = 8, narrow_range: bool = False
) -> Value:
    """The gradient where the input lies in the range."""
    gradients, inputs = (on_device(v) for v in (gradients, inputs))
    low, high = (on_device(numpy.array(n, dtype=dtype_of(inputs))) for n in (min, max))
    least, greatest, _ = _nudged(low, high, num_bits, narrow_range)
    return ops.where((inputs >= least) & (inputs <= greatest), gradients, ops.zeros_like(gradients))


@lowering("FakeQuantWithMinMaxVarsGradient", "FakeQuantWithMinMaxVarsPerChannelGradient")
def fake_quant_gradient(
    gradients: Value, inputs: Value, min: Value, max: Value, *, num_bits: int = 8, narrow_range: bool = False
) -> Value:
    """The gradients of input, lower and upper bound."""
    gradients, inputs, low, high = (on_device(v) for v in (gradients, inputs, min, max))
    least, greatest, _ = _nudged(low, high, num_bits, narrow_range)
    nothing = ops.zeros_like(gradients)
    below, above = inputs < least, inputs > greatest
    axes = tuple(range(len(static_shape(inputs)) - len(static_shape(low))))
    return (
        ops.where(below | above, nothing, gradients),
        ops.sum(ops.where(below, gradients, nothing), axis=axes),
        ops.sum(ops.where(above, gradients, nothing), axis=axes),
    )


def _half_away(np: Any, x: Value) -> Value:
    """The nearest integer, halves away from zero."""
    whole = np.trunc(x)
    return whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), np.zeros_like(x))


def _round(x: Value, mode: str) -> Value:
    return ops.round(x) if mode == "HALF_TO_EVEN" else ops.floor(x + 0.5)


def _on_grid(
    x: Value, low: Value, high: Value, bits: int, signed: bool, given: bool, mode: str, narrow: bool, axis: int, bounded: bool
) -> Value:
    """`x` on a grid that is symmetric about 0, straight through (`bounded`: inside of the range only)."""
    x, low, high = on_device(x), ops.stop_gradient(on_device(low)), ops.stop_gradient(on_device(high))
    rank = len(static_shape(x))
    if not given and 0 in static_shape(x):  # nothing has no range
        return x
    if not given:
        others = tuple(a for a in range(rank) if axis == -1 or a != axis)
        low, high = ops.min(x, axis=others), ops.max(x, axis=others)
    if axis != -1:
        shape = [-1 if a == axis else 1 for a in range(rank)]
        low, high = ops.reshape(low, shape), ops.reshape(high, shape)
    least, greatest = (-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    far = ops.full_like(low, numpy.finfo("float32").max)
    of_low = ops.where(least * low > 0, least / ops.where(low == 0, far, low), far)
    of_high = ops.where(greatest * high > 0, greatest / ops.where(high == 0, far, high), far)
    scale = ops.minimum(of_low, of_high)
    bottom, top = least / scale, greatest / scale
    inside = ops.clip(x, bottom, top) if given else x
    rounded = _round(inside * scale, mode) / scale
    if bounded:
        x = ops.where((x < low) | (x > high), ops.stop_gradient(x), x)
    return straight_through(x, rounded)


@lowering("QuantizeAndDequantize")
def quantize_and_dequantize_fixed(
    input: Value,
    *,
    signed_input: bool = True,
    num_bits: int = 8,
    range_given: bool = False,
    input_min: float = 0.0,
    input_max: float = 0.0,
) -> Value:
    """Rounded to the grid of a fixed range, the gradient straight through."""
    low, high = (numpy.array(n, dtype=dtype_of(input)) for n in (input_min, input_max))
    return _on_grid(input, low, high, num_bits, signed_input, range_given, "HALF_TO_EVEN", False, -1, bounded=False)


@lowering("QuantizeAndDequantizeV2")
def quantize_and_dequantize(
    input: Value,
    input_min: Value,
    input_max: Value,
    *,
    signed_input: bool = True,
    num_bits: int = 8,
    range_given: bool = False,
    round_mode: str = "HALF_TO_EVEN",
    narrow_range: bool = False,
    axis: int = -1,
) -> Value:
    """Rounded to the grid of a range, the gradient straight through."""
    args = (num_bits, signed_input, range_given, round_mode, narrow_range, axis)
    return _on_grid(input, input_min, input_max, *args, bounded=False)


@lowering("QuantizeAndDequantizeV4")
def quantize_and_dequantize_bounded(
    input: Value,
    input_min: Value,
    input_max: Value,
    *,
    signed_input: bool = True,
    num_bits: int = 8,
    range_given: bool = False,
    round_mode: str = "HALF_TO_EVEN",
    narrow_range: bool = False,
    axis: int = -1,
) -> Value:
    """Rounded to the grid of a range, the gradient straight through inside of it."""
    args = (num_bits, signed_input, range_given, round_mode, narrow_range, axis)
    return _on_grid(input, input_min, input_max, *args, bounded=True)


@lowering("QuantizeAndDequantizeV3", static=("num_bits",))
def quantize_and_dequantize_to_bits(
    input: Value,
    input_min: Value,
    input_max: Value,
    num_bits: Value,
    *,
    signed_input: bool = True,
    range_given: bool = True,
    narrow_range: bool = False,
    axis: int = -1,
) -> Value:
    """Rounded to the grid of a range, the gradient straight through."""
    args = (int(num_bits), signed_input, range_given, "HALF_TO_EVEN", narrow_range, axis)
    return _on_grid(input, input_min, input_max, *args, bounded=False)


LIMITS = {
    "qint8": (-128, 127),
    "quint8": (0, 255),
    "qint16": (-32768, 32767),
    "quint16": (0, 65535),
    "qint32": (-(2**31), 2**31 - 1),
}


@lowering("Dequantize")
def dequantize(
    input: Value,
    min_range: Value,
    max_range: Value,
    *,
    T: str = "",
    mode: str = "MIN_COMBINED",
    narrow_range: bool = False,
    axis: int = -1,
    dtype: str = "float32",
) -> Value:
    """Integers of a range (one for each slice along `axis`) as the numbers that they stand for."""
    least, greatest = LIMITS[T]
    if axis != -1:
        shape = tuple(-1 if a == axis else 1 for a in range(len(static_shape(input))))
        min_range, max_range = (xp(v).reshape(v, shape) for v in (min_range, max_range))

    def function(np: Any, x: Value, low: Value, high: Value) -> Value:
        x = x.astype("float32") if np is numpy else ops.cast(x, "float32")
        if mode == "SCALED":
            step = high / greatest
            if least < 0:
                step = np.maximum(low / (least + narrow_range), step)
            return x * step
        if mode == "MIN_FIRST":
            step = (high - low) / float(greatest - least)
            first = np.where(high == low, low, _half_away(np, low / np.where(step == 0, step + 1, step)) * step)
            return (first - float(least) * step) + x * step
        return (x + (0 if least == 0 else (greatest - least + 1) / 2)) * ((high - low) / (greatest - least)) + low

    return cast(apply(function, input, min_range, max_range), dtype)


@lowering("QuantizeV2", gradient="none")
def quantize(
    input: Value,
    min_range: Value,
    max_range: Value,
    *,
    T: str,
    mode: str = "MIN_COMBINED",
    round_mode: str = "HALF_AWAY_FROM_ZERO",
    narrow_range: bool = False,
    axis: int = -1,
    ensure_minimum_range: float = 0.01,
) -> Value:
    """Numbers as integers of a range, and the range.

    Raises:
        UnhandledValueError: a range for each channel.
    """
    if axis != -1:
        raise UnhandledValueError("QuantizeV2", "axis", axis, [-1])
    least, greatest = LIMITS[T]
    x, low, high = alike(on_device(input), on_device(min_range), on_device(max_range))
    low = ops.minimum(low, ops.zeros_like(low))
    room = ops.maximum(ops.maximum(ops.abs(low), ops.abs(high)), 1.0) * ensure_minimum_range
    high = ops.maximum(ops.maximum(high, low + room), 0.0)
    if mode == "SCALED":
        bottom = least + narrow_range if least < 0 else 0
        steps = [greatest / high] + ([bottom / low] if bottom else [])
        scale = steps[0] if len(steps) == 1 else ops.where(low * bottom > 0, ops.minimum(*steps), steps[0])
        low, high = bottom / scale, greatest / scale
        scaled = ops.clip(x, low, high) * scale
        scaled = ops.round(scaled) if round_mode == "HALF_TO_EVEN" else ops.sign(scaled) * ops.floor(ops.abs(scaled) + 0.5)
    elif mode == "MIN_FIRST":
        scale = ops.where(high == low, 0.0, float(greatest - least) / ops.where(high == low, 1.0, high - low))
        scaled = _half_away(ops, x * scale) - (_half_away(ops, low * scale) - float(least))
        scaled = ops.clip(scaled, float(least), float(greatest))
    else:
        inside = ops.clip(x, low, high)
        scaled = (inside - low) * ((greatest - least) / (high - low))
        scaled = ops.floor(scaled + 0.5) if least == 0 else ops.round(scaled - (greatest - least + 1) / 2)
    return ops.cast(scaled, T.removeprefix("q")), low, high
