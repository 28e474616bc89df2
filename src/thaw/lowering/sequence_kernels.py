"""Kernels for networks over sequences (character CNNs, recurrent cells), where `keras.ops` is measurably slower than the backend.

Beside `kernels`, which says when own kernels are wanted and may use these; each does what its plain twin in `keras.ops` does.
Not here: loops (`loop_kernels`). Imports values and windows.
"""
# ruff: noqa: TID251

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import keras
from keras import ops

from thaw.lowering.values import Value, dtype_of
from thaw.lowering.windows import Padding, pad, pads_of

WIDEST = 128
"""Elements of a window (taps times input channels) up to which `convolution_over_time` is faster than XLA's own gradients."""


def is_over_time(x: Value, kernel: Value, strides: Sequence[int], dilations: Sequence[int]) -> bool:
    """Whether all that a convolution does is to move a small window along one axis (after which no other has a length)."""
    wide = [axis for axis, n in enumerate(kernel.shape[:-2]) if n > 1]
    if len(wide) != 1 or max(strides) > 1 or max(dilations) > 1 or kernel.shape[-2] != x.shape[-1] or not x.size:
        return False
    narrow = kernel.shape[wide[0]] * kernel.shape[-2] <= WIDEST
    return narrow and "float" in dtype_of(x) and all(n == 1 for n in x.shape[2 + wide[0] : -1])


def convolution_over_time(x: Value, kernel: Value, padding: Padding) -> Value:
    """A convolution for which `is_over_time` holds (JAX on a CPU).

    Forward it is XLA's. Both gradients are matrix products over the windows laid out in rows: for ELMo's widest (640 words of 50
    characters, 5 x 16 to 256) 19 and 18 ms where XLA's take 47 and 30. Wider windows gain nothing.
    """
    window = kernel.shape[:-2]
    time = 1 + max(range(len(window)), key=lambda axis: window[axis])
    pads = pads_of(padding, x.shape[1:-1], window, (1,) * len(window), (1,) * len(window))
    assert pads is not None, "only TensorFlow has unknown lengths"
    x = pad(x, pads)
    flat = _jax_convolution_over_time()(
        ops.reshape(x, (-1, x.shape[time], x.shape[-1])), ops.reshape(kernel, (max(window), *kernel.shape[-2:]))
    )
    return ops.reshape(flat, (*x.shape[:time], flat.shape[1], *x.shape[1 + time : -1], kernel.shape[-1]))


@cache
def _jax_convolution_over_time() -> Callable[[Any, Any], Any]:
    import jax
    from jax import lax
    from jax import numpy as jnp

    def forward(x: Any, kernel: Any) -> tuple[Any, tuple[Any, Any]]:
        y = lax.conv_general_dilated(x, kernel, (1,), "VALID", dimension_numbers=("NHC", "HIO", "NHC"))
        return y, (x, kernel)

    def backward(saved: tuple[Any, Any], dy: Any) -> tuple[Any, Any]:
        x, kernel = saved
        window, channels, filters = kernel.shape
        batch, times = dy.shape[:2]
        dy = dy.reshape(-1, filters)
        # The barriers keep XLA from computing rows and products anew wherever they are used.
        rows = jnp.concatenate([x[:, i : i + times] for i in range(window)], -1)
        rows = lax.optimization_barrier(rows).reshape(-1, window * channels)
        dk = (rows.T @ dy).reshape(kernel.shape)
        parts = lax.optimization_barrier(dy @ kernel.reshape(-1, filters).T).reshape(batch, times, window, channels)
        dx = sum(jnp.pad(parts[:, :, i], ((0, 0), (i, window - 1 - i), (0, 0))) for i in range(window))
        return dx, dk

    function: Callable[..., Any] = jax.custom_vjp(lambda x, kernel: forward(x, kernel)[0])
    function.defvjp(forward, backward)  # type: ignore[attr-defined]
    return function


def extremum(name: str, x: Value, axes: Sequence[int], keepdims: bool) -> Value:
    """The greatest ("max") or smallest ("min") over axes, equal ones sharing the gradient (JAX on a CPU).

    XLA alone counts the equal ones anew for every element: for 640 words x 46 positions x 256 filters 20 to 41 ms, this 11 to 16.
    """
    y = _jax_extremum(name, tuple(axes))(x)
    return y if keepdims else ops.squeeze(y, tuple(axes))


@cache
def _jax_extremum(name: str, axes: tuple[int, ...]) -> Callable[[Any], Any]:
    import jax
    from jax import lax
    from jax import numpy as jnp

    def forward(x: Any) -> tuple[Any, tuple[Any, Any]]:
        y = getattr(jnp, name)(x, axis=axes, keepdims=True)
        return y, (x, y)

    def backward(saved: tuple[Any, Any], dy: Any) -> tuple[Any]:
        x, y = saved
        count = (x == y).sum(axes, keepdims=True, dtype=dy.dtype)
        share = lax.optimization_barrier(dy / count)
        return (lax.optimization_barrier(jnp.where(x == y, share, jnp.zeros((), dy.dtype))),)

    function: Callable[..., Any] = jax.custom_vjp(lambda x: forward(x)[0])
    function.defvjp(forward, backward)  # type: ignore[attr-defined]
    return function


def parts(value: Value, widths: Sequence[int], axis: int) -> tuple[Value, ...]:
    """Consecutive parts of the given widths along an axis (PyTorch, TensorFlow).

    Both have an op whose gradient puts the parts together once. Of slices each is filled up with zeros, and those are added up:
    80 of 640 ms in a training step of ELMo on TensorFlow. JAX compiles both to the same.
    """
    if keras.backend.backend() == "torch":
        import torch

        return tuple(torch.split(value, list(widths), axis))
    import tensorflow as tf

    return tuple(tf.split(value, len(widths) if len(set(widths)) == 1 else list(widths), axis))


def clamp(x: Value, least: float | None = None, most: float | None = None) -> Value:
    """`x` kept above `least` or below `most` (PyTorch), with TensorFlow's gradient: all of it where x equals the bound.

    The same by comparing and choosing is four passes: 40 of 340 ms of an ELMo's forward pass.
    """
    import torch

    return torch.clamp(x, min=least, max=most)
