"""Convolutions, forward and transposed, and their gradients where a graph holds those as ops of its own.

Kernels are (spatial..., input channels, output channels) throughout, as TensorFlow stores them. What runs a convolution
fastest on a backend is `kernels`' business.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.lowering import kernels
from thaw.lowering.matmul import matmul, product
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, known, on_device, static_shape
from thaw.lowering.windows import (
    Padding,
    Pads,
    channels_first,
    fold,
    from_last,
    pad,
    padded,
    pads_of,
    resolve,
    spatial,
    to_last,
    windows_of,
)


@lowering("Conv2D", ignored=("use_cudnn_on_gpu",))
def conv2d(
    x: Value,
    kernel: Value,
    *,
    strides: Sequence[int],
    padding: str,
    explicit_paddings: Sequence[int] = (),
    data_format: str = "NHWC",
    dilations: Sequence[int] = (1, 1, 1, 1),
) -> Value:
    """Convolution over height and width; grouped where the kernel takes fewer channels than the image has."""
    y = kernels.convolution(
        to_last(x, data_format),
        kernel,
        strides=spatial(strides, data_format),
        padding=resolve("Conv2D", padding, explicit_paddings, data_format),
        dilations=spatial(dilations, data_format),
    )
    return from_last(y, data_format)


@lowering("Conv3D")
def conv3d(
    x: Value,
    kernel: Value,
    *,
    strides: Sequence[int],
    padding: str,
    data_format: str = "NDHWC",
    dilations: Sequence[int] = (1, 1, 1, 1, 1),
) -> Value:
    """Convolution over depth, height and width."""
    y = kernels.convolution(
        to_last(x, data_format),
        kernel,
        strides=spatial(strides, data_format),
        padding=resolve("Conv3D", padding, (), data_format),
        dilations=spatial(dilations, data_format),
    )
    return from_last(y, data_format)


@lowering("Conv", ignored=("groups",))
def conv(
    x: Value,
    kernel: Value,
    *,
    strides: Sequence[int],
    padding: str,
    explicit_paddings: Sequence[int] = (),
    data_format: str = "CHANNELS_LAST",
    dilations: Sequence[int] = (),
    batch_dims: int = 1,
) -> Value:
    """Convolution over one to three axes, perhaps in groups, with any number of batch axes."""
    own = static_shape(x)
    x = ops.reshape(x, (-1, *own[batch_dims:])) if batch_dims != 1 else x
    rank = len(static_shape(x)) - 2
    layout = "NC" + "DHW"[3 - rank :] if data_format == "CHANNELS_FIRST" else "N" + "DHW"[3 - rank :] + "C"
    y = kernels.convolution(
        to_last(x, layout),
        kernel,
        strides=spatial(strides, layout),
        padding=resolve("Conv", padding, explicit_paddings, layout),
        dilations=spatial(dilations, layout) if dilations else (1,) * rank,
    )
    y = from_last(y, layout)
    return ops.reshape(y, (*own[:batch_dims], *static_shape(y)[1:])) if batch_dims != 1 else y


@lowering("DepthwiseConv2dNative")
def depthwise_conv2d(
    x: Value,
    kernel: Value,
    *,
    strides: Sequence[int],
    padding: str,
    explicit_paddings: Sequence[int] = (),
    data_format: str = "NHWC",
    dilations: Sequence[int] = (1, 1, 1, 1),
) -> Value:
    """Each channel convolved by itself; `kernel` is (height, width, channels, multiplier)."""
    y = kernels.depthwise(
        to_last(x, data_format),
        kernel,
        strides=spatial(strides, data_format),
        padding=resolve("DepthwiseConv2dNative", padding, explicit_paddings, data_format),
        dilations=spatial(dilations, data_format),
    )
    return from_last(y, data_format)


def transposed(
    op: str,
    lengths: Sequence[Any],
    kernel: Value,
    dy: Value,
    strides: Sequence[int],
    padding: Padding,
    dilations: Sequence[int],
) -> Value:
    """The gradient of a convolution in its input, whose spatial `lengths` are given: a transposed convolution.

    The widest window's worth is computed, then cut (or filled up) to where the input lay in its padding.
    """
    window = [int(k or 0) for k in static_shape(kernel)[:-2]]
    if len(window) == 2:
        native = kernels.transposed_native(lengths, kernel, dy, strides=strides, padding=padding, dilations=dilations)
        if native is not None:
            return native
    pads = pads_of(padding, lengths, window, strides, dilations)
    if pads is None or not all(isinstance(n, int) for n in lengths):
        raise UnhandledValueError(op, "input_sizes", tuple(lengths), ("spatial lengths that are known while tracing",))
    if max(dilations) > 1 and keras.backend.backend() == "tensorflow":
        return crop_or_fill(_dilated_transposed(kernel, dy, strides, dilations), pads, lengths)
    full = kernels.transposed(dy, kernel, strides=strides, dilations=dilations)
    return crop_or_fill(full, pads, lengths)


def _dilated_transposed(kernel: Value, dy: Value, strides: Sequence[int], dilations: Sequence[int]) -> Value:
    """A transposed convolution as a plain one of `dy` spread out by zeros: TensorFlow has no dilated one on every CPU."""
    rank = len(strides)
    reach = [0, *((int(k or 0) - 1) * d for k, d in zip(static_shape(kernel)[:rank], dilations, strict=True)), 0]
    wide = padded(dy, 0, reach, reach, [0, *(s - 1 for s in strides), 0])
    flipped = ops.swapaxes(ops.flip(kernel, axis=tuple(range(rank))), -1, -2)
    return kernels.convolution_plain(wide, flipped, strides=(1,) * rank, padding="VALID", dilations=dilations)


def crop_or_fill(full: Value, pads: Pads, sizes: Sequence[int]) -> Value:
    """`sizes` elements of each spatial axis of `full`, from where the padding ended; zeros where it ends too early."""
    starts = [a for a, _ in pads]
    ends = [a + n for a, n in zip(starts, sizes, strict=True)]
    missing = [max(end - int(n or 0), 0) for end, n in zip(ends, static_shape(full)[1:-1], strict=True)]
    full = pad(full, tuple((0, m) for m in missing))
    return full[(slice(None), *(slice(a, b) for a, b in zip(starts, ends, strict=True)), slice(None))]


def grouped_transposed(op: str, channels: int, kernel: Value, dy: Value, **rest: Any) -> Value:
    """`transposed`, group by group where the forward convolution was grouped."""
    per_group = int(static_shape(kernel)[-2] or 0)
    groups = channels // per_group if per_group else 1
    if groups <= 1:
        return transposed(op, rest.pop("lengths"), kernel, dy, **rest)
    lengths = rest.pop("lengths")
    parts = zip(ops.split(kernel, groups, axis=-1), ops.split(dy, groups, axis=-1), strict=True)
    return ops.concatenate([transposed(op, lengths, k, d, **rest) for k, d in parts], axis=-1)


def shape_of_input(sizes: Value, data_format: str) -> tuple[list[Any], int | None]:
    """Spatial lengths and channels of an `input_sizes` input, as tensors where TensorFlow does not know them yet."""
    value = known(sizes, "input_sizes")
    if isinstance(value, (np.ndarray, np.generic)):
        entries: list[Any] = [int(v) for v in np.atleast_1d(value)]
    else:
        entries = [value[i] if n is None else n for i, n in enumerate(kernels.static_entries(value))]
    if len(entries) == 2:  # TensorFlow takes the spatial lengths alone too
        return entries, None
    channels = entries[1] if channels_first(data_format) else entries[-1]
    return list(entries[2:] if channels_first(data_format) else entries[1:-1]), channels if isinstance(channels, int) else None


@lowering("Conv2DBackpropInput", static=("input_sizes",), ignored=("use_cudnn_on_gpu",))
def conv2d_backprop_input(
    input_sizes: Value,
    kernel: Value,
    out_backprop: Value,
    *,
    strides: Sequence[int],
    padding: str,
    explicit_paddings: Sequence[int] = (),
    data_format: str = "NHWC",
    dilations: Sequence[int] = (1, 1, 1, 1),
) -> Value:
    """Transposed convolution: what Conv2D's input would receive as gradient."""
    lengths, channels = shape_of_input(input_sizes, data_format)
    y = grouped_transposed(
        "Conv2DBackpropInput",
        channels or int(static_shape(kernel)[-2] or 0),
        kernel,
        to_last(out_backprop, data_format),
        lengths=lengths,
        strides=spatial(strides, data_format),
        padding=resolve("Conv2DBackpropInput", padding, explicit_paddings, data_format),
        dilations=spatial(dilations, data_format),
    )
    return from_last(y, data_format)


@lowering("Conv3DBackpropInputV2", static=("input_sizes",))
def conv3d_backprop_input(
    input_sizes: Value,
    kernel: Value,
    out_backprop: Value,
    *,
    strides: Sequence[int],
    padding: str,
    data_format: str = "NDHWC",
    dilations: Sequence[int] = (1, 1, 1, 1, 1),
) -> Value:
    """Transposed convolution over depth, height and width."""
    lengths, _ = shape_of_input(input_sizes, data_format)
    y = transposed(
        "Conv3DBackpropInputV2",
        lengths,
        kernel,
        to_last(out_backprop, data_format),
        spatial(strides, data_format),
        resolve("Conv3DBackpropInputV2", padding, (), data_format),
        spatial(dilations, data_format),
    )
    return from_last(y, data_format)


def filter_gradient(
    op: str,
    x: Value,
    filter_sizes: Value,
    dy: Value,
    strides: Sequence[int],
    padding: Padding,
    dilations: Sequence[int],
) -> Value:
    """The gradient of a convolution in its kernel: for each offset in the window, input times output gradient."""
    *window, per_group, outputs = (int(v) for v in np.atleast_1d(filter_sizes))
    channels = int(static_shape(x)[-1] or 0)
    groups = channels // per_group if per_group else 1
    rows = []
    for part in windows_of(op, x, padding, window, strides, dilations):
        pairs = zip(ops.split(part, groups, axis=-1), ops.split(dy, groups, axis=-1), strict=True)
        products = [
            matmul(ops.reshape(a, (-1, per_group)), ops.reshape(b, (-1, outputs // groups)), transpose_a=True) for a, b in pairs
        ]
        rows.append(products[0] if groups == 1 else ops.concatenate(products, axis=-1))
    return ops.reshape(ops.stack(rows), (*window, per_group, outputs))


@lowering("Conv2DBackpropFilter", static=("filter_sizes",), ignored=("use_cudnn_on_gpu",))
def conv2d_backprop_filter(
    x: Value,
    filter_sizes: Value,
    out_backprop: Value,
    *,
    strides: Sequence[int],
    padding: str,
    explicit_paddings: Sequence[int] = (),
    data_format: str = "NHWC",
    dilations: Sequence[int] = (1, 1, 1, 1),
) -> Value:
    """What Conv2D's kernel would receive as gradient."""
    return filter_gradient(
        "Conv2DBackpropFilter",
        to_last(x, data_format),
        filter_sizes,
        to_last(out_backprop, data_format),
        spatial(strides, data_format),
        resolve("Conv2DBackpropFilter", padding, explicit_paddings, data_format),
        spatial(dilations, data_format),
    )


@lowering("Conv3DBackpropFilterV2", static=("filter_sizes",))
def conv3d_backprop_filter(
    x: Value,
    filter_sizes: Value,
    out_backprop: Value,
    *,
    strides: Sequence[int],
    padding: str,
    data_format: str = "NDHWC",
    dilations: Sequence[int] = (1, 1, 1, 1, 1),
) -> Value:
    """What Conv3D's kernel would receive as gradient."""
    return filter_gradient(
        "Conv3DBackpropFilterV2",
        to_last(x, data_format),
        filter_sizes,
        to_last(out_backprop, data_format),
        spatial(strides, data_format),
        resolve("Conv3DBackpropFilterV2", padding, (), data_format),
        spatial(dilations, data_format),
    )


@lowering("DepthwiseConv2dNativeBackpropInput", static=("input_sizes",))
def depthwise_backprop_input(
    input_sizes: Value,
    kernel: Value,
    out_backprop: Value,
    *,
    strides: Sequence[int],
    padding: str,
    explicit_paddings: Sequence[int] = (),
    data_format: str = "NHWC",
    dilations: Sequence[int] = (1, 1, 1, 1),
) -> Value:
    """What DepthwiseConv2dNative's input would receive as gradient: each output gradient spread over its window."""
    op = "DepthwiseConv2dNativeBackpropInput"
    lengths, _ = shape_of_input(input_sizes, data_format)
    kernel, dy = on_device(kernel), to_last(on_device(out_backprop), data_format)
    steps, reach = spatial(strides, data_format), spatial(dilations, data_format)
    height, width, channels, multiplier = (int(v or 0) for v in static_shape(kernel))
    pads = pads_of(resolve(op, padding, explicit_paddings, data_format), lengths, (height, width), steps, reach)
    if pads is None or not all(isinstance(n, int) for n in lengths):
        raise UnhandledValueError(op, "input_sizes", tuple(lengths), ("spatial lengths that are known while tracing",))
    rows, columns = (int(v or 0) for v in static_shape(dy)[1:3])
    dy = ops.reshape(dy, (-1, rows, columns, channels, multiplier))
    spread = interleave(dy, steps)
    parts = []
    for i in range(height):
        for j in range(width):
            part = ops.sum(spread * kernel[i, j], axis=-1)
            top, left = i * reach[0], j * reach[1]
            parts.append(pad(part, ((top, (height - 1) * reach[0] - top), (left, (width - 1) * reach[1] - left))))
    full = fold(op, parts, lambda a, b: a + b)
    return from_last(crop_or_fill(full, pads, lengths), data_format)


def interleave(x: Value, steps: Sequence[int]) -> Value:
    """`x` (batch, rows, columns, channels, multiplier) with `steps - 1` zeros between neighbours of rows and columns."""
    shape = [int(v or 0) for v in static_shape(x)[1:]]
    for axis, step in zip((1, 2), steps, strict=True):
        if step > 1:
            length = shape[axis - 1]
            zeros = [(0, 0)] * (len(shape) + 2)
            zeros[axis + 1] = (0, step - 1)
            x = ops.pad(ops.expand_dims(x, axis + 1), zeros)
            shape[axis - 1] = length * step
            x = ops.reshape(x, (-1, *shape))
            index: list[Any] = [slice(None)] * (len(shape) + 1)
            shape[axis - 1] = (length - 1) * step + 1
            index[axis] = slice(0, shape[axis - 1])
            x = x[tuple(index)]
    return x


@lowering("DepthwiseConv2dNativeBackpropFilter", static=("filter_sizes",))
def depthwise_backprop_filter(
    x: Value,
    filter_sizes: Value,
    out_backprop: Value,
    *,
    strides: Sequence[int],
    padding: str,
    explicit_paddings: Sequence[int] = (),
    data_format: str = "NHWC",
    dilations: Sequence[int] = (1, 1, 1, 1),
) -> Value:
    """What DepthwiseConv2dNative's kernel would receive as gradient."""
    op = "DepthwiseConv2dNativeBackpropFilter"
    height, width, channels, multiplier = (int(v) for v in np.atleast_1d(filter_sizes))
    dy = to_last(out_backprop, data_format)
    rows, columns = (int(v or 0) for v in static_shape(dy)[1:3])
    dy = ops.reshape(dy, (-1, rows, columns, channels, multiplier))
    parts = windows_of(
        op,
        to_last(x, data_format),
        resolve(op, padding, explicit_paddings, data_format),
        (height, width),
        spatial(strides, data_format),
        spatial(dilations, data_format),
    )
    sums = [ops.sum(ops.expand_dims(part, -1) * dy, axis=(0, 1, 2)) for part in parts]
    return ops.reshape(ops.stack(sums), (height, width, channels, multiplier))


@lowering("Dilation2D")
def dilation2d(x: Value, kernel: Value, *, strides: Sequence[int], rates: Sequence[int], padding: str) -> Value:
    """Grey-scale dilation: the maximum over the window of input plus kernel; ties give their gradient to the first."""
    x, kernel = on_device(x), on_device(kernel)
    height, width = (int(v or 0) for v in static_shape(kernel)[:2])
    parts = windows_of(
        "Dilation2D",
        x,
        resolve("Dilation2D", padding, (), "NHWC"),
        (height, width),
        spatial(strides, "NHWC"),
        spatial(rates, "NHWC"),
        value=-np.inf,
    )
    offsets = [kernel[i, j] for i in range(height) for j in range(width)]
    sums = [part + offset for part, offset in zip(parts, offsets, strict=True)]
    return fold("Dilation2D", sums, lambda best, new: ops.where(new > best, new, best))


ACTIVATIONS = {
    "Relu": kernels.relu,
    "Relu6": kernels.relu6,
    "Elu": ops.elu,
    "Tanh": ops.tanh,
    "Sigmoid": ops.sigmoid,
}
"""What a fused op may end with, besides LeakyRelu, which takes a slope."""


def fused_tail(op: str, y: Value, arguments: Sequence[Value], names: Sequence[str], epsilon: float, slope: float) -> Value:
    """The steps that follow the product in a fused op of TensorFlow's grappler; `y` has its channels last."""
    rest = [on_device(v) for v in arguments]
    for name in names:
        if name == "BiasAdd":
            y = ops.add(y, rest.pop(0))
        elif name == "FusedBatchNorm":
            scale, offset, mean, variance = (rest.pop(0) for _ in range(4))
            y = (y - mean) * (ops.rsqrt(variance + epsilon) * scale) + offset
        elif name == "Add":
            y = ops.add(y, rest.pop(0))
        elif name == "LeakyRelu":
            y = ops.where(y > 0, y, y * slope)
        elif name in ACTIVATIONS:
            y = ACTIVATIONS[name](y)
        else:
            supported = ("BiasAdd", "FusedBatchNorm", "Add", "LeakyRelu", *ACTIVATIONS)
            raise UnhandledValueError(op, "fused_ops", name, supported)
    return y


@lowering("_FusedConv2D", ignored=("use_cudnn_on_gpu", "num_args", "num_host_args", "TArgs"))
def fused_conv2d(
    *values: Value,
    strides: Sequence[int],
    padding: str,
    explicit_paddings: Sequence[int] = (),
    data_format: str = "NHWC",
    filter_format: str = "HWIO",
    dilations: Sequence[int] = (1, 1, 1, 1),
    fused_ops: Sequence[str] = (),
    epsilon: float = 0.0001,
    leakyrelu_alpha: float = 0.2,
) -> Value:
    """Convolution with bias, batch normalization and activation, as grappler fuses them."""
    if filter_format != "HWIO":
        raise UnhandledValueError("_FusedConv2D", "filter_format", filter_format, ("HWIO",))
    x, kernel, *arguments = values
    y = kernels.convolution(
        to_last(x, data_format),
        kernel,
        strides=spatial(strides, data_format),
        padding=resolve("_FusedConv2D", padding, explicit_paddings, data_format),
        dilations=spatial(dilations, data_format),
    )
    return from_last(fused_tail("_FusedConv2D", y, arguments, fused_ops, epsilon, leakyrelu_alpha), data_format)


@lowering("_FusedMatMul", ignored=("num_args",))
def fused_matmul(
    *values: Value,
    transpose_a: bool = False,
    transpose_b: bool = False,
    fused_ops: Sequence[str] = (),
    epsilon: float = 0.0001,
    leakyrelu_alpha: float = 0.2,
) -> Value:
    """Matrix product with bias and activation, as grappler fuses them."""
    a, b, *arguments = values
    y = product(ops.transpose(a) if transpose_a else a, ops.transpose(b) if transpose_b else b)
    return fused_tail("_FusedMatMul", y, arguments, fused_ops, epsilon, leakyrelu_alpha)
