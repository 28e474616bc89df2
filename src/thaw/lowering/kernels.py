"""Kernels where `keras.ops` is measurably slower than the backend, or differs from TensorFlow. Public faces only.

The one file of the op table that may touch jax, torch and tensorflow: lazily, inside functions, and only the backend that
Keras runs on. Each kernel has a plain twin in `keras.ops` (`*_plain`; of what fusion.py puts in, the ops that it stands for),
which `THAW_KERNELS=off` in the environment chooses everywhere; tests/lowering/test_kernels.py and test_fusion.py hold the twins
against each other. Why each is there, with figures of one slow core, stands in its docstring. Everything is channels last.
"""
# ruff: noqa: TID251

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from thaw.errors import ThawError
from thaw.lowering import image_kernels, sequence_kernels, torch_kernels
from thaw.lowering.values import Value, dtype_of, static_shape
from thaw.lowering.windows import Padding, lowest, output_sizes, pad, pads_of, taps


def chosen(*backends: str) -> bool:
    """Whether own kernels are wanted and the backend is one of `backends` ("jax-cpu": JAX on a CPU)."""
    if os.environ.get("THAW_KERNELS", "on") == "off":
        return False
    backend = keras.backend.backend()
    if backend in backends:
        return True
    return backend == "jax" and "jax-cpu" in backends and _jax_platform() == "cpu"


def _jax_platform() -> str:
    import jax

    return str(jax.default_backend())


def own_copy(value: np.ndarray) -> Value:
    """A weight as a backend takes it without sharing memory. JAX: put there, where `jax.numpy.asarray` compiles a copy.

    One compilation for each shape was 40 % of loading MobileNetV2. The copy is ours: `device_put` aliases aligned numpy memory,
    whatever its `may_alias` says, and a weight that aliases a mapped file changes with the file.
    """
    if keras.backend.backend() != "jax":
        return value
    import jax

    return jax.device_put(np.array(value))


def static_value(value: Value) -> np.ndarray | None:
    """What TensorFlow's graph determines `value` to be while it traces; None where it depends on data, or elsewhere."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    found = tf.get_static_value(value)
    return None if found is None else np.asarray(found)


def static_entries(vector: Value) -> list[Any]:
    """The entries of a vector that TensorFlow traces, as numbers where its graph determines them; None for the others."""
    import tensorflow as tf

    found = tf.get_static_value(vector, partial=True)
    if found is None:
        return [None] * int(vector.shape[0])
    return [None if v is None else int(v) for v in np.asarray(found, object).tolist()]


def transposed_native(
    sizes: Sequence[Any], kernel: Value, dy: Value, *, strides: Sequence[int], padding: Padding, dilations: Sequence[int]
) -> Value | None:
    """The transposed convolution over two axes that TensorFlow has itself, which takes lengths that are not known.

    `sizes` are rows and columns of the result, known or not. None where it must be composed instead.
    """
    if keras.backend.backend() != "tensorflow" or set(dilations) != {1} or kernel.shape[-1] != dy.shape[-1]:
        return None
    import tensorflow as tf

    shape = tf.stack([tf.shape(dy)[0], *sizes, tf.shape(kernel)[2]])
    explicit = padding if isinstance(padding, str) else [[0, 0], *map(list, padding), [0, 0]]
    y = tf.nn.conv2d_transpose(dy, kernel, shape, strides=list(strides), padding=explicit)
    known = [int(n) if isinstance(n, (int, np.integer)) else None for n in sizes]
    y.set_shape([dy.shape[0], *known, kernel.shape[2]])
    return y


def convolution_plain(x: Value, kernel: Value, *, strides: Sequence[int], padding: Padding, dilations: Sequence[int]) -> Value:
    """A convolution over one to three axes, grouped where the kernel has fewer input channels than `x`."""
    window = [int(k or 0) for k in static_shape(kernel)[:-2]]
    # TensorFlow has no dilated and strided convolution on a CPU; one of stride 1 thinned out is the same.
    thin = max(strides) > 1 and max(dilations) > 1 and keras.backend.backend() == "tensorflow"
    # TensorFlow and XLA know SAME themselves; Keras' own for PyTorch pads twice where it cannot pad symmetrically.
    if padding == "VALID" or (padding == "SAME" and keras.backend.backend() != "torch" and not thin):
        mode = str(padding).lower()
    else:
        pads = pads_of(padding, static_shape(x)[1:-1], window, strides, dilations)
        assert pads is not None, "only TensorFlow has unknown lengths"
        x, mode = pad(x, pads), "valid"
    y = ops.conv(
        x,
        kernel,
        strides=1 if thin else tuple(strides),
        padding=mode,
        data_format="channels_last",
        dilation_rate=dilations[0] if len(set(dilations)) == 1 else tuple(dilations),
    )
    return y[(slice(None), *(slice(None, None, s) for s in strides))] if thin else y


def convolution(x: Value, kernel: Value, *, strides: Sequence[int], padding: Padding, dilations: Sequence[int]) -> Value:
    """`convolution_plain`, by whatever is fastest.

    PyTorch: `conv2d` on permuted views, without layout copies: with native batch normalization x2.3 of Keras' training
    step of MobileNetV2 (224, batch 32). JAX on a CPU: 1x1 windows as matrix products, x1.29 of such a step at 96; small windows
    over one axis with gradients of their own (`sequence_kernels`); the gradient of a kernel of many channels as one product an
    offset in its window: 3x3 x 64 to 64 of 32 x 56 x 56 in 222 ms where XLA takes 720 (201 and 764 under the tuned allocator),
    256 to 256 of 32 x 14 x 14 in 123 where it takes 219-230. With fewer than 32 to 48 channels XLA is as fast.
    TensorFlow: explicit padding is the op's own, which spares a copy of the image (`_explicit`).
    Everywhere: windows of one element skip what their strides skip before they convolve; oneDNN 3.12 (PyTorch 2.13,
    TensorFlow 2.21) writes past its memory in the gradient of such a convolution of fewer than 16 channels, with AVX-512.
    """
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
    x, strides = _thinned(x, kernel, strides, padding)
    if chosen("torch"):
        return torch_kernels.convolution(x, kernel, strides, padding, dilations)
    dense = set(kernel.shape[:-2]) == {1} and kernel.shape[-2] == x.shape[-1]
    if dense and _pads_nothing(padding) and chosen("jax-cpu"):
        return _as_product(x, kernel)
    if chosen("jax-cpu") and sequence_kernels.is_over_time(x, kernel, strides, dilations):
        return sequence_kernels.convolution_over_time(x, kernel, padding)
    if (explicit := _explicit(padding, dilations)) is not None:
        import tensorflow as tf

        return tf.nn.conv2d(x, kernel, list(strides), explicit)
    if chosen("jax-cpu") and _wants_products(x, kernel):
        pads = pads_of(padding, x.shape[1:-1], kernel.shape[:2], strides, dilations)
        assert pads is not None
        return image_kernels.convolution(tuple(strides), pads, tuple(dilations))(x, kernel)
    return convolution_plain(x, kernel, strides=strides, padding=padding, dilations=dilations)


def _explicit(padding: Padding, dilations: Sequence[int]) -> list[Sequence[int]] | None:
    """Explicit padding of two axes as TensorFlow's own convolutions take it, None where they are not chosen or cannot.

    Four ops that pad, and their gradients, were 0.64 of 9.2 s of a training step of MobileNetV2 (224, batch 32).
    """
    if isinstance(padding, str) or len(padding) != 2 or set(dilations) != {1} or not chosen("tensorflow"):
        return None
    return [(0, 0), *padding, (0, 0)]


def biased_convolution(
    x: Value,
    kernel: Value,
    bias: Value,
    *,
    strides: Sequence[int],
    padding: Padding,
    dilations: Sequence[int],
    activation: str,
) -> Value:
    """PyTorch: `convolution` with a bias and then "Relu", "Relu6" or nothing (""), in one pass where three would write.

    With given statistics worked into kernel and bias (conv_fusion.py), MobileNetV2 224 (batch 32) predicts in 1.09 s in place
    of 2.12 (tuned allocator: 0.54, 0.71); with activations in place behind batch statistics a step takes 3.9 s in place of 4.2.
    """
    x, strides = _thinned(x, kernel, strides, padding)
    return torch_kernels.convolution(x, kernel, strides, padding, dilations, bias, activation)


def _wants_products(x: Value, kernel: Value) -> bool:
    """Whether the gradient of a kernel over two axes is faster as products."""
    wide = len(kernel.shape) == 4 and kernel.shape[2] >= 32 and kernel.shape[3] >= 48 and kernel.shape[2] == x.shape[-1]
    return wide and _some_floats(x, kernel)


def _some_floats(x: Value, kernel: Value) -> bool:
    """Whether both are float32, and there is an image at all."""
    return x.size > 0 and dtype_of(x) == dtype_of(kernel) == "float32"


def transposed_plain(x: Value, kernel: Value, *, strides: Sequence[int], dilations: Sequence[int]) -> Value:
    """A transposed convolution without padding over one to three axes; `kernel` is (window..., outputs, inputs)."""
    return ops.conv_transpose(
        x,
        kernel,
        strides=tuple(strides),
        padding="valid",
        output_padding=None,
        data_format="channels_last",
        dilation_rate=tuple(dilations) if len(set(dilations)) > 1 else dilations[0],
    )


def transposed(x: Value, kernel: Value, *, strides: Sequence[int], dilations: Sequence[int]) -> Value:
    """`transposed_plain`, by whatever is fastest.

    JAX on a CPU, over two axes: gradients as products of matrices and a plain convolution. Forward and backward a 4x4 window of
    strides 2 (8 x 16 x 16 x 128 to 64) takes 35 ms where XLA takes 294, a 2x2 one (8 x 64 x 64 x 32 to 16) 21 where it takes 109.
    """
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
    if chosen("jax-cpu") and len(kernel.shape) == 4 and set(dilations) == {1} and _some_floats(x, kernel):
        return image_kernels.transposed(tuple(strides))(x, kernel)
    return transposed_plain(x, kernel, strides=strides, dilations=dilations)


def _pads_nothing(padding: Padding) -> bool:
    """Whether a window of one element is not padded: SAME never does."""
    return isinstance(padding, str) or not any(map(any, padding))


def _thinned(x: Value, kernel: Value, strides: Sequence[int], padding: Padding) -> tuple[Value, Sequence[int]]:
    """`x` and the strides left, after windows of one element have skipped what their strides skip."""
    if set(kernel.shape[:-2]) == {1} and _pads_nothing(padding) and max(strides) > 1:
        return x[(slice(None), *(slice(None, None, s) for s in strides))], (1,) * len(strides)
    return x, strides


def _as_product(x: Value, kernel: Value) -> Value:
    """A convolution by a window of one element and strides of one, as a matrix product."""
    flat = ops.matmul(ops.reshape(x, (-1, x.shape[-1])), ops.reshape(kernel, kernel.shape[-2:]))
    return ops.reshape(flat, (*x.shape[:-1], kernel.shape[-1]))


def depthwise_plain(x: Value, kernel: Value, *, strides: Sequence[int], padding: Padding, dilations: Sequence[int]) -> Value:
    """A depthwise convolution over two axes; `kernel` is (height, width, channels, multiplier)."""
    pads = pads_of(padding, static_shape(x)[1:-1], static_shape(kernel)[:2], strides, dilations)  # type: ignore[arg-type]
    # TensorFlow refuses unequal strides here; a window of stride 1 thinned out is the same.
    thin = len(set(strides)) > 1
    if padding == "SAME" and keras.backend.backend() == "tensorflow" and not thin:
        pads = None  # TensorFlow's own SAME spares a copy
    if pads is not None and padding != "VALID":
        x = pad(x, pads)
    y = ops.depthwise_conv(
        x,
        kernel,
        strides=1 if thin else strides[0],
        padding="valid" if pads is not None else "same",
        data_format="channels_last",
        dilation_rate=tuple(dilations),
    )
    return y[:, :: strides[0], :: strides[1], :] if thin else y


def depthwise(x: Value, kernel: Value, *, strides: Sequence[int], padding: Padding, dilations: Sequence[int]) -> Value:
    """`depthwise_plain`, by whatever is fastest.

    JAX on a CPU: shifted multiply-adds with gradients of their own. XLA's grouped convolution takes 67 ms forward, 68 and
    34 ms for the gradients where this takes 1.9, 1.9 and 6 (batch 32, 48x48x48); a MobileNetV2 step is 10 times faster.
    PyTorch: `conv2d` on permuted views, TensorFlow: explicit padding, as in `convolution`.
    """
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
    height, width, channels, multiplier = (int(n or 0) for n in static_shape(kernel))
    if chosen("torch"):
        return torch_kernels.convolution(x, kernel.reshape(height, width, 1, channels * multiplier), strides, padding, dilations)
    if chosen("jax-cpu") and x.size:
        pads = pads_of(padding, x.shape[1:-1], (height, width), strides, dilations)
        assert pads is not None
        if multiplier > 1:
            wide = ops.broadcast_to(ops.expand_dims(x, -1), (*x.shape, multiplier))
            x = ops.reshape(wide, (*x.shape[:-1], channels * multiplier))
        return image_kernels.depthwise(tuple(strides), pads, tuple(dilations))(
            x, ops.reshape(kernel, (height, width, channels * multiplier))
        )
    if len(set(strides)) == 1 and (explicit := _explicit(padding, dilations)) is not None:
        import tensorflow as tf

        return tf.nn.depthwise_conv2d(x, kernel, [1, *strides, 1], explicit)
    return depthwise_plain(x, kernel, strides=strides, padding=padding, dilations=dilations)


def max_pool_plain(x: Value, *, window: Sequence[int], strides: Sequence[int], padding: Padding) -> Value:
    """The maximum over windows of one to three axes."""
    if padding not in {"SAME", "VALID"} or (padding == "SAME" and keras.backend.backend() == "torch"):
        pads = pads_of(padding, static_shape(x)[1:-1], window, strides, (1,) * len(window))
        assert pads is not None, "only TensorFlow has unknown lengths, and it has no explicit padding here"
        x, padding = pad(x, pads, lowest(dtype_of(x))), "VALID"
    how = {"padding": str(padding).lower(), "data_format": "channels_last"}
    if "int" in dtype_of(x) and keras.backend.backend() == "torch" and x.is_cuda:  # where it pools floats only
        return ops.cast(ops.max_pool(ops.cast(x, "float64"), tuple(window), tuple(strides), **how), dtype_of(x))
    return ops.max_pool(x, tuple(window), tuple(strides), **how)


def max_pool(x: Value, *, window: Sequence[int], strides: Sequence[int], padding: Padding) -> Value:
    """`max_pool_plain`, by whatever is fastest.

    JAX on a CPU: a chain of slices, for windows of up to 16 elements; XLA's own reduction over windows, and the scatter
    that is its gradient, are scalar loops there (part of ResNet-50's x1.77 per training step).
    """
    x = ops.convert_to_tensor(x)
    if chosen("jax-cpu") and np.prod(window) <= 16 and "float" in dtype_of(x):
        ones = (1,) * len(window)
        pads = pads_of(padding, x.shape[1:-1], window, strides, ones)
        assert pads is not None
        outputs = output_sizes(x.shape[1:-1], pads, window, strides, ones)
        best, *others = taps(pad(x, pads, lowest(dtype_of(x))), window, strides, ones, outputs)
        for part in others:
            best = ops.where(ops.logical_or(part > best, ops.isnan(part)), part, best)
        return best
    return max_pool_plain(x, window=window, strides=strides, padding=padding)


def average_pool(x: Value, *, window: Sequence[int], strides: Sequence[int], padding: Padding) -> Value:
    """The mean over windows of one to three axes; padding counts for nothing."""
    x = ops.convert_to_tensor(x)
    if padding == "SAME" and keras.backend.backend() == "torch":
        sizes, ones = x.shape[1:-1], (1,) * len(window)
        pads = pads_of(padding, sizes, window, strides, ones)
        assert pads is not None
        outputs = output_sizes(sizes, pads, window, strides, ones)
        counted = pad(np.ones((1, *sizes, 1), "float32"), pads) if not any(map(any, pads)) else None
        if counted is None:
            counted = np.pad(np.ones((1, *sizes, 1), "float32"), ((0, 0), *pads, (0, 0)))
            share = sum(taps(counted, window, strides, ones, outputs)) / float(np.prod(window))
            mean = ops.average_pool(pad(x, pads), tuple(window), tuple(strides), "valid", "channels_last")
            return mean / ops.convert_to_tensor(share, dtype=dtype_of(x))
        padding = "VALID"
    return ops.average_pool(x, tuple(window), tuple(strides), padding=str(padding).lower(), data_format="channels_last")


def relu(x: Value) -> Value:
    """The positive part. JAX: remembers its result for the gradient, which the next op remembers too, not its input."""
    return image_kernels.clipped(None)(ops.convert_to_tensor(x)) if chosen("jax") else ops.relu(x)


def relu6(x: Value) -> Value:
    """`x` between 0 and 6. The gradient at exactly 0 and 6 is 0, as TensorFlow's; jax.nn's is one half."""
    if chosen("jax"):
        return image_kernels.clipped(6.0)(ops.convert_to_tensor(x))
    if keras.backend.backend() == "jax":
        return ops.where(x <= 0, ops.zeros_like(x), ops.where(x >= 6, ops.full_like(x, 6), x))
    return ops.relu6(x)


def activated(y: Value, activation: str) -> Value:
    """`y` through "Relu", "Relu6" or nothing ("")."""
    return {"": lambda y: y, "Relu": relu, "Relu6": relu6}[activation](y)


def batch_norm_training_plain(x: Value, scale: Value, offset: Value, *, epsilon: float) -> tuple[Value, Value, Value]:
    """Normalized over all axes but the last, with the batch's mean and (biased) variance, which carry no gradient."""
    axes = tuple(range(len(x.shape) - 1))
    wide = ops.cast(x, "float32") if dtype_of(x) in {"float16", "bfloat16"} else x
    mean = ops.mean(wide, axis=axes)
    centered = wide - mean
    variance = ops.mean(ops.square(centered), axis=axes)
    y = centered * (ops.rsqrt(variance + epsilon) * ops.cast(scale, dtype_of(wide))) + ops.cast(offset, dtype_of(wide))
    return ops.cast(y, dtype_of(x)), ops.stop_gradient(mean), ops.stop_gradient(variance)


def batch_norm_training(
    x: Value, scale: Value, offset: Value, *, epsilon: float, activation: str = ""
) -> tuple[Value, Value, Value]:
    """`batch_norm_training_plain`, by whatever is fastest.

    JAX on a CPU: remembers the input and the statistics only, which halves the temporary memory of a MobileNetV2 step
    (3.5 to 1.8 GB at 224; x1.26 at 96), and sums squares without centering first where no mean is far from zero (x1.1 at 224).
    PyTorch and TensorFlow: the native op, one pass where `keras.ops` makes fifteen.
    """
    x, scale, offset = (ops.convert_to_tensor(v) for v in (x, scale, offset))
    narrow = dtype_of(x) in {"float16", "bfloat16"}
    if chosen("jax-cpu"):
        y, mean, variance = image_kernels.batch_norm(epsilon)(x, scale, offset)
        return y, mean, variance
    if chosen("torch") and not narrow and x.numel() > x.shape[-1]:
        return torch_kernels.batch_norm(x, scale, offset, epsilon, activation)
    if chosen("tensorflow") and dtype_of(x) in {"float32", "float16", "bfloat16"} and len(x.shape) == 4:
        return _tensorflow_batch_norm(x, scale, offset, epsilon)
    y, mean, variance = batch_norm_training_plain(x, scale, offset, epsilon=epsilon)
    return activated(y, activation), mean, variance


def _tensorflow_batch_norm(x: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """The native op, whose variance is the unbiased one."""
    import tensorflow as tf

    scale, offset = tf.cast(scale, tf.float32), tf.cast(offset, tf.float32)
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    count = tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)
    biased = variance * (tf.maximum(count - 1, 1) / tf.maximum(count, 1))
    return y, tf.stop_gradient(mean), tf.stop_gradient(biased)


def batch_norm_inference(
    x: Value, scale: Value, offset: Value, mean: Value, variance: Value, *, epsilon: float, activation: str = ""
) -> Value:
    """`x` normalized by given statistics, which receive no gradient. PyTorch and TensorFlow: the native op, in one pass.

    TensorFlow's optimizer works that one into the convolution before it.
    """
    x, scale, offset, mean, variance = (ops.convert_to_tensor(v) for v in (x, scale, offset, mean, variance))
    mean, variance = ops.stop_gradient(mean), ops.stop_gradient(variance)
    dtype = dtype_of(x)
    if chosen("torch") and {dtype_of(v) for v in (scale, offset, mean, variance)} == {dtype}:
        return torch_kernels.batch_norm_given(x, scale, offset, mean, variance, epsilon, activation)
    if chosen("tensorflow") and dtype in {"float32", "float16", "bfloat16"} and len(x.shape) == 4:
        import tensorflow as tf

        statistics = [tf.cast(v, tf.float32) for v in (scale, offset, mean, variance)]
        return tf.raw_ops.FusedBatchNormV3(
            **dict(zip(("scale", "offset", "mean", "variance"), statistics, strict=True)), x=x, epsilon=epsilon, is_training=False
        ).y
    factor = ops.rsqrt(variance + epsilon) * scale
    wide = dtype_of(factor) if dtype in {"float16", "bfloat16"} else dtype
    return activated(ops.cast((ops.cast(x, wide) - mean) * factor + offset, dtype), activation)


def softmax(x: Value) -> Value:
    """Exponentials over their sum, along the last axis; also where TensorFlow does not know the rank, which Keras asks for."""
    if keras.backend.backend() == "tensorflow" and getattr(x.shape, "rank", 0) is None:
        import tensorflow as tf

        return tf.nn.softmax(x)
    return ops.softmax(x, axis=-1)


def gelu_plain(x: Value, *, approximate: bool) -> Value:
    """The Gaussian error linear unit; `approximate` by a tanh."""
    return ops.gelu(x, approximate=approximate)


def gelu(x: Value, *, approximate: bool) -> Value:
    """`gelu_plain`, which graphs spell in five ops or more; see fusion.py.

    PyTorch: the native op, 3.5 ms with its gradient for 16 x 64 x 1024 where the five ops take 22; with `layer_norm`, a
    training step of a small BERT takes 325 ms in place of 386, native Keras 326.
    """
    if chosen("torch"):
        from torch.nn import functional

        return functional.gelu(x, approximate="tanh" if approximate else "none")
    return gelu_plain(x, approximate=approximate)


def layer_norm_plain(x: Value, scale: Value, offset: Value, *, axes: Sequence[int], epsilon: float) -> Value:
    """`x` normalized over `axes` by its own mean and variance, as TensorFlow's graphs spell it."""
    mean = ops.mean(x, axis=tuple(axes), keepdims=True)
    variance = ops.mean(ops.square(x - mean), axis=tuple(axes), keepdims=True)
    factor = ops.rsqrt(variance + epsilon) * scale
    return x * factor + (offset - mean * factor)


def layer_norm(x: Value, scale: Value, offset: Value, *, axes: Sequence[int], epsilon: float) -> Value:
    """`layer_norm_plain`. PyTorch: the native op where the axes are the last ones, 0.6 ms in place of 5.1 (16 x 64 x 256)."""
    if chosen("torch"):
        from torch.nn import functional

        first = x.ndim - len(axes)
        last = x.shape[first:]
        trailing = sorted(a % x.ndim for a in axes) == list(range(first, x.ndim))
        if trailing and scale.shape == last == offset.shape and scale.dtype == x.dtype == offset.dtype:
            return functional.layer_norm(x, tuple(last), scale, offset, epsilon)
    return layer_norm_plain(x, scale, offset, axes=axes, epsilon=epsilon)


def lstm_state(i: Value, f: Value, g: Value, c: Value) -> Value:
    """`sigmoid(f) c + sigmoid(i) tanh(g)`, of PyTorch's tensors.

    Keras' checks of every argument take longer than the arithmetic: with what `trips.rehearsed` saves, an LSTM of 128 over 50
    steps predicts in 23 ms in place of 37, and trains in 55 in place of 77 (native Keras: 18 and 74).
    """
    import torch

    return torch.addcmul(torch.sigmoid(f) * c, torch.sigmoid(i), torch.tanh(g))


def lstm_output(o: Value, c: Value) -> Value:
    """`sigmoid(o) tanh(c)`, of PyTorch's tensors."""
    import torch

    return torch.sigmoid(o) * torch.tanh(c)


def rows_of(table: Value, indices: Value) -> Value:
    """Rows of a tensor: `ops.take` along its first axis.

    PyTorch: where the tensor asks for it by an attribute (see trainable/row_gradients.py), its gradient is sparse. A step of
    SGD on 50,000 x 128 by 3,072 rows: 0.63 ms in place of 4.1.
    """
    if keras.backend.backend() == "torch" and getattr(table, "thaw_row_gradient", False):
        from torch.nn import functional

        indices = indices.long()
        return functional.embedding(ops.where(indices < 0, indices + table.shape[0], indices), table, sparse=True)
    return ops.take(table, indices, axis=0)


def segment_sum(rows: Value, segments: Value, count: Value, *, ordered: bool) -> Value:
    """Sums of rows by segment, which are between 0 and `count`.

    PyTorch: added up in place of Keras' repeated indices: 3,072 x 128 into 256 in 0.3 ms, gradient included, in place of 1.6.
    """
    if chosen("torch"):
        import torch

        zeros = torch.zeros((int(count), *rows.shape[1:]), dtype=rows.dtype, device=rows.device)
        return zeros.index_add(0, segments.long(), rows)
    promise = ordered and keras.backend.backend() == "jax"  # Keras on TensorFlow refuses it beside a number of segments
    return ops.segment_sum(rows, segments, count, sorted=promise)


def rows_of_variable(variable: Any, indices: Value) -> Value | None:
    """Rows of a variable of TensorFlow, read one by one; None where it must be read whole, or is another backend's.

    Once a variable has been updated row by row, TensorFlow copies all of it at every whole read.
    """
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    value = variable.value
    return tf.gather(value, indices) if isinstance(value, tf.Variable) else None


def in_compiled_step(values: Sequence[Value]) -> bool:
    """Whether `values` are being traced, so that Python cannot see what they are (JAX's jit, a tf.function)."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return any(isinstance(v, jax.core.Tracer) for v in values)
    if backend == "tensorflow":
        import tensorflow as tf

        return not tf.executing_eagerly() and any(tf.is_tensor(v) for v in values)
    return False


_failures: list[ThawError] = []


def failure_on_host() -> ThawError | None:
    """What went wrong last in a host part inside a compiled step, once: the backend only hands its text on."""
    found = _failures[-1] if _failures else None
    _failures.clear()
    return found


def call_host(
    function: Callable[..., list[np.ndarray]],
    outputs: Sequence[tuple[tuple[int | None, ...], str]],
    inputs: Sequence[Value],
) -> list[Value]:
    """The answers of a numpy function, as tensors, from within a compiled step.

    Args:
        function: takes the inputs as numpy arrays (TensorFlow's strings as object arrays of bytes).
        outputs: shape and dtype of each of its answers; under JAX every length must be given.
        inputs: tensors, or numpy arrays.
    """

    def remembering(*values: np.ndarray) -> list[np.ndarray]:
        try:
            return function(*values)
        except ThawError as error:
            _failures.append(error)
            raise

    if keras.backend.backend() == "jax":
        import jax

        canonical = [jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(dtype)) for shape, dtype in outputs]

        def narrowed(*values: Any) -> list[np.ndarray]:
            found = remembering(*(np.asarray(v) for v in values))
            return [v.astype(s.dtype) for v, s in zip(found, canonical, strict=True)]

        return list(jax.pure_callback(narrowed, canonical, *inputs, vmap_method="sequential"))
    import tensorflow as tf

    found = tf.numpy_function(remembering, list(inputs), [tf.as_dtype("string" if d == "object" else d) for _, d in outputs])
    for tensor, (shape, _) in zip(found, outputs, strict=True):
        tensor.set_shape(shape)
    return list(found)
