"""JAX's kernels for nets over images on a CPU: convolutions and their gradients, batch normalization, activations.

Each has gradients of its own (a custom_vjp, so it differentiates once, in reverse). `kernels` says when they are wanted, why,
and with which figures. Imports windows.
"""
# ruff: noqa: TID251

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from thaw.lowering.windows import Pads, output_sizes, taps

AT_ONCE = 2048
"""Elements that a depthwise convolution's filter gradient takes at a time: what it adds to stays in the first cache."""


@cache
def depthwise(strides: tuple[int, ...], pads: Pads, dilations: tuple[int, ...]) -> Callable[[Any, Any], Any]:
    """The depthwise convolution of (batch, h, w, c) by (kh, kw, c), differentiable once, in reverse."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    def padded(x: Any) -> Any:
        # The barrier keeps XLA from computing the padding anew in every tap.
        return lax.optimization_barrier(jnp.pad(x, ((0, 0), *pads, (0, 0)))) if any(map(any, pads)) else x

    def shifted(x: Any, kernel: Any) -> Any:
        window = kernel.shape[:2]
        outputs = output_sizes(x.shape[1:-1], ((0, 0), (0, 0)), window, strides, dilations)
        parts = taps(x, window, strides, dilations, outputs)
        terms = [part * kernel[at] for at, part in zip(np.ndindex(*window), parts, strict=True)]
        return sum(terms[1:], terms[0])

    def of_input(shape: tuple[int, ...], kernel: Any, dy: Any) -> Any:
        """The gradient of the padded input: one sum for each phase of the strides, interleaved.

        Input row `stride * t + phase` meets tap i where `phase - i * dilation` is a multiple of the stride.
        """
        lengths = [-(-n // s) for n, s in zip(shape[1:3], strides, strict=True)]
        meets = [
            [[(i, (p - i * d) // s) for i in range(k) if (p - i * d) % s == 0] for p in range(s)]
            for k, s, d in zip(kernel.shape[:2], strides, dilations, strict=True)
        ]
        moves = [[m for phase in axis for _, m in phase] for axis in meets]
        before = [max(-min(axis), 0) for axis in moves]
        after = [max(t - 1 + max(axis) - (n - 1), 0) for t, axis, n in zip(lengths, moves, dy.shape[1:3], strict=True)]
        dy = jnp.pad(dy, ((0, 0), *zip(before, after, strict=True), (0, 0)))
        if any(map(any, zip(before, after, strict=True))):
            dy = lax.optimization_barrier(dy)
        phases = []
        for rows, columns in product(*meets):
            total = jnp.zeros((shape[0], *lengths, shape[3]), dy.dtype)
            for (i, m), (j, n) in product(rows, columns):
                top, left = before[0] + m, before[1] + n
                total = total + dy[:, top : top + lengths[0], left : left + lengths[1]] * kernel[i, j]
            phases.append(total)
        if len(phases) > 1:
            stacked = jnp.stack(phases, axis=-2).reshape(shape[0], *lengths, *strides, shape[3])
            whole = stacked.transpose(0, 1, 3, 2, 4, 5)
            wide = [t * s for t, s in zip(lengths, strides, strict=True)]
            return whole.reshape(shape[0], *wide, shape[3])[:, : shape[1], : shape[2]]
        return phases[0]

    def of_kernel(x: Any, dy: Any, window: tuple[int, int]) -> Any:
        """The gradient of the kernel: image by image, offset by offset, a few rows at a time into one accumulator.

        XLA vectorizes neither a sum whose operand is a slice, nor one over the batch alone. Offsets are a loop, so that they
        share what is compiled; with strides of 1 a row's elements and channels are one axis, which makes long vectors.
        """
        batch, rows, columns, channels = dy.shape
        if not dy.size:  # the image is smaller than the window
            return jnp.zeros((*window, channels), dy.dtype)
        flat = strides[1] == 1
        if flat:
            x, dy = x.reshape(*x.shape[:2], -1), dy.reshape(batch, rows, -1)
        line, rest = dy.shape[2:], x.shape[3:]
        reach = columns * channels if flat else (columns - 1) * strides[1] + 1
        at_once = max(n for n in range(1, rows + 1) if rows % n == 0 and (n == 1 or n * columns * channels <= AT_ONCE))
        tall = (at_once - 1) * strides[0] + 1
        starts = _offsets(window, (dilations[0], dilations[1] * (channels if flat else 1)))

        def of_image(image: Any, sums: Any) -> Any:
            def of_offset(start: Any) -> Any:
                def of_rows(number: Any, total: Any) -> Any:
                    first = number * at_once
                    corner = (image, first * strides[0] + start[0], start[1], *(0 for _ in rest))
                    met = lax.dynamic_slice(x, corner, (1, tall, reach, *rest))[0, :: strides[0], :: strides[1]]
                    weights = lax.dynamic_slice(dy, (image, first, *(0 for _ in line)), (1, at_once, *line))[0]
                    return total + met * weights

                return lax.fori_loop(0, rows // at_once, of_rows, jnp.zeros((at_once, *line), dy.dtype))

            return sums + lax.map(of_offset, jnp.asarray(starts))

        sums = lax.fori_loop(0, batch, of_image, jnp.zeros((len(starts), at_once, *line), dy.dtype))
        return sums.reshape(len(starts), at_once * columns, channels).sum(1).reshape(*window, channels)

    def wide(x: Any) -> Any:
        return x.astype("float32") if x.dtype in (jnp.float16, jnp.bfloat16) else x

    def forward(x: Any, kernel: Any) -> tuple[Any, tuple[Any, Any]]:
        x = padded(x)
        return shifted(wide(x), wide(kernel)).astype(x.dtype), (x, kernel)

    def backward(saved: tuple[Any, Any], dy: Any) -> tuple[Any, Any]:
        x, kernel = saved
        dy = wide(dy)
        dx = of_input(x.shape, wide(kernel), dy)
        inner = dx[:, pads[0][0] : x.shape[1] - pads[0][1], pads[1][0] : x.shape[2] - pads[1][1]]
        dk = of_kernel(wide(x), dy, kernel.shape[:2])
        return inner.astype(x.dtype), dk.astype(kernel.dtype)

    function: Callable[..., Any] = jax.custom_vjp(lambda x, kernel: forward(x, kernel)[0])
    function.defvjp(forward, backward)  # type: ignore[attr-defined]
    return function


_LAYOUT = ("NHWC", "HWIO", "NHWC")


@cache
def convolution(strides: tuple[int, ...], pads: Pads, dilations: tuple[int, ...]) -> Callable[[Any, Any], Any]:
    """The convolution of (batch, h, w, c) by (kh, kw, c, f) as XLA has it, but for the gradient of the kernel."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    def native(x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(x, kernel, strides, pads, rhs_dilation=dilations, dimension_numbers=_LAYOUT)

    def backward(saved: tuple[Any, Any], dy: Any) -> tuple[Any, Any]:
        x, kernel = saved
        (dx,) = jax.linear_transpose(lambda x: native(x, kernel), jax.ShapeDtypeStruct(x.shape, x.dtype))(dy)
        return dx, products(jnp.pad(x, ((0, 0), *pads, (0, 0))), dy, kernel.shape, strides, dilations)

    function: Callable[..., Any] = jax.custom_vjp(native)
    function.defvjp(lambda x, kernel: (native(x, kernel), (x, kernel)), backward)  # type: ignore[attr-defined]
    return function


@cache
def transposed(strides: tuple[int, ...]) -> Callable[[Any, Any], Any]:
    """The transposed convolution, without padding, of (batch, h, w, c) by (kh, kw, f, c); XLA's but for both gradients."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    def forward(x: Any, kernel: Any) -> Any:
        flipped = jnp.swapaxes(jnp.flip(kernel, (0, 1)), 2, 3)
        pads = [(k - 1, k - 1 + max(s - k, 0)) for k, s in zip(kernel.shape, strides, strict=False)]  # the last stride is whole
        return lax.conv_general_dilated(x, flipped, (1, 1), pads, lhs_dilation=strides, dimension_numbers=_LAYOUT)

    def backward(saved: tuple[Any, Any], dy: Any) -> tuple[Any, Any]:
        x, kernel = saved
        dx = lax.conv_general_dilated(dy, kernel, strides, "VALID", dimension_numbers=_LAYOUT)
        return dx, products(dy, x, kernel.shape, strides, (1, 1))

    function: Callable[..., Any] = jax.custom_vjp(forward)
    function.defvjp(lambda x, kernel: (forward(x, kernel), (x, kernel)), backward)  # type: ignore[attr-defined]
    return function


def products(x: Any, values: Any, shape: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> Any:
    """A kernel's gradient: for each offset in its window, what it meets in `x` times `values`, summed over all places.

    One offset after the other: all at once would take their elements' memory at once, and to compile.
    """
    from jax import lax
    from jax import numpy as jnp

    reach = [(n - 1) * s + 1 for n, s in zip(values.shape[1:3], strides, strict=True)]
    rows = values.reshape(-1, values.shape[-1])

    def of_offset(offset: Any) -> Any:
        met = lax.dynamic_slice(x, (0, offset[0], offset[1], 0), (x.shape[0], *reach, x.shape[-1]))
        return met[:, :: strides[0], :: strides[1]].reshape(-1, x.shape[-1]).T @ rows

    return lax.map(of_offset, jnp.asarray(_offsets(shape[:2], dilations))).reshape(shape)


def _offsets(window: tuple[int, ...], steps: tuple[int, ...]) -> np.ndarray:
    """Where each element of a window lies, `steps` apart on its axes: one row an element."""
    found: np.ndarray = np.array(list(np.ndindex(*window)), "int32") * np.array(steps, "int32")
    return found


@cache
def clipped(upper: float | None) -> Callable[[Any], Any]:
    """The identity between 0 and `upper`, with gradient 0 at both ends."""
    import jax
    from jax import numpy as jnp

    def forward(x: Any) -> tuple[Any, Any]:
        y = jnp.maximum(x, 0)
        y = y if upper is None else jnp.minimum(y, jnp.asarray(upper, y.dtype))
        return y, y

    def backward(y: Any, dy: Any) -> tuple[Any]:
        open_ = y > 0 if upper is None else (y > 0) & (y < upper)
        return (jnp.where(open_, dy, jnp.zeros_like(dy)),)

    function: Callable[..., Any] = jax.custom_vjp(lambda x: forward(x)[0])
    function.defvjp(forward, backward)  # type: ignore[attr-defined]
    return function


@cache
def batch_norm(epsilon: float) -> Callable[[Any, Any, Any], tuple[Any, Any, Any]]:
    """Normalization over all axes but the last; (result, mean, biased variance), the gradient through the first alone."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    def widened(x: Any) -> Any:
        return x.astype("float32") if x.dtype in (jnp.float16, jnp.bfloat16) else x

    # XLA writes out what a reduction reads: sums of squares and products of what is there already spare an array each.
    def around_mean(x: Any, mean: Any) -> Any:
        centered = x - mean
        return (centered * centered).mean(tuple(range(x.ndim - 1)))

    def forward(x: Any, scale: Any, offset: Any) -> tuple[Any, Any]:
        axes = tuple(range(x.ndim - 1))
        wide = widened(x)
        mean = wide.mean(axes)
        variance = jnp.maximum((wide * wide).mean(axes) - mean * mean, 0)
        far = (mean * mean > 100 * variance).any()  # so far from zero that the difference has lost its digits
        variance = lax.cond(far, around_mean, lambda x, mean: variance, wide, mean)
        inverse = lax.rsqrt(variance + epsilon)
        y = ((wide - mean) * (inverse * scale) + offset).astype(x.dtype)
        return (y, mean, variance), (x, mean, inverse, scale, offset, far)

    def backward(saved: Any, gradients: Any) -> tuple[Any, Any, Any]:
        x, mean, inverse, scale, offset, far = saved
        dy, wide = gradients[0].astype(mean.dtype), widened(x)
        axes = tuple(range(x.ndim - 1))
        d_offset = dy.sum(axes)

        def centered(dy: Any, wide: Any) -> Any:
            return (dy * (wide - mean)).sum(axes)

        d_scale = (dy * wide).sum(axes) - d_offset * mean
        d_scale = lax.cond(far, centered, lambda dy, wide: d_scale, dy, wide) * inverse
        count = max(x.size // x.shape[-1], 1)
        dx = (dy - (d_offset + (wide - mean) * (inverse * d_scale)) / count) * (inverse * scale)
        return dx.astype(x.dtype), d_scale.astype(scale.dtype), d_offset.astype(offset.dtype)

    function: Callable[..., Any] = jax.custom_vjp(lambda x, scale, offset: forward(x, scale, offset)[0])
    function.defvjp(forward, backward)  # type: ignore[attr-defined]
    return function
