"""Layers of graphs that were quantized to 8 bits: convolutions, products, biases, pools, normalizations, resizing.

Sums of products of integers are exact in float64, where numpy's matrix product is fast. See quantized.py, which this extends.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from thaw.errors import UnhandledValueError
from thaw.lowering.detection import Outputs, on_host
from thaw.lowering.quantization import LIMITS
from thaw.lowering.quantized import (
    SCALAR,
    Real,
    clamped,
    integers,
    level,
    number,
    numbers,
    product_range,
    stored,
    sum_range,
    with_range,
)
from thaw.lowering.registry import lowering
from thaw.lowering.resize import Taps, bilinear_taps
from thaw.lowering.values import Value
from thaw.lowering.windows import output_sizes, pads_of


def described(shape: Sequence[int | None], dtype: str) -> Outputs:
    """An output of integers and its range."""
    return [(tuple(shape), stored(dtype)), (SCALAR, "float32"), (SCALAR, "float32")]


def spaced(shape: Sequence[int | None], window: Sequence[int], strides: Sequence[int], padding: str) -> tuple[int | None, ...]:
    """The spatial lengths after windows, None where the length before is not known."""
    lengths: list[int | None] = []
    for n, k, s in zip(shape, window, strides, strict=True):
        pads = None if n is None else pads_of(padding, (n,), (k,), (s,), (1,))
        lengths.append(None if n is None or pads is None else output_sizes((n,), pads, (k,), (s,), (1,))[0])
    return tuple(lengths)


def patches(x: np.ndarray, window: Sequence[int], strides: Sequence[int], padding: str, filler: float) -> np.ndarray:
    """The windows of images (batch, height, width, channels): (batch, rows, columns, channels, window height, window width)."""
    pads = pads_of(padding, x.shape[1:3], window, strides, (1, 1))
    assert pads is not None
    padded = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=filler)
    if any(n < k for n, k in zip(padded.shape[1:3], window, strict=True)):
        return np.zeros((len(x), 0, 0, x.shape[3], *window), x.dtype)
    return sliding_window_view(padded, tuple(window), axis=(1, 2))[:, :: strides[0], :: strides[1]]


@lowering("QuantizedConv2D", gradient="none")
def quantized_conv(
    input: Value,
    filter: Value,
    min_input: Value,
    max_input: Value,
    min_filter: Value,
    max_filter: Value,
    *,
    Tinput: str,
    Tfilter: str,
    out_type: str = "qint32",
    strides: Sequence[int],
    padding: str,
    dilations: Sequence[int] = (1, 1, 1, 1),
) -> tuple[Value, ...]:
    """A convolution over two axes; what lies outside of the image stands for 0.

    Raises:
        UnhandledValueError: dilations, which TensorFlow's own kernel does not have either.
    """
    if tuple(dilations) != (1, 1, 1, 1):
        raise UnhandledValueError("QuantizedConv2D", "dilations", tuple(dilations), [(1, 1, 1, 1)])
    window, step = [int(n) for n in filter.shape[:2]], [int(s) for s in strides[1:3]]

    def run(x: np.ndarray, kernel: np.ndarray, *ends: np.ndarray) -> list[np.ndarray]:
        low_x, high_x, low_k, high_k = (np.float32(e.item()) for e in ends)
        centred = x.astype(np.float64) - level(0.0, Tinput, low_x, high_x)
        weights = (kernel.astype(np.float64) - level(0.0, Tfilter, low_k, high_k)).transpose(2, 0, 1, 3)
        flat = weights.reshape(-1, kernel.shape[3])
        # Image by image: the windows of a whole batch would take many times its memory.
        images = [patches(centred[b : b + 1], window, step, padding, 0.0)[0] for b in range(len(x))]
        sums = [(p.reshape(-1, flat.shape[0]) @ flat).reshape(*p.shape[:2], flat.shape[1]) for p in images]
        shape = (0, *(n or 0 for n in space), kernel.shape[3])
        result = np.stack(sums).astype(np.int64) if sums else np.zeros(shape, np.int64)
        low, high = product_range((low_x, low_k), (high_x, high_k), (Tinput, Tfilter, out_type))
        return [result.astype(stored(out_type)), np.asarray(low), np.asarray(high)]

    space = spaced(input.shape[1:3], window, step, padding)
    outputs = described((input.shape[0], *space, filter.shape[3]), out_type)
    return on_host(run, outputs, [input, filter, min_input, max_input, min_filter, max_filter], "input")


@lowering("QuantizedMatMul", gradient="none", ignored=("Tactivation",))
def quantized_matmul(
    a: Value,
    b: Value,
    min_a: Value,
    max_a: Value,
    min_b: Value,
    max_b: Value,
    *,
    T1: str,
    T2: str,
    Toutput: str = "qint32",
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> tuple[Value, ...]:
    """The product of two matrices."""

    def run(a: np.ndarray, b: np.ndarray, *ends: np.ndarray) -> list[np.ndarray]:
        low_a, high_a, low_b, high_b = (np.float32(e.item()) for e in ends)
        left = a.astype(np.float64) - level(0.0, T1, low_a, high_a)
        right = b.astype(np.float64) - level(0.0, T2, low_b, high_b)
        product = (left.T if transpose_a else left) @ (right.T if transpose_b else right)
        low, high = product_range((low_a, low_b), (high_a, high_b), (T1, T2, Toutput))
        return [product.astype(np.int64).astype(stored(Toutput)), np.asarray(low), np.asarray(high)]

    shape = (a.shape[1 if transpose_a else 0], b.shape[0 if transpose_b else 1])
    return on_host(run, described(shape, Toutput), [a, b, min_a, max_a, min_b, max_b], "a")


@lowering("QuantizedBiasAdd", gradient="none")
def quantized_bias_add(
    input: Value,
    bias: Value,
    min_input: Value,
    max_input: Value,
    min_bias: Value,
    max_bias: Value,
    *,
    T1: str,
    T2: str,
    out_type: str,
) -> tuple[Value, ...]:
    """A vector added along the last axis, in a range that is wide enough."""

    def run(x: np.ndarray, bias: np.ndarray, *ends: np.ndarray) -> list[np.ndarray]:
        low_x, high_x, low_b, high_b = (np.float32(e.item()) for e in ends)
        low, high = sum_range(low_x, high_x, low_b, high_b)
        left = integers(numbers(x, T1, low_x, high_x), out_type, low, high).astype(np.int64)
        right = integers(numbers(bias, T2, low_b, high_b), out_type, low, high).astype(np.int64)
        zero = clamped(level(0.0, out_type, low, high), out_type).astype(np.int64)
        return [(left + right + zero).astype(stored(out_type)), np.asarray(low), np.asarray(high)]

    return on_host(run, described(input.shape, out_type), [input, bias, min_input, max_input, min_bias, max_bias], "input")


def pooled(op: str, ksize: Sequence[int], strides: Sequence[int]) -> tuple[list[int], list[int]]:
    """Window and strides over space.

    Raises:
        UnhandledValueError: a window over batch or channels.
    """
    if {int(ksize[i]) for i in (0, 3)} != {1} or {int(strides[i]) for i in (0, 3)} != {1}:
        raise UnhandledValueError(op, "ksize", tuple(ksize), ["windows over space"])
    return [int(k) for k in ksize[1:3]], [int(s) for s in strides[1:3]]


@lowering("QuantizedMaxPool", gradient="none")
def quantized_max_pool(
    input: Value, min_input: Value, max_input: Value, *, T: str, ksize: Sequence[int], strides: Sequence[int], padding: str
) -> tuple[Value, ...]:
    """The maximum over windows."""
    window, step = pooled("QuantizedMaxPool", ksize, strides)

    def run(x: np.ndarray, low: Real, high: Real) -> np.ndarray:
        greatest: np.ndarray = patches(x, window, step, padding, LIMITS[T][0]).max(axis=(4, 5))
        return greatest

    space = spaced(input.shape[1:3], window, step, padding)
    return with_range(run, input, min_input, max_input, (input.shape[0], *space, input.shape[3]), T)


@lowering("QuantizedAvgPool", gradient="none")
def quantized_avg_pool(
    input: Value, min_input: Value, max_input: Value, *, T: str, ksize: Sequence[int], strides: Sequence[int], padding: str
) -> tuple[Value, ...]:
    """The mean over windows, rounded towards zero; padding counts for nothing."""
    window, step = pooled("QuantizedAvgPool", ksize, strides)

    def run(x: np.ndarray, low: Real, high: Real) -> np.ndarray:
        total = patches(x.astype(np.int64), window, step, padding, 0).sum(axis=(4, 5))
        count = patches(np.ones_like(x[:1], np.int64), window, step, padding, 0).sum(axis=(4, 5))
        mean: np.ndarray = (np.sign(total) * (np.abs(total) // np.maximum(count, 1))).astype(stored(T))
        return mean

    space = spaced(input.shape[1:3], window, step, padding)
    return with_range(run, input, min_input, max_input, (input.shape[0], *space, input.shape[3]), T)


FIXED = (np.float32(-(2.0**20)), np.float32(2.0**20))
"""The range of what comes out of the normalization: fixed-point numbers."""


@lowering("QuantizedBatchNormWithGlobalNormalization", gradient="none")
def quantized_batch_norm(
    t: Value,
    t_min: Value,
    t_max: Value,
    m: Value,
    m_min: Value,
    m_max: Value,
    v: Value,
    v_min: Value,
    v_max: Value,
    beta: Value,
    beta_min: Value,
    beta_max: Value,
    gamma: Value,
    gamma_min: Value,
    gamma_max: Value,
    *,
    Tinput: str,
    out_type: str,
    variance_epsilon: float,
    scale_after_normalization: bool,
) -> tuple[Value, ...]:
    """Normalized by given statistics, in fixed-point arithmetic of 32 bits."""

    def fixed(x: np.ndarray | float) -> np.ndarray:
        return clamped(level(x, out_type, *FIXED), out_type).astype(np.int64)

    def run(*values: np.ndarray) -> list[np.ndarray]:
        x, mean, variance, offset, scale = (
            number(values[i], Tinput, *(values[i + k].item() for k in (1, 2))) for i in range(0, 15, 3)
        )
        factor = np.float32(1) / np.sqrt(variance + np.float32(variance_epsilon))
        factor = factor * scale if scale_after_normalization else factor
        shift = fixed(-mean * factor + offset)
        product = (fixed(x) * fixed(factor)).astype(np.int32).astype(np.int64)  # which wraps around
        one = int(fixed(1.0))
        quotient = np.sign(product) * (np.abs(product) // one)
        return [(quotient + shift).astype(stored(out_type)), *(np.asarray(e) for e in FIXED)]

    values = [t, t_min, t_max, m, m_min, m_max, v, v_min, v_max, beta, beta_min, beta_max, gamma, gamma_min, gamma_max]
    return on_host(run, described(t.shape, out_type), values, "t")


@lowering("QuantizedInstanceNorm", gradient="none")
def quantized_instance_norm(
    x: Value,
    x_min: Value,
    x_max: Value,
    *,
    T: str,
    output_range_given: bool = False,
    given_y_min: float = 0.0,
    given_y_max: float = 0.0,
    variance_epsilon: float = 1e-5,
    min_separation: float = 1e-3,
) -> tuple[Value, ...]:
    """Each channel of each image normalized by its own mean and variance."""

    def run(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
        scale = np.float32((high.item() - low.item()) / 255.0)
        wide = x.astype(np.float32)
        centred = wide - wide.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
        variance = np.square(scale * centred).mean(axis=(1, 2), keepdims=True, dtype=np.float32)
        normed = scale * centred * (np.float32(1) / np.sqrt(variance + np.float32(variance_epsilon)))
        ends = (given_y_min, given_y_max) if output_range_given else (normed.min(), normed.max())
        bottom, top = np.float32(ends[0]), np.float32(ends[1])
        if top - bottom < np.float32(min_separation):
            top = np.float32(bottom + np.float32(min_separation))
        return [integers(normed, T, bottom, top), np.asarray(bottom), np.asarray(top)]

    return on_host(run, described(x.shape, T), [x, x_min, x_max], "x")


def between(x: np.ndarray, along: Sequence[Taps]) -> np.ndarray:
    """Images interpolated along both axes in fixed-point arithmetic of 7 bits."""

    def down(total: np.ndarray) -> np.ndarray:
        quotient: np.ndarray = np.sign(total) * (np.abs(total) // 128)
        return quotient

    (y_low, y_high), (x_low, x_high) = along[0].indices, along[1].indices
    y_share, x_share = ((t.weights[1] * np.float32(128)).astype(np.int64) for t in along)
    left, right = x[:, :, x_low], x[:, :, x_high]
    lines = left * 128 + (right - left) * x_share[:, None]
    top, bottom = lines[:, y_low], lines[:, y_high]
    return down(top + down(bottom - top) * y_share[:, None, None] + 64)


@lowering("QuantizedResizeBilinear", gradient="none", static=("size",))
def quantized_resize_bilinear(
    images: Value,
    size: np.ndarray,
    min: Value,
    max: Value,
    *,
    T: str,
    align_corners: bool = False,
    half_pixel_centers: bool = False,
) -> tuple[Value, ...]:
    """Bilinear resizing in fixed-point arithmetic.

    Raises:
        UnhandledValueError: images that are not of 8 bits.
    """
    if T != "quint8":
        raise UnhandledValueError("QuantizedResizeBilinear", "T", T, ["quint8"])
    rows, columns = (int(n) for n in size)

    def run(x: np.ndarray, low: Real, high: Real) -> np.ndarray:
        if x.shape[1:3] == (rows, columns):
            return x
        wanted = zip(x.shape[1:3], (rows, columns), strict=True)
        along = [bilinear_taps(n, w, align_corners, half_pixel_centers) for n, w in wanted]
        return between(x.astype(np.int64), along).astype(np.uint8)

    return with_range(run, images, min, max, (images.shape[0], rows, columns, images.shape[3]), T)
