"""Kernels where `keras.ops` is measurably slower than the backend, or differs from TensorFlow. Public faces only.

The one file of the op table that may touch jax, torch and tensorflow: lazily, inside functions, and only the backend that
Keras runs on. Each kernel has a plain twin in `keras.ops` (`*_plain`), which `THAW_KERNELS=off` in the environment
chooses everywhere; tests/lowering/test_kernels.py holds the twins against each other. Why each is there, with figures
of one slow core, stands in its docstring. Everything is channels last.
"""
# ruff: noqa: TID251

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

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

    PyTorch: `conv2d` on permuted views, x2.3 of Keras' for a training step of MobileNetV2 (no layout copies). JAX on a
    CPU: 1x1 windows as matrix products, x1.3 for such a step.
    """
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
    if chosen("torch"):
        return _torch_convolution(x, kernel, strides, padding, dilations)
    return convolution_plain(x, kernel, strides=strides, padding=padding, dilations=dilations)


def _torch_convolution(x: Any, kernel: Any, strides: Sequence[int], padding: Padding, dilations: Sequence[int]) -> Any:
    from torch.nn import functional

    axes = x.ndim - 2
    pads = pads_of(padding, x.shape[1:-1], kernel.shape[:axes], strides, dilations)
    assert pads is not None
    x = x.permute(0, axes + 1, *range(1, axes + 1))
    kernel = kernel.permute(axes + 1, axes, *range(axes))
    if all(a == b for a, b in pads):
        symmetric = tuple(a for a, _ in pads)
    else:  # pad() lists the last axis first
        x, symmetric = functional.pad(x, [n for pair in reversed(pads) for n in pair]), (0,) * axes
    function = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    groups = x.shape[1] // kernel.shape[1]
    y = function(x, kernel, None, tuple(strides), symmetric, tuple(dilations), groups)
    return y.permute(0, *range(2, axes + 2), 1)


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


def depthwise_plain(x: Value, kernel: Value, *, strides: Sequence[int], padding: Padding, dilations: Sequence[int]) -> Value:
    """A depthwise convolution over two axes; `kernel` is (height, width, channels, multiplier)."""
    pads = pads_of(padding, static_shape(x)[1:-1], static_shape(kernel)[:2], strides, dilations)  # type: ignore[arg-type]
    # TensorFlow refuses unequal strides here; a window of stride 1 thinned out is the same.
    thin = len(set(strides)) > 1
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
    """`depthwise_plain`, by whatever is fastest."""
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
    if chosen("torch"):
        height, width, channels, multiplier = kernel.shape
        kernel = kernel.reshape(height, width, 1, channels * multiplier)
        return _torch_convolution(x, kernel, strides, padding, dilations)
    return depthwise_plain(x, kernel, strides=strides, padding=padding, dilations=dilations)


def max_pool_plain(x: Value, *, window: Sequence[int], strides: Sequence[int], padding: Padding) -> Value:
    """The maximum over windows of one to three axes."""
    if padding not in {"SAME", "VALID"} or (padding == "SAME" and keras.backend.backend() == "torch"):
        pads = pads_of(padding, static_shape(x)[1:-1], window, strides, (1,) * len(window))
        assert pads is not None, "only TensorFlow has unknown lengths, and it has no explicit padding here"
        x, padding = pad(x, pads, lowest(dtype_of(x))), "VALID"
    return ops.max_pool(x, tuple(window), tuple(strides), padding=str(padding).lower(), data_format="channels_last")


def max_pool(x: Value, *, window: Sequence[int], strides: Sequence[int], padding: Padding) -> Value:
    """`max_pool_plain`, by whatever is fastest."""
    return max_pool_plain(ops.convert_to_tensor(x), window=window, strides=strides, padding=padding)


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


def relu6(x: Value) -> Value:
    """`x` between 0 and 6. The gradient at exactly 0 and 6 is 0, as TensorFlow's; jax.nn's is one half."""
    if keras.backend.backend() == "jax":
        return ops.where(x <= 0, ops.zeros_like(x), ops.where(x >= 6, ops.full_like(x, 6), x))
    return ops.relu6(x)


def batch_norm_training_plain(x: Value, scale: Value, offset: Value, *, epsilon: float) -> tuple[Value, Value, Value]:
    """Normalized over all axes but the last, with the batch's mean and (biased) variance, which carry no gradient."""
    axes = tuple(range(len(x.shape) - 1))
    wide = ops.cast(x, "float32") if dtype_of(x) in {"float16", "bfloat16"} else x
    mean = ops.mean(wide, axis=axes)
    centered = wide - mean
    variance = ops.mean(ops.square(centered), axis=axes)
    y = centered * (ops.rsqrt(variance + epsilon) * ops.cast(scale, dtype_of(wide))) + ops.cast(offset, dtype_of(wide))
    return ops.cast(y, dtype_of(x)), ops.stop_gradient(mean), ops.stop_gradient(variance)


def batch_norm_training(x: Value, scale: Value, offset: Value, *, epsilon: float) -> tuple[Value, Value, Value]:
    """`batch_norm_training_plain`, by whatever is fastest."""
    x = ops.convert_to_tensor(x)
    return batch_norm_training_plain(x, scale, offset, epsilon=epsilon)


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
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        canonical = [jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(dtype)) for shape, dtype in outputs]

        def narrowed(*values: Any) -> list[np.ndarray]:
            found = function(*(np.asarray(v) for v in values))
            return [v.astype(s.dtype) for v, s in zip(found, canonical, strict=True)]

        return list(jax.pure_callback(narrowed, canonical, *inputs, vmap_method="sequential"))
    import tensorflow as tf

    found = tf.numpy_function(function, list(inputs), [tf.as_dtype("string" if d == "object" else d) for _, d in outputs])
    for tensor, (shape, _) in zip(found, outputs, strict=True):
        tensor.set_shape(shape)
    return list(found)
