"""Colours: contrast, hue, saturation, and the way between RGB and HSV. Channels are last; values between 0 and 1.

Plain arithmetic on float images, so that gradients flow where TensorFlow itself has none.
"""

from keras import ops

from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, dtype_of, static_shape


@lowering("AdjustContrastv2")
def adjust_contrast(images: Value, contrast_factor: Value) -> Value:
    """Each channel's distance from its mean over the image, times a factor."""
    images = ops.convert_to_tensor(images)
    wide = ops.cast(images, "float32") if dtype_of(images) == "float16" else images
    mean = ops.mean(wide, axis=(-3, -2), keepdims=True)
    return ops.cast((wide - mean) * ops.cast(contrast_factor, dtype_of(wide)) + mean, dtype_of(images))


@lowering("AdjustContrast", gradient="none")
def adjust_contrast_within(images: Value, contrast_factor: Value, min_value: Value, max_value: Value) -> Value:
    """As AdjustContrastv2, of any numbers and in float32, the result between two values."""
    result = adjust_contrast(ops.cast(images, "float32"), contrast_factor)
    return ops.clip(result, ops.cast(min_value, "float32"), ops.cast(max_value, "float32"))


def to_hsv(images: Value) -> tuple[Value, Value, Value]:
    """Hue, saturation and value of RGB images, each (..., height, width).

    Source: tensorflow/core/kernels/image/colorspace_op.h.
    """
    images = ops.convert_to_tensor(images)
    red, green, blue = images[..., 0], images[..., 1], images[..., 2]
    if 0 in static_shape(images):  # PyTorch has no maximum of nothing
        return red, green, blue
    value = ops.max(images, axis=-1)
    spread = value - ops.min(images, axis=-1)
    zero, one = ops.zeros_like(value), ops.ones_like(value)
    saturation = ops.where(value > 0, spread / ops.where(value > 0, value, one), zero)
    norm = 1 / (6 * ops.where(spread > 0, spread, one))
    hue = ops.where(
        red == value,
        norm * (green - blue),
        ops.where(green == value, norm * (blue - red) + 2 / 6, norm * (red - green) + 4 / 6),
    )
    hue = ops.where(spread > 0, hue, zero)
    return ops.where(hue < 0, hue + 1, hue), saturation, value


def to_rgb(hue: Value, saturation: Value, value: Value) -> Value:
    """RGB images (..., 3) of hue, saturation and value."""
    turn = hue * 6
    shares = (
        ops.abs(turn - 3) - 1,
        2 - ops.abs(turn - 2),
        2 - ops.abs(turn - 4),
    )
    return ops.stack([((1 - saturation) + saturation * ops.clip(s, 0, 1)) * value for s in shares], axis=-1)


@lowering("RGBToHSV")
def rgb_to_hsv(images: Value) -> Value:
    """Hue, saturation and value of RGB images."""
    return ops.stack(to_hsv(images), axis=-1)


@lowering("HSVToRGB", gradient="none")
def hsv_to_rgb(images: Value) -> Value:
    """RGB images of hue, saturation and value."""
    images = ops.convert_to_tensor(images)
    return to_rgb(images[..., 0], images[..., 1], images[..., 2])


@lowering("AdjustHue", gradient="none")
def adjust_hue(images: Value, delta: Value) -> Value:
    """The hue turned by `delta` of a full turn."""
    hue, saturation, value = to_hsv(images)
    turned = hue + ops.cast(delta, dtype_of(images))
    return to_rgb(turned - ops.floor(turned), saturation, value)


@lowering("AdjustSaturation", gradient="none")
def adjust_saturation(images: Value, scale: Value) -> Value:
    """The saturation times `scale`, between 0 and 1."""
    hue, saturation, value = to_hsv(images)
    return to_rgb(hue, ops.clip(saturation * ops.cast(scale, dtype_of(images)), 0, 1), value)
