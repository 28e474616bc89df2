"""Pools over two and three axes, and their gradients where a graph holds those as ops of its own.

TensorFlow's conventions: SAME padding counts for nothing in a mean, and of equal maxima the first receives the gradient.
"""

from collections.abc import Sequence

import numpy as np
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.lowering import kernels
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, cast, dtype_of, on_device, sizes, static_shape
from thaw.lowering.windows import (
    Padding,
    fold,
    from_last,
    lowest,
    output_sizes,
    pad,
    pads_of,
    resolve,
    spatial,
    taps,
    to_last,
    windows_of,
)


def deep(ksize: Sequence[int], strides: Sequence[int], data_format: str) -> bool:
    """Whether the window reaches over the channels, as TensorFlow's maximum pool may with a window of 1 elsewhere."""
    channel = 1 if data_format.startswith("NC") else -1
    return int(ksize[channel]) != 1 or int(strides[channel]) != 1


def maximum(op: str, x: Value, ksize: Sequence[int], strides: Sequence[int], padding: Padding, data_format: str) -> Value:
    """The maximum pool of `x`."""
    if deep(ksize, strides, data_format):
        depth = int(ksize[-1])
        if depth != int(strides[-1]) or set(ksize[:-1]) != {1}:
            raise UnhandledValueError(op, "ksize", tuple(ksize), ("windows over space", "equal windows over depth"))
        return ops.max(ops.reshape(x, (*ops.shape(x)[:-1], int(x.shape[-1]) // depth, depth)), axis=-1)
    y = kernels.max_pool(
        to_last(x, data_format),
        window=spatial(ksize, data_format),
        strides=spatial(strides, data_format),
        padding=padding,
    )
    return from_last(y, data_format)


@lowering("MaxPool")
def max_pool(
    x: Value,
    *,
    ksize: Sequence[int],
    strides: Sequence[int],
    padding: str,
    explicit_paddings: Sequence[int] = (),
    data_format: str = "NHWC",
) -> Value:
    """The largest element of each window."""
    return maximum("MaxPool", x, ksize, strides, resolve("MaxPool", padding, explicit_paddings, data_format), data_format)


@lowering("MaxPoolV2", static=("ksize", "strides"))
def max_pool_v2(x: Value, ksize: Value, strides: Value, *, padding: str, data_format: str = "NHWC") -> Value:
    """The largest element of each window, whose size is an input."""
    resolved = resolve("MaxPoolV2", padding, (), data_format)
    return maximum("MaxPoolV2", x, sizes(ksize), sizes(strides), resolved, data_format)


@lowering("MaxPool3D")
def max_pool_3d(x: Value, *, ksize: Sequence[int], strides: Sequence[int], padding: str, data_format: str = "NDHWC") -> Value:
    """The largest element of each window over depth, height and width."""
    return maximum("MaxPool3D", x, ksize, strides, resolve("MaxPool3D", padding, (), data_format), data_format)


@lowering("MaxPoolWithArgmax")
def max_pool_with_argmax(
    x: Value,
    *,
    ksize: Sequence[int],
    strides: Sequence[int],
    padding: str,
    Targmax: str = "int64",
    include_batch_in_index: bool = False,
) -> tuple[Value, Value]:
    """The largest element of each window, and where it lies in the flattened image (or batch)."""
    op = "MaxPoolWithArgmax"
    x, window, steps = on_device(x), spatial(ksize, "NHWC"), spatial(strides, "NHWC")
    resolved = resolve(op, padding, (), "NHWC")
    rows, columns, channels = (int(n or 0) for n in static_shape(x)[1:])
    places = np.arange(rows * columns * channels).reshape(1, rows, columns, channels)
    pads = pads_of(resolved, (rows, columns), window, steps, (1, 1))
    assert pads is not None
    outputs = output_sizes((rows, columns), pads, window, steps, (1, 1))
    where = taps(np.pad(places, ((0, 0), *pads, (0, 0)), constant_values=-1), window, steps, (1, 1), outputs)
    parts = windows_of(op, x, resolved, window, steps, value=lowest(dtype_of(x)))
    # Padding never wins: the first window's element that lies in the image does, even against an equal -inf.
    best, index = parts[0], ops.convert_to_tensor(where[0])
    for part, place in zip(parts[1:], where[1:], strict=True):
        better = ops.logical_or(part > best, ops.logical_and(index < 0, place >= 0))
        best = ops.where(better, part, best)
        index = ops.where(better, ops.cast(place, index.dtype), index)
    if include_batch_in_index:
        batch = ops.cast(ops.arange(ops.shape(x)[0]), index.dtype)
        index = index + ops.reshape(batch, (-1, 1, 1, 1)) * int(rows * columns * channels)
    return best, cast(ops.broadcast_to(index, ops.shape(best)), Targmax)


@lowering("AvgPool")
def average_pool(x: Value, *, ksize: Sequence[int], strides: Sequence[int], padding: str, data_format: str = "NHWC") -> Value:
    """The mean of each window."""
    return mean("AvgPool", x, ksize, strides, padding, data_format)


@lowering("AvgPool3D")
def average_pool_3d(x: Value, *, ksize: Sequence[int], strides: Sequence[int], padding: str, data_format: str = "NDHWC") -> Value:
    """The mean of each window over depth, height and width."""
    return mean("AvgPool3D", x, ksize, strides, padding, data_format)


def mean(op: str, x: Value, ksize: Sequence[int], strides: Sequence[int], padding: str, data_format: str) -> Value:
    """The average pool of `x`."""
    if deep(ksize, strides, data_format):
        raise UnhandledValueError(op, "ksize", tuple(ksize), ("windows over space",))
    y = kernels.average_pool(
        to_last(x, data_format),
        window=spatial(ksize, data_format),
        strides=spatial(strides, data_format),
        padding=resolve(op, padding, (), data_format),
    )
    return from_last(y, data_format)


def spread(parts: Sequence[Value], like: tuple[int, ...], window: Sequence[int], strides: Sequence[int]) -> Value:
    """The sum of `parts`, one an offset of the window, each put where its window's element lies in the padded input.

    The adjoint of `taps`. `like` are the padded spatial lengths.
    """
    total = None
    outputs = [int(n or 0) for n in static_shape(parts[0])[1:-1]]
    for offset, part in zip(np.ndindex(*window), parts, strict=True):
        for axis, (step, length) in enumerate(zip(strides, outputs, strict=True), start=1):
            part = stretch(part, axis, step, length)
        lengths = [(n - 1) * s + 1 for n, s in zip(outputs, strides, strict=True)]
        part = pad(part, tuple((o, n - o - k) for o, n, k in zip(offset, like, lengths, strict=True)))
        total = part if total is None else total + part
    return total


def stretch(x: Value, axis: int, step: int, length: int) -> Value:
    """`x` with `step - 1` zeros between neighbours of `axis`, which has `length` elements."""
    if step == 1 or length == 1:
        return x
    shape = list(ops.shape(x))
    zeros = [(0, 0)] * (len(shape) + 1)
    zeros[axis + 1] = (0, step - 1)
    wide = ops.reshape(ops.pad(ops.expand_dims(x, axis + 1), zeros), [*shape[:axis], length * step, *shape[axis + 1 :]])
    return wide[(slice(None),) * axis + (slice(0, (length - 1) * step + 1),)]


def maximum_gradient(
    op: str, x: Value, dy: Value, ksize: Sequence[int], strides: Sequence[int], padding: Padding, data_format: str
) -> Value:
    """`dy` sent to the first maximum of each window of `x`."""
    x, dy = to_last(on_device(x), data_format), to_last(on_device(dy), data_format)
    window, steps = spatial(ksize, data_format), spatial(strides, data_format)
    lengths = [int(n or 0) for n in static_shape(x)[1:-1]]
    pads = pads_of(padding, lengths, window, steps, (1,) * len(window))
    assert pads is not None
    parts = windows_of(op, x, padding, window, steps, value=lowest(dtype_of(x)))
    best = fold(op, parts, ops.maximum)
    free, sent = ops.ones_like(dy), []
    for part in parts:
        hit = ops.cast(part == best, dtype_of(dy)) * free
        free = free - hit
        sent.append(hit * dy)
    padded = tuple(n + a + b for n, (a, b) in zip(lengths, pads, strict=True))
    full = spread(sent, padded, window, steps)
    inner = full[(slice(None), *(slice(a, a + n) for n, (a, _) in zip(lengths, pads, strict=True)))]
    return from_last(inner, data_format)


@lowering("MaxPoolGrad")
def max_pool_gradient(
    orig_input: Value,
    orig_output: Value,
    grad: Value,
    *,
    ksize: Sequence[int],
    strides: Sequence[int],
    padding: str,
    explicit_paddings: Sequence[int] = (),
    data_format: str = "NHWC",
) -> Value:
    """What MaxPool's input would receive as gradient."""
    resolved = resolve("MaxPoolGrad", padding, explicit_paddings, data_format)
    return maximum_gradient("MaxPoolGrad", orig_input, grad, ksize, strides, resolved, data_format)


@lowering("MaxPool3DGrad", ignored=("TInput",))
def max_pool_3d_gradient(
    orig_input: Value,
    orig_output: Value,
    grad: Value,
    *,
    ksize: Sequence[int],
    strides: Sequence[int],
    padding: str,
    data_format: str = "NDHWC",
) -> Value:
    """What MaxPool3D's input would receive as gradient."""
    resolved = resolve("MaxPool3DGrad", padding, (), data_format)
    return maximum_gradient("MaxPool3DGrad", orig_input, grad, ksize, strides, resolved, data_format)


def mean_gradient(
    op: str, shape: Value, dy: Value, ksize: Sequence[int], strides: Sequence[int], padding: str, data_format: str
) -> Value:
    """`dy` spread evenly over each window's elements."""
    dy = to_last(dy, data_format)
    window, steps = spatial(ksize, data_format), spatial(strides, data_format)
    lengths = spatial(sizes(shape), data_format)
    pads = pads_of(resolve(op, padding, (), data_format), lengths, window, steps, (1,) * len(window))
    assert pads is not None
    ones = (1,) * len(window)
    outputs = output_sizes(lengths, pads, window, steps, ones)
    inside = np.pad(np.ones((1, *lengths, 1), "float32"), ((0, 0), *pads, (0, 0)))
    count = fold(op, taps(inside, window, steps, ones, outputs), np.add)
    share = dy / ops.convert_to_tensor(count, dtype=dtype_of(dy))
    padded = tuple(n + a + b for n, (a, b) in zip(lengths, pads, strict=True))
    full = spread([share] * int(np.prod(window)), padded, window, steps)
    inner = full[(slice(None), *(slice(a, a + n) for n, (a, _) in zip(lengths, pads, strict=True)))]
    return from_last(inner, data_format)


@lowering("AvgPoolGrad", static=("orig_input_shape",))
def average_pool_gradient(
    orig_input_shape: Value,
    grad: Value,
    *,
    ksize: Sequence[int],
    strides: Sequence[int],
    padding: str,
    data_format: str = "NHWC",
) -> Value:
    """What AvgPool's input would receive as gradient."""
    return mean_gradient("AvgPoolGrad", orig_input_shape, grad, ksize, strides, padding, data_format)


@lowering("AvgPool3DGrad", static=("orig_input_shape",))
def average_pool_3d_gradient(
    orig_input_shape: Value,
    grad: Value,
    *,
    ksize: Sequence[int],
    strides: Sequence[int],
    padding: str,
    data_format: str = "NDHWC",
) -> Value:
    """What AvgPool3D's input would receive as gradient."""
    return mean_gradient("AvgPool3DGrad", orig_input_shape, grad, ksize, strides, padding, data_format)
