"""The geometry of sliding windows: data formats, strides, SAME padding, as TensorFlow means them.

Convolutions, pools and patches share it. Everything computes channels last; `to_last` and `from_last` stand around what
came channels first, which compilers and PyTorch's views make free. Imports keras, the values and
what applies to them elementwise.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.lowering.elementwise import apply
from thaw.lowering.values import Value, static_shape

Pads: TypeAlias = tuple[tuple[int, int], ...]
"""Elements added before and after, one pair for each spatial axis."""

Padding: TypeAlias = str | Pads
""""SAME", "VALID", or explicit."""


def channels_first(data_format: str) -> bool:
    """Whether the channel axis of TensorFlow's `data_format` stands second.

    Raises:
        UnhandledValueError: neither it nor channels last.
    """
    if data_format in {"NHWC", "NDHWC", "NWC", "NHWC_VECT_W"}:
        return False
    if data_format in {"NCHW", "NCDHW", "NCW"}:
        return True
    raise UnhandledValueError("An op on images", "data_format", data_format, ("NHWC", "NCHW", "NDHWC", "NCDHW"))


def to_last(x: Value, data_format: str) -> Value:
    """`x` with its channels last."""
    rank = len(x.shape)
    return ops.transpose(x, (0, *range(2, rank), 1)) if channels_first(data_format) else x


def from_last(x: Value, data_format: str) -> Value:
    """`x`, whose channels are last, as `data_format` wants it."""
    rank = len(x.shape)
    return ops.transpose(x, (0, rank - 1, *range(1, rank - 1))) if channels_first(data_format) else x


def spatial(values: Sequence[int], data_format: str) -> tuple[int, ...]:
    """The entries of the spatial axes of an attribute with one entry an axis."""
    return tuple(int(v) for v in (values[2:] if channels_first(data_format) else values[1:-1]))


def resolve(op: str, padding: str, explicit: Sequence[int], data_format: str) -> Padding:
    """The padding attributes of a node as one value.

    Raises:
        UnhandledValueError: a padding that TensorFlow does not have, or one of the batch or channel axis.
    """
    if padding in {"SAME", "VALID"}:
        return padding
    if padding != "EXPLICIT":
        raise UnhandledValueError(op, "padding", padding, ("SAME", "VALID", "EXPLICIT"))
    pairs = [(int(explicit[i]), int(explicit[i + 1])) for i in range(0, len(explicit), 2)]
    inner = pairs[2:] if channels_first(data_format) else pairs[1:-1]
    if sum(map(sum, pairs)) != sum(map(sum, inner)):
        raise UnhandledValueError(op, "explicit_paddings", tuple(explicit), ("padding of spatial axes only",))
    return tuple(inner)


def same_pads(size: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """What SAME adds before and after an axis of `size`.

    Source: tensorflow/core/framework/kernel_shape_util.cc: the odd element goes after.
    """
    total = max((-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def pads_of(
    padding: Padding, sizes: Sequence[Any], window: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Pads | None:
    """`padding` in numbers; None where SAME meets an axis of unknown length (TensorFlow's tracing)."""
    if padding == "VALID":
        return ((0, 0),) * len(window)
    if not isinstance(padding, str):
        return padding
    if not all(isinstance(n, (int, np.integer)) for n in sizes):
        return None
    rows = zip(sizes, window, strides, dilations, strict=True)
    return tuple(same_pads(int(n), k, s, d) for n, k, s, d in rows)


def padded(x: Value, value: Any, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Value:
    """`x` with `value` before, after and between its elements; negative widths cut."""
    shape = static_shape(x)

    def function(np: Any, x: Value) -> Value:
        for axis, between in enumerate(interior):
            if between and (shape[axis] or 0) > 1:
                wide = np.pad(np.expand_dims(x, axis + 1), _widths(x, axis, between), constant_values=value)
                own = [-1 if n is None else n for n in wide.shape]
                length = own[axis] * own[axis + 1]
                x = np.reshape(wide, (*own[:axis], length, *own[axis + 2 :]))
                x = x[(slice(None),) * axis + (slice(0, length - between),)]
        widths = [(max(lo, 0), max(hi, 0)) for lo, hi in zip(low, high, strict=True)]
        if any(map(any, widths)):
            x = np.pad(x, widths, constant_values=value)
        if any(n < 0 for n in (*low, *high)):
            x = x[tuple(slice(max(-lo, 0), min(hi, 0) or None) for lo, hi in zip(low, high, strict=True))]
        return x

    return apply(function, x)


def _widths(x: Value, axis: int, between: int) -> list[tuple[int, int]]:
    return [(0, between if i == axis + 1 else 0) for i in range(len(x.shape) + 1)]


def pad(x: Value, pads: Pads, value: float = 0.0) -> Value:
    """`x` (channels last) with its spatial axes padded."""
    if not any(map(any, pads)):
        return x
    return ops.pad(x, ((0, 0), *pads, (0, 0)), mode="constant", constant_values=value)


def output_sizes(
    sizes: Sequence[int], pads: Pads, window: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, ...]:
    """How many windows fit along each padded axis."""
    rows = zip(sizes, pads, window, strides, dilations, strict=True)
    return tuple(max((n + a + b - (k - 1) * d - 1) // s + 1, 0) for n, (a, b), k, s, d in rows)


def taps(
    padded: Value, window: Sequence[int], strides: Sequence[int], dilations: Sequence[int], outputs: Sequence[int]
) -> list[Value]:
    """For each offset in the window, in row-major order, the elements of `padded` (channels last) that it meets."""
    result = []
    for offset in product(*(range(k) for k in window)):
        index: list[Any] = [slice(None)]
        for o, s, d, n in zip(offset, strides, dilations, outputs, strict=True):
            start = o * d
            index.append(slice(start, start + (n - 1) * s + 1 if n else start, s))
        result.append(padded[tuple(index)])
    return result


def windows_of(
    op: str,
    x: Value,
    padding: Padding,
    window: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] | None = None,
    value: float = 0.0,
) -> list[Value]:
    """`taps` of `x` (channels last), padded by `value` as `padding` says.

    Raises:
        UnhandledValueError: the spatial lengths are not known while tracing.
    """
    dilations = dilations or (1,) * len(window)
    lengths = static_shape(x)[1:-1]
    if any(n is None for n in lengths):
        raise UnhandledValueError(op, "input size", lengths, ("spatial lengths that are known while tracing",))
    known = [int(n or 0) for n in lengths]
    pads = pads_of(padding, known, window, strides, dilations)
    assert pads is not None
    outputs = output_sizes(known, pads, window, strides, dilations)
    return taps(pad(x, pads, value), window, strides, dilations, outputs)


def fold(op: str, parts: Sequence[Value], step: Callable[[Value, Value], Value]) -> Value:
    """`parts` joined pairwise from the first on."""
    result = parts[0]
    for part in parts[1:]:
        result = step(result, part)
    return result


def lowest(dtype: str) -> float | int:
    """What pads a maximum: no element of `dtype` is smaller."""
    return -np.inf if "float" in dtype else int(np.iinfo(dtype).min)
