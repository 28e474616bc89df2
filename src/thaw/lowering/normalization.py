"""Normalizations: over the batch, over neighbouring channels.

`batch_norm` is what the FusedBatchNorm ops share; it can be called in either mode whatever the graph said, for a frozen
layer inside a training step. Layer and instance normalization lie in graphs as several ops and need no row here.
"""

import numpy as np
from keras import ops

from thaw.lowering import kernels
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, dtype_of, on_device, static_shape
from thaw.lowering.windows import from_last, to_last


def batch_norm(
    x: Value,
    scale: Value,
    offset: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float,
    training: bool,
    data_format: str = "NHWC",
    activation: str = "",
) -> tuple[Value, Value, Value]:
    """`x` normalized channel by channel (then "Relu" or "Relu6"), and the mean and (biased) variance that did it.

    In training they are the batch's, else the given ones. Statistics carry no gradient, as TensorFlow's do not.
    """
    last = to_last(x, data_format)
    if training:
        y, mean, variance = kernels.batch_norm_training(last, scale, offset, epsilon=epsilon, activation=activation)
    else:
        y = kernels.batch_norm_inference(last, scale, offset, mean, variance, epsilon=epsilon, activation=activation)
        mean, variance = ops.stop_gradient(ops.convert_to_tensor(mean)), ops.stop_gradient(ops.convert_to_tensor(variance))
    return from_last(y, data_format), mean, variance


def elements(x: Value, data_format: str) -> Value:
    """How many elements each channel has; a float, or a tensor where TensorFlow does not know the batch."""
    shape = list(ops.shape(x))
    del shape[1 if data_format.startswith("NC") else -1]
    known = [n for n in shape if isinstance(n, int)]
    count: Value = float(np.prod(known))
    for n in shape:
        if not isinstance(n, int):
            count = ops.cast(n, "float32") * count
    return count


def fused(
    x: Value,
    scale: Value,
    offset: Value,
    mean: Value,
    variance: Value,
    epsilon: float,
    exponential_avg_factor: float,
    data_format: str,
    is_training: bool,
    activation: str = "",
) -> tuple[Value, ...]:
    """Outputs of the FusedBatchNorm ops, the reserved ones included.

    The returned variance is the unbiased one (by n - 1), which the moving average wants; the reserved one is not.
    Source: tensorflow/core/kernels/fused_batch_norm_op.cc.
    """
    y, used_mean, used_variance = batch_norm(
        x, scale, offset, mean, variance, epsilon=epsilon, training=is_training, data_format=data_format, activation=activation
    )
    new_mean, new_variance = used_mean, used_variance
    if is_training:
        count = elements(x, data_format)
        least = max(count - 1, 1.0) if isinstance(count, float) else ops.maximum(count - 1, 1.0)
        new_variance = used_variance * ops.cast(count / least, dtype_of(used_variance))
        if exponential_avg_factor != 1.0:
            keep = 1.0 - exponential_avg_factor
            new_mean = ops.stop_gradient(on_device(mean)) * keep + new_mean * exponential_avg_factor
            new_variance = ops.stop_gradient(on_device(variance)) * keep + new_variance * exponential_avg_factor
    return y, new_mean, new_variance, used_mean, used_variance


@lowering("FusedBatchNorm")
def fused_batch_norm(
    x: Value,
    scale: Value,
    offset: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float = 0.0001,
    exponential_avg_factor: float = 1.0,
    data_format: str = "NHWC",
    is_training: bool = True,
) -> tuple[Value, ...]:
    """Batch normalization and the statistics for moving averages; two reserved outputs."""
    return fused(x, scale, offset, mean, variance, epsilon, exponential_avg_factor, data_format, is_training)


@lowering("FusedBatchNormV2", ignored=("U",))
def fused_batch_norm_v2(
    x: Value,
    scale: Value,
    offset: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float = 0.0001,
    exponential_avg_factor: float = 1.0,
    data_format: str = "NHWC",
    is_training: bool = True,
) -> tuple[Value, ...]:
    """FusedBatchNorm whose statistics stay float32 where the input is narrower."""
    return fused(x, scale, offset, mean, variance, epsilon, exponential_avg_factor, data_format, is_training)


@lowering("FusedBatchNormV3", ignored=("U",))
def fused_batch_norm_v3(
    x: Value,
    scale: Value,
    offset: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float = 0.0001,
    exponential_avg_factor: float = 1.0,
    data_format: str = "NHWC",
    is_training: bool = True,
) -> tuple[Value, ...]:
    """FusedBatchNormV2 with a third reserved output, which only GPUs use: a zero."""
    outputs = fused(x, scale, offset, mean, variance, epsilon, exponential_avg_factor, data_format, is_training)
    return (*outputs, ops.zeros((), "float32"))


def fused_gradient(
    dy: Value, x: Value, scale: Value, mean: Value, variance: Value, epsilon: float, data_format: str, is_training: bool
) -> tuple[Value, ...]:
    """Gradients of the FusedBatchNorm ops in input, scale and offset, and two empty reserved outputs."""
    scale, mean, variance = on_device(scale), on_device(mean), on_device(variance)
    dtype = dtype_of(x)
    wide = "float32" if dtype in {"float16", "bfloat16"} else dtype
    x, dy = ops.cast(to_last(x, data_format), wide), ops.cast(to_last(dy, data_format), wide)
    axes = tuple(range(len(x.shape) - 1))
    inverse = ops.rsqrt(variance + epsilon)
    centered = x - mean
    d_offset = ops.sum(dy, axis=axes)
    d_scale = ops.sum(dy * centered, axis=axes) * inverse
    if is_training:
        inner = ops.mean(dy, axis=axes) + centered * (ops.mean(dy * centered, axis=axes) * ops.square(inverse))
        dx = (dy - inner) * (inverse * scale)
    else:
        dx = dy * (inverse * scale)
    empty = np.zeros((0,), "float32")
    return from_last(ops.cast(dx, dtype), data_format), d_scale, d_offset, empty, empty


@lowering("FusedBatchNormGrad")
def fused_batch_norm_gradient(
    y_backprop: Value,
    x: Value,
    scale: Value,
    reserve_space_1: Value,
    reserve_space_2: Value,
    *,
    epsilon: float = 0.0001,
    data_format: str = "NHWC",
    is_training: bool = True,
) -> tuple[Value, ...]:
    """What FusedBatchNorm's input, scale and offset would receive as gradients."""
    return fused_gradient(y_backprop, x, scale, reserve_space_1, reserve_space_2, epsilon, data_format, is_training)


@lowering("FusedBatchNormGradV2", ignored=("U",))
def fused_batch_norm_gradient_v2(
    y_backprop: Value,
    x: Value,
    scale: Value,
    reserve_space_1: Value,
    reserve_space_2: Value,
    *,
    epsilon: float = 0.0001,
    data_format: str = "NHWC",
    is_training: bool = True,
) -> tuple[Value, ...]:
    """What FusedBatchNormV2's input, scale and offset would receive as gradients."""
    return fused_gradient(y_backprop, x, scale, reserve_space_1, reserve_space_2, epsilon, data_format, is_training)


@lowering("FusedBatchNormGradV3", ignored=("U",))
def fused_batch_norm_gradient_v3(
    y_backprop: Value,
    x: Value,
    scale: Value,
    reserve_space_1: Value,
    reserve_space_2: Value,
    reserve_space_3: Value,
    *,
    epsilon: float = 0.0001,
    data_format: str = "NHWC",
    is_training: bool = True,
) -> tuple[Value, ...]:
    """What FusedBatchNormV3's input, scale and offset would receive as gradients."""
    return fused_gradient(y_backprop, x, scale, reserve_space_1, reserve_space_2, epsilon, data_format, is_training)


@lowering("BatchNormWithGlobalNormalization")
def batch_norm_with_global_normalization(
    t: Value, m: Value, v: Value, beta: Value, gamma: Value, *, variance_epsilon: float, scale_after_normalization: bool
) -> Value:
    """Normalization by given statistics, as the first frozen graphs did it."""
    t, m, v, beta, gamma = (on_device(value) for value in (t, m, v, beta, gamma))
    factor = ops.rsqrt(v + variance_epsilon)
    return (t - m) * (factor * gamma if scale_after_normalization else factor) + beta


@lowering("LRN")
def local_response_normalization(
    x: Value, *, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0, beta: float = 0.5
) -> Value:
    """Each element over a power of the squares summed over its neighbouring channels."""
    x = on_device(x)
    channels = int(static_shape(x)[-1] or 0)
    padded = ops.pad(ops.square(x), [(0, 0)] * (len(x.shape) - 1) + [(depth_radius, depth_radius)])
    squares = sum((padded[..., i : i + channels] for i in range(1, 2 * depth_radius + 1)), padded[..., :channels])
    return x * ops.power(squares * alpha + bias, -beta)
