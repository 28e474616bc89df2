"""Sampling images at places that are tensors themselves: crops of boxes, projective transforms, glimpses.

Gradients flow to the images and, for crops, to the boxes. Imports the registry and the values.
"""

import keras
import numpy as np
from keras import ops

from thaw.errors import UnhandledValueError
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.values import Value, cast, dtype_of, sizes, static_shape


def pixels(images: Value, batch: Value, rows: Value, columns: Value) -> Value:
    """The pixels of `images` at integer places that lie inside, with the channels behind."""
    _, height, width, channels = ops.shape(images)
    index = (ops.cast(batch, "int32") * height + rows) * width + columns
    return ops.take(ops.reshape(images, (-1, channels)), index, axis=0)


def inside(at: Value, length: Value) -> Value:
    """`at` as indices, moved to the nearest there is."""
    return ops.cast(ops.clip(at, 0, ops.cast(length - 1, dtype_of(at))), "int32")


def line(low: Value, high: Value, length: Value, count: int) -> Value:
    """`count` places from `low` to `high`, which are shares of an axis of `length`: (boxes, count)."""
    reach = ops.cast(length - 1, dtype_of(low))
    low, high = ops.expand_dims(low, 1), ops.expand_dims(high, 1)
    if count == 1:
        return 0.5 * (low + high) * reach
    steps = ops.convert_to_tensor(np.arange(count), dtype=dtype_of(low))
    return low * reach + steps * ((high - low) * reach / (count - 1))


def snapped(at: Value) -> Value:
    """`at`, moved onto the pixel that lies within a hundred-thousandth.

    XLA computes a value anew for each of its users, and may round it otherwise in each: were the pixel taken from 3.9999998 and
    its weight from 4.0000002, the gradient would go to the wrong pixel.
    """
    pixel = ops.stop_gradient(ops.round(at))
    return ops.where(ops.abs(at - pixel) < 1e-5, at + ops.stop_gradient(pixel - at), at)


def on_image(at: Value, length: Value) -> Value:
    """Whether places lie between the first and the last pixel of an axis.

    A millionth of the axis is let pass: XLA rounds the place of a box's last sample otherwise than TensorFlow, and a box that
    ends with the image must not lose its border.
    """
    reach = ops.cast(length - 1, dtype_of(at))
    return ops.logical_and(at >= -1e-6 * reach, at <= (1 + 1e-6) * reach)


@lowering("CropAndResize", static=("crop_size",), context=True)
def crop_and_resize(
    context: Context,
    image: Value,
    boxes: Value,
    box_ind: Value,
    crop_size: Value,
    *,
    method: str = "bilinear",
    extrapolation_value: float = 0.0,
) -> Value:
    """For each box the part of an image that it frames, resized; float32 whatever the image was."""
    if method not in {"bilinear", "nearest"}:
        raise UnhandledValueError("CropAndResize", "method", method, ("bilinear", "nearest"))
    image, boxes = ops.cast(image, "float32"), ops.cast(boxes, "float32")
    rows, columns = sizes(crop_size)
    height, width = ops.shape(image)[1:3]
    y = snapped(line(boxes[:, 0], boxes[:, 2], height, rows))[:, :, None]  # (boxes, rows, 1)
    x = snapped(line(boxes[:, 1], boxes[:, 3], width, columns))[:, None, :]  # (boxes, 1, columns)
    batch = ops.reshape(box_ind, (-1, 1, 1))
    if method == "nearest":
        result = pixels(image, batch, inside(ops.floor(y + 0.5), height), inside(ops.floor(x + 0.5), width))
    else:
        top, left = ops.stop_gradient(ops.floor(y)), ops.stop_gradient(ops.floor(x))
        down, right = (y - top)[..., None], (x - left)[..., None]
        first, second = inside(top, height), inside(ops.ceil(y), height)
        near, far = inside(left, width), inside(ops.ceil(x), width)
        above = pixels(image, batch, first, near) * (1 - right) + pixels(image, batch, first, far) * right
        below = pixels(image, batch, second, near) * (1 - right) + pixels(image, batch, second, far) * right
        result = above * (1 - down) + below * down
    seen_y, seen_x = on_image(y, height), on_image(x, width)
    seen = ops.logical_and(seen_y, seen_x)[..., None]
    return ops.cast(ops.where(seen, result, ops.full_like(result, extrapolation_value)), context.compute_dtype)


def folded(at: Value, length: Value, mode: str) -> Value:
    """Places beyond an axis brought back by TensorFlow's fill mode. Source: kernels/image/image_ops.h, map_coord."""
    n = ops.cast(length, dtype_of(at))
    if mode == "REFLECT":
        turned = at - 2 * n * ops.floor(at / (2 * n))
        at = ops.where(turned >= n, 2 * n - turned - 1, turned)
    elif mode == "WRAP":
        # Not a plain remainder: beyond the ends TensorFlow counts periods of length - 1.
        period = ops.maximum(n - 1, 1)
        low = at + n * (ops.floor(-at / period) + 1)
        high = at - n * ops.floor(at / period)
        at = ops.where(at < 0, low, ops.where(at > n - 1, high, at))
    if mode != "CONSTANT":
        at = ops.clip(at, 0, n - 1)
    return at


def projected(
    images: Value, transforms: Value, output_shape: Value, fill_value: Value, interpolation: str, fill_mode: str
) -> Value:
    """`images` seen through projective maps (1 or batch, 8), from output to input places."""
    images = ops.convert_to_tensor(images)
    dtype = dtype_of(images)
    wide = ops.cast(images, "float32") if dtype not in {"float32", "float64"} else images
    batch, height, width, _ = ops.shape(images)
    rows, columns = sizes(output_shape)
    if 0 in static_shape(images):  # JAX reads no pixel of nothing
        return ops.zeros((batch, rows, columns, images.shape[-1]), dtype)
    grid_y = ops.reshape(ops.arange(rows, dtype="float32"), (-1, 1))
    grid_x = ops.reshape(ops.arange(columns, dtype="float32"), (1, -1))
    a = [ops.reshape(ops.cast(transforms, "float32")[:, i], (-1, 1, 1)) for i in range(8)]
    k = a[6] * grid_x + a[7] * grid_y + 1.0
    safe = ops.where(k == 0, ops.ones_like(k), k)
    x = folded((a[0] * grid_x + a[1] * grid_y + a[2]) / safe, width, fill_mode)
    y = folded((a[3] * grid_x + a[4] * grid_y + a[5]) / safe, height, fill_mode)
    number = ops.reshape(ops.arange(batch, dtype="int32"), (-1, 1, 1))
    fill = ops.cast(fill_value, dtype_of(wide))

    def read(row: Value, column: Value) -> Value:
        found = pixels(wide, number, inside(row, height), inside(column, width))
        there_y = ops.logical_and(row >= 0, row < ops.cast(height, "float32"))
        there_x = ops.logical_and(column >= 0, column < ops.cast(width, "float32"))
        there = ops.logical_and(ops.logical_and(there_y, there_x), k != 0)
        return ops.where(there[..., None], found, fill)

    def away(at: Value) -> Value:  # C's round
        return ops.sign(at) * ops.floor(ops.abs(at) + 0.5)

    if interpolation == "NEAREST":
        result = read(away(y), away(x))
    else:
        top, left = ops.floor(y), ops.floor(x)
        down, right = (y - top)[..., None], (x - left)[..., None]
        above = read(top, left) * (1 - right) + read(top, left + 1) * right
        below = read(top + 1, left) * (1 - right) + read(top + 1, left + 1) * right
        result = ops.where((k != 0)[..., None], above * (1 - down) + below * down, fill)
    return cast(result, dtype)


@lowering("ImageProjectiveTransformV2", static=("output_shape",), ignored=("dtype",))
def image_projective_transform_v2(
    images: Value, transforms: Value, output_shape: Value, *, interpolation: str, fill_mode: str = "CONSTANT"
) -> Value:
    """Images rotated, sheared or warped; zero beyond the image."""
    return projected(images, transforms, output_shape, np.float32(0), interpolation, fill_mode)


@lowering("ImageProjectiveTransformV3", static=("output_shape",), ignored=("dtype",))
def image_projective_transform_v3(
    images: Value,
    transforms: Value,
    output_shape: Value,
    fill_value: Value,
    *,
    interpolation: str,
    fill_mode: str = "CONSTANT",
) -> Value:
    """Images rotated, sheared or warped; `fill_value` beyond the image."""
    return projected(images, transforms, output_shape, fill_value, interpolation, fill_mode)


def image_lengths(images: Value) -> Value:
    """Height and width as float32."""
    return ops.cast(ops.stack([ops.convert_to_tensor(n, "int32") for n in ops.shape(images)[1:3]]), "float32")


def half(size: Value) -> Value:
    """Half of a height and width."""
    return ops.convert_to_tensor(np.asarray(size, "float32") / 2)


def glimpses(context: Context, images: Value, size: Value, corners: Value, noise: str, uniform: bool) -> Value:
    """Windows of `images` with their upper left corners at `corners` (batch, 2); noise where they leave the image."""
    images = ops.convert_to_tensor(images)
    if images.shape[0] == 0:  # a backend has no least of nothing, nor reads it
        return ops.zeros((0, int(size[0]), int(size[1]), images.shape[-1]), dtype_of(images))
    height, width = ops.shape(images)[1:3]
    corners = ops.cast(corners, "int32")
    rows = ops.expand_dims(corners[:, :1] + ops.arange(int(size[0]), dtype="int32"), 2)
    columns = ops.expand_dims(corners[:, 1:] + ops.arange(int(size[1]), dtype="int32"), 1)
    batch = ops.reshape(ops.arange(ops.shape(images)[0], dtype="int32"), (-1, 1, 1))
    place = ops.clip(rows, 0, height - 1), ops.clip(columns, 0, width - 1)
    taken = pixels(images, batch, *place)
    within = ops.logical_and(ops.logical_and(rows >= 0, rows < height), ops.logical_and(columns >= 0, columns < width))
    kind = noise or ("uniform" if uniform else "gaussian")
    if kind == "zero":
        filler = ops.zeros_like(taken)
    elif kind == "uniform":
        least, greatest = (f(images, axis=(1, 2, 3), keepdims=True) for f in (ops.min, ops.max))
        drawn = keras.random.uniform(ops.shape(taken), dtype=dtype_of(images), seed=context.next_seed())
        filler = least + drawn * (greatest - least)
    else:
        mean, deviation = (f(images, axis=(1, 2), keepdims=True) for f in (ops.mean, ops.std))
        drawn = mean + deviation * keras.random.normal(ops.shape(taken), dtype=dtype_of(images), seed=context.next_seed())
        filler = ops.clip(drawn, ops.min(images, axis=(1, 2), keepdims=True), ops.max(images, axis=(1, 2), keepdims=True))
    return ops.where(ops.expand_dims(within, -1), taken, filler)


@lowering("ExtractGlimpse", context=True, stateful=True, static=("size",), gradient="none")
def extract_glimpse(
    context: Context,
    input: Value,
    size: Value,
    offsets: Value,
    *,
    centered: bool = True,
    normalized: bool = True,
    uniform_noise: bool = True,
    noise: str = "uniform",
) -> Value:
    """Windows around places; the first version halves distances from the middle even where they are pixels."""
    lengths = image_lengths(input)
    at = ops.cast(offsets, "float32")
    at = at * lengths if normalized else at
    at = (at + lengths) / 2 if centered else at
    return glimpses(context, input, size, at - half(size), noise, uniform_noise)


@lowering("ExtractGlimpseV2", context=True, stateful=True, static=("size",), gradient="none")
def extract_glimpse_v2(
    context: Context,
    input: Value,
    size: Value,
    offsets: Value,
    *,
    centered: bool = True,
    normalized: bool = True,
    uniform_noise: bool = True,
    noise: str = "uniform",
) -> Value:
    """Windows at places: around them where they are normalized and centered, else from them on."""
    lengths = image_lengths(input)
    at = ops.cast(offsets, "float32")
    if normalized:
        at = at * lengths
        at = (at + lengths) / 2 - half(size) if centered else at
    elif centered:
        at = at + lengths / 2
    return glimpses(context, input, size, at, noise, uniform_noise)
