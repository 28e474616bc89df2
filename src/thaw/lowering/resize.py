"""Resizing images: nearest, bilinear, bicubic, area, and free scaling, as TensorFlow's kernels place their samples.

Every resize here is separable: along an axis, each output is a weighted sum of a few inputs. Positions are computed in
float32 as TensorFlow does (a nearest neighbour may hang on its rounding), in numpy where the lengths are known.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.lowering import kernels
from thaw.lowering.arrange import mirror_pad
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.values import Value, cast, dtype_of, static_shape
from thaw.lowering.windows import resolve, spatial


class Taps(NamedTuple):
    """For each output along an axis: which inputs it takes, and with which weights; one entry a tap, vectors over outputs."""

    indices: list[Value]
    weights: list[Value]


def lengths_of(x: Value, size: Value) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """(rows, columns) of the image and of the result: ints, or tensors where TensorFlow does not know one."""
    rows, columns = ops.shape(x)[1:3]
    wanted = [int(n) for n in np.atleast_1d(size)] if isinstance(size, np.ndarray) else [size[0], size[1]]
    return (rows, columns), (wanted[0], wanted[1])


def space_of(*lengths: Any) -> Any:
    """Numpy where all lengths are known, `keras.ops` otherwise."""
    return np if all(isinstance(n, (int, np.integer)) for n in lengths) else ops


def as_float(n: Any) -> Any:
    """A length as float32, on the side where it is."""
    return np.float32(n) if isinstance(n, (int, np.integer)) else ops.cast(n, "float32")


def places(length: Any, wanted: Any, align_corners: bool, half: float) -> tuple[Any, Any]:
    """The namespace, and where along an axis of `length` the `wanted` samples lie before any rounding."""
    space = space_of(length, wanted)
    inner = as_float(wanted) - 1
    if align_corners and space is np:
        scale = as_float(length - 1) / inner if wanted > 1 else as_float(length) / as_float(wanted)
    elif align_corners:
        scale = ops.where(inner > 0, as_float(length - 1) / ops.maximum(inner, 1.0), as_float(length) / as_float(wanted))
    else:
        scale = as_float(length) / as_float(wanted)
    return space, (cast(space.arange(wanted), "float32") + np.float32(half)) * scale


def bilinear_taps(length: Any, wanted: Any, align_corners: bool, half_pixel_centers: bool) -> Taps:
    """The two neighbours of each sample."""
    space, at = places(length, wanted, align_corners, 0.5 if half_pixel_centers else 0.0)
    if half_pixel_centers:
        at = at - np.float32(0.5)
    low = space.floor(at)
    share = at - low
    first = space.maximum(cast(low, "int32"), 0)
    second = space.minimum(cast(space.ceil(at), "int32"), cast_length(length) - 1)
    return Taps([space.minimum(first, second), second], [1 - share, share])


def cast_length(length: Any) -> Any:
    """A length as int32, on the side where it is."""
    return np.int32(length) if isinstance(length, (int, np.integer)) else ops.cast(length, "int32")


def nearest_index(length: Any, wanted: Any, align_corners: bool, half_pixel_centers: bool) -> Value:
    """The one input of each sample. Source: tensorflow/core/kernels/image/resize_nearest_neighbor_op.cc."""
    space, at = places(length, wanted, align_corners, 0.5 if half_pixel_centers else 0.0)
    rounded = space.floor(at + np.float32(0.5)) if align_corners else space.floor(at)
    return space.clip(cast(rounded, "int32"), 0, cast_length(length) - 1)


def cubic_taps(length: Any, wanted: Any, align_corners: bool, half_pixel_centers: bool) -> Taps:
    """Four neighbours of each sample; with half-pixel centers those outside the image lose their weight to the others.

    Source: tensorflow/core/kernels/image/resize_bicubic_op.cc, which looks weights up in a table of 1024 steps.
    """
    if space_of(length, wanted) is not np:
        raise UnhandledValueError("ResizeBicubic", "size", (length, wanted), ("lengths that are known while tracing",))
    _, at = places(length, wanted, align_corners, 0.5 if half_pixel_centers else 0.0)
    if half_pixel_centers:
        at = at - np.float32(0.5)
    low = np.floor(at)
    step = np.rint((at - low) * 1024) / 1024
    a = -0.5 if half_pixel_centers else -0.75

    def near(x: np.ndarray) -> np.ndarray:
        return np.asarray(((a + 2) * x - (a + 3)) * x * x + 1)

    def far(x: np.ndarray) -> np.ndarray:
        x = x + 1.0
        return np.asarray(((a * x - 5 * a) * x + 8 * a) * x - 4 * a)

    wanted_at = [low.astype("int64") + k for k in (-1, 0, 1, 2)]
    indices = [np.clip(i, 0, length - 1) for i in wanted_at]
    weights = [far(step), near(step), near(1 - step), far(1 - step)]
    if half_pixel_centers:
        weights = [np.where(i == j, w, 0.0) for i, j, w in zip(indices, wanted_at, weights, strict=True)]
        total = np.sum(weights, axis=0)
        weights = [w / np.where(np.abs(total) > 1e-35, total, 1.0) for w in weights]
    return Taps([i.astype("int32") for i in indices], [w.astype("float32") for w in weights])


def along(x: Value, axis: int, found: Taps) -> Value:
    """The weighted sums of `found` along `axis` of `x` (batch, rows, columns, channels)."""
    result = None
    for index, weight in zip(found.indices, found.weights, strict=True):
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        term = ops.take(x, index, axis=axis) * ops.cast(ops.reshape(weight, shape), dtype_of(x))
        result = term if result is None else result + term
    return result


def matrix(found: Taps, length: int) -> np.ndarray:
    """`found` as a matrix (outputs, inputs)."""
    result = np.zeros((len(found.indices[0]), length), "float32")
    for index, weight in zip(found.indices, found.weights, strict=True):
        np.add.at(result, (np.arange(len(index)), index), weight)
    return result


def by_matrices(x: Value, rows: np.ndarray, columns: np.ndarray) -> Value:
    """`x` (batch, h, w, channels) multiplied by `rows` (H, h) and `columns` (W, w): (batch, H, W, channels)."""
    dtype = dtype_of(x)
    if "int" in dtype and keras.backend.backend() == "torch":  # which has no products of integers on a GPU
        exact = by_matrices(ops.cast(x, "float64"), rows, columns)
        return ops.cast(ops.cast(exact, "int64"), dtype)  # what is too large wraps around, as the sums of integers do
    x = ops.einsum("yh,bhwc->bywc", ops.convert_to_tensor(rows, dtype=dtype), x)
    return ops.einsum("xw,bywc->byxc", ops.convert_to_tensor(columns, dtype=dtype), x)


def separable(
    context: Context,
    images: Value,
    size: Value,
    taps: Callable[[Any, Any, bool, bool], Taps],
    align_corners: bool,
    half_pixel_centers: bool,
) -> Value:
    """`images` resized by `taps` along rows and columns. The result is float32 whatever the input was."""
    lengths, wanted = lengths_of(images, size)
    dtype = dtype_of(images)
    x = ops.cast(images, dtype if dtype in {"float32", "float64"} else "float32")
    for axis, (length, n) in enumerate(zip(lengths, wanted, strict=True), start=1):
        if not (isinstance(n, int) and isinstance(length, int) and n == length):
            x = along(x, axis, taps(length, n, align_corners, half_pixel_centers))
    return ops.cast(x, context.compute_dtype)


@lowering("ResizeBilinear", static=("size",), context=True)
def resize_bilinear(
    context: Context, images: Value, size: Value, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Value:
    """Images of another size, each pixel mixed from four."""
    return separable(context, images, size, bilinear_taps, align_corners, half_pixel_centers)


@lowering("ResizeBicubic", static=("size",), context=True)
def resize_bicubic(
    context: Context, images: Value, size: Value, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Value:
    """Images of another size, each pixel mixed from sixteen."""
    return separable(context, images, size, cubic_taps, align_corners, half_pixel_centers)


@lowering("ResizeNearestNeighbor", static=("size",))
def resize_nearest_neighbor(
    images: Value, size: Value, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Value:
    """Images of another size, each pixel one of the old."""
    lengths, wanted = lengths_of(images, size)
    x = ops.convert_to_tensor(images)
    for axis, (length, n) in enumerate(zip(lengths, wanted, strict=True), start=1):
        index = nearest_index(length, n, align_corners, half_pixel_centers)
        if isinstance(index, np.ndarray) and n % length == 0 and (index == np.arange(n) // (n // length)).all():
            x = repeated(x, axis, n // length)
        else:
            x = ops.take(x, index, axis=axis)
    return x


def repeated(x: Value, axis: int, times: int) -> Value:
    """Each element along `axis` `times` times over: a broadcast, whose gradient is a sum instead of a scatter."""
    if times == 1:
        return x
    shape = list(ops.shape(x))
    wide = ops.broadcast_to(ops.expand_dims(x, axis + 1), [*shape[: axis + 1], times, *shape[axis + 1 :]])
    return ops.reshape(wide, [*shape[:axis], shape[axis] * times, *shape[axis + 1 :]])


def area_matrix(length: int, wanted: int, align_corners: bool) -> np.ndarray:
    """How much of each input lies under each output, over the length of an output."""
    aligned = align_corners and wanted > 1
    scale = float(np.float32((length - 1) / (wanted - 1) if aligned else length / wanted))
    result = np.zeros((wanted, length), "float32")
    for i in range(wanted):
        start, end = i * scale, (i + 1) * scale
        for j in range(math.floor(start), math.ceil(end)):
            share = min(j + 1, end) - max(j, start)
            result[i, min(max(j, 0), length - 1)] += share / scale
    return result


@lowering("ResizeArea", static=("size",), context=True, gradient="none")
def resize_area(context: Context, images: Value, size: Value, *, align_corners: bool = False) -> Value:
    """Images of another size, each pixel the mean of what lies under it."""
    lengths, wanted = lengths_of(images, size)
    rows, columns = (area_matrix(int(a), int(b), align_corners) for a, b in zip(lengths, wanted, strict=True))
    return ops.cast(by_matrices(ops.cast(images, "float32"), rows, columns), context.compute_dtype)


def adjoint(
    grads: Value, original: Sequence[Any], taps: Callable[[Any, Any, bool, bool], Taps], align: bool, half: bool
) -> Value:
    """What images of the `original` spatial lengths receive when their resized selves receive `grads`."""
    wanted = static_shape(grads)[1:3]
    rows, columns = (matrix(taps(int(a), int(b or 0), align, half), int(a)).T for a, b in zip(original, wanted, strict=True))
    return by_matrices(ops.convert_to_tensor(grads), rows, columns)


@lowering("ResizeBilinearGrad")
def resize_bilinear_gradient(
    grads: Value, original_image: Value, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Value:
    """What ResizeBilinear's images would receive as gradient."""
    dx = adjoint(grads, static_shape(original_image)[1:3], bilinear_taps, align_corners, half_pixel_centers)
    return ops.cast(dx, dtype_of(original_image))


@lowering("ResizeBicubicGrad")
def resize_bicubic_gradient(
    grads: Value, original_image: Value, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Value:
    """What ResizeBicubic's images would receive as gradient."""
    dx = adjoint(grads, static_shape(original_image)[1:3], cubic_taps, align_corners, half_pixel_centers)
    return ops.cast(dx, dtype_of(original_image))


@lowering("ResizeNearestNeighborGrad", static=("size",))
def resize_nearest_neighbor_gradient(
    grads: Value, size: Value, *, align_corners: bool = False, half_pixel_centers: bool = False
) -> Value:
    """What ResizeNearestNeighbor's images would receive as gradient."""

    def one(length: int, wanted: int, align: bool, half: bool) -> Taps:
        return Taps([nearest_index(length, wanted, align, half)], [np.ones(wanted, "float32")])

    return adjoint(grads, [int(n) for n in size], one, align_corners, half_pixel_centers)


def sinc(x: np.ndarray, radius: float) -> np.ndarray:
    """Lanczos' kernel."""
    return np.where(np.abs(x) <= radius, np.sinc(x) * np.sinc(x / radius), 0.0)


def cubic(x: np.ndarray, outer: Sequence[float], inner: Sequence[float]) -> np.ndarray:
    """A piecewise cubic of |x|: `inner` below 1, `outer` below 2 (highest power first)."""
    x = np.abs(x)
    return np.where(x >= 2, 0.0, np.where(x >= 1, np.polyval(outer, x), np.polyval(inner, x)))


SCALING_KERNELS: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    "lanczos1": (1.0, lambda x: sinc(x, 1.0)),
    "lanczos3": (3.0, lambda x: sinc(x, 3.0)),
    "lanczos5": (5.0, lambda x: sinc(x, 5.0)),
    "gaussian": (1.5, lambda x: np.where(np.abs(x) >= 1.5, 0.0, np.exp(-x * x / (2 * 0.5 * 0.5)))),
    "box": (1.0, lambda x: np.where(np.abs(x) < 0.5, 1.0, np.where(np.abs(x) == 0.5, 0.5, 0.0))),
    "triangle": (1.0, lambda x: np.maximum(1 - np.abs(x), 0.0)),
    "keyscubic": (2.0, lambda x: cubic(x, (-0.5, 2.5, -4.0, 2.0), (1.5, -2.5, 0.0, 1.0))),
    "mitchellcubic": (
        2.0,
        lambda x: cubic(x, (-7 / 18, 36 / 18, -60 / 18, 32 / 18), (21 / 18, -36 / 18, 0.0, 16 / 18)),
    ),
}
"""Radius and shape by name. Source: tensorflow/core/kernels/image/sampling_kernels.h."""


def scaling_matrix(length: int, wanted: int, scale: float, shift: float, kernel: str, antialias: bool) -> np.ndarray:
    """The weights (outputs, inputs) of one axis. Source: tensorflow/core/kernels/image/scale_and_translate_op.cc."""
    radius, shape = SCALING_KERNELS[kernel]
    inverse = 1.0 / scale
    stretch = max(inverse, 1.0) if antialias else 1.0
    at = (np.arange(wanted) + 0.5) * inverse - inverse * shift
    first = np.clip(np.ceil(at - radius * stretch - 0.5), 0, length - 1)
    last = np.clip(np.floor(at + radius * stretch - 0.5), 0, length - 1)
    inputs = np.arange(length)
    weights = shape((inputs + 0.5 - at[:, None]) / stretch)
    weights = np.where((inputs >= first[:, None]) & (inputs <= last[:, None]), weights, 0.0)
    total = weights.sum(1, keepdims=True)
    weights = np.where(np.abs(total) >= 1e-35, weights / np.where(total == 0, 1.0, total), 0.0)
    inside = (at >= 0) & (at <= length)
    return np.where(inside[:, None], weights, 0.0).astype("float32")


@lowering("ScaleAndTranslate", static=("size", "scale", "translation"), context=True)
def scale_and_translate(
    context: Context,
    images: Value,
    size: Value,
    scale: Value,
    translation: Value,
    *,
    kernel_type: str = "lanczos3",
    antialias: bool = True,
) -> Value:
    """Images scaled and shifted freely, each pixel a weighted sum under a kernel; zero beyond the image."""
    if kernel_type not in SCALING_KERNELS:
        raise UnhandledValueError("ScaleAndTranslate", "kernel_type", kernel_type, SCALING_KERNELS)
    lengths, wanted = lengths_of(images, size)
    rows, columns = (
        scaling_matrix(int(a), int(b), float(s), float(t), kernel_type, antialias)
        for a, b, s, t in zip(lengths, wanted, scale, translation, strict=True)
    )
    return ops.cast(by_matrices(ops.cast(images, "float32"), rows, columns), context.compute_dtype)


@lowering("FusedPadConv2D", static=("paddings",))
def fused_pad_conv2d(x: Value, paddings: Value, kernel: Value, *, mode: str, strides: Sequence[int], padding: str) -> Value:
    """Padding by reflection, then a convolution."""
    return fused_convolution("FusedPadConv2D", mirror_pad(x, paddings, mode=mode), kernel, strides, padding)


@lowering("FusedResizeAndPadConv2D", static=("size", "paddings"), context=True)
def fused_resize_and_pad_conv2d(
    context: Context,
    x: Value,
    size: Value,
    paddings: Value,
    kernel: Value,
    *,
    resize_align_corners: bool = False,
    mode: str,
    strides: Sequence[int],
    padding: str,
) -> Value:
    """A bilinear resize, padding by reflection, then a convolution."""
    resized = separable(context, x, size, bilinear_taps, resize_align_corners, False)
    padded = mirror_pad(ops.cast(resized, dtype_of(kernel)), paddings, mode=mode)
    return fused_convolution("FusedResizeAndPadConv2D", padded, kernel, strides, padding)


def fused_convolution(op: str, x: Value, kernel: Value, strides: Sequence[int], padding: str) -> Value:
    """The convolution at the end of a fused op."""
    return kernels.convolution(
        x,
        kernel,
        strides=spatial(strides, "NHWC"),
        padding=resolve(op, padding, (), "NHWC"),
        dilations=(1, 1),
    )
