"""Random crops of images: of a given size anywhere, and of a random size and shape that hold enough of an object.

The numbers are not TensorFlow's, but their distribution is. How large the second kind of crop is differs from draw to draw: what
cuts by it runs outside of compiled steps on JAX.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from thaw.lowering.random import number_of, seed_stream
from thaw.lowering.registry import lowering
from thaw.lowering.run import Context
from thaw.lowering.values import Value, cast, dtype_of, on_device, sizes, static_shape

ASPECTS, AREAS = (0.75, 1.33), (0.05, 1.0)
SMALLEST = 1.0
"""The area in pixels from which on an object or a crop counts."""


@lowering("RandomCrop", context=True, stateful=True, static=("size",), ignored=("seed", "seed2"), gradient="none")
def random_crop(context: Context, image: Value, size: Value) -> Value:
    """A part (height, width) of an image, from anywhere in it."""
    wanted, image = sizes(size), on_device(image)
    for have, want in zip(static_shape(image), wanted, strict=False):
        if have is not None and have < want:
            raise ValueError(
                f"RandomCrop of {wanted} pixels from an image of shape {static_shape(image)}: expected a greater image"
            )
    drawn = keras.random.uniform((2,), seed=context.next_seed())
    for axis, length in enumerate(wanted):
        room = ops.cast(ops.shape(image)[axis] - length, "int32")
        first = ops.minimum(ops.cast(drawn[axis] * ops.cast(room + 1, "float32"), "int32"), room)
        image = ops.take(image, first + ops.arange(length, dtype="int32"), axis=axis)
    return image


def _sides(height: Value, aspect: Value) -> tuple[Value, Value, Value]:
    width = ops.round(height * aspect)
    return height, width, height * width


def _candidates(drawn: Value, height: Value, width: Value, aspects: Sequence[float], areas: Sequence[float]) -> list[Value]:
    """Crops of an image of that size, one for each row of four random numbers: whether it may be, top, left, height, width.

    Source: TensorFlow, sample_distorted_bounding_box_op.cc, GenerateRandomCrop.
    """
    aspect = drawn[:, 0] * (aspects[1] - aspects[0]) + aspects[0]
    least, most = areas[0] * width * height, areas[1] * width * height
    tallest = ops.round(ops.sqrt(most / aspect))
    fitting = ops.floor((width + 0.5 - 1e-7) / aspect)
    fitting = fitting - ops.cast(ops.round(fitting * aspect) > width, "float32")
    tallest = ops.minimum(ops.where(ops.round(tallest * aspect) > width, fitting, tallest), height)
    lowest = ops.minimum(ops.round(ops.sqrt(least / aspect)), tallest)
    tall = ops.minimum(lowest + ops.floor(drawn[:, 1] * (tallest - lowest + 1)), tallest)
    tall, wide, area = _sides(tall, aspect)
    tall, wide, area = _sides(ops.where(area < least, tall + 1, tall), aspect)  # rounding may have made it too small
    tall, wide, area = _sides(ops.where(area > most, tall - 1, tall), aspect)
    fits = ops.logical_and(ops.logical_and(area >= least, area <= most), ops.logical_and(tall <= height, wide <= width))
    fits = ops.logical_and(fits, area >= SMALLEST)
    return [fits, ops.floor(drawn[:, 2] * (height - tall)), ops.floor(drawn[:, 3] * (width - wide)), tall, wide]


def _hold_enough(crops: Sequence[Value], boxes: Value, least: Value) -> Value:
    """Whether each crop (top, left, height, width) holds that share of one of the boxes, given in pixels (boxes, 4)."""
    top, left, tall, wide = (ops.expand_dims(c, 1) for c in crops)
    y0, x0, y1, x1 = (ops.expand_dims(boxes[:, i], 0) for i in range(4))
    whole = (y1 - y0) * (x1 - x0)
    shared = ops.relu(ops.minimum(y1, top + tall) - ops.maximum(y0, top))
    shared = shared * ops.relu(ops.minimum(x1, left + wide) - ops.maximum(x0, left))
    enough = ops.logical_and(whole >= SMALLEST, shared >= least * whole)
    return ops.any(enough, axis=1)


def _sampled(
    op: str,
    seed: Any,
    image_size: Value,
    boxes: Value,
    least: Value,
    aspects: Sequence[float],
    areas: Sequence[float],
    attempts: int,
    whole: bool,
) -> tuple[Value, Value, Value]:
    """The first of so many crops that fits, else the whole image: where it begins, its size, and both as a box."""
    boxes = ops.reshape(ops.cast(on_device(boxes), "float32"), (-1, 4))
    count = static_shape(boxes)[0]
    if count == 0 and not whole:
        raise ValueError(f"{op} got no bounding boxes. Expected some, or `use_image_if_no_bounding_boxes`")
    size = ops.cast(on_device(image_size), "float32")
    height, width = size[0], size[1]
    pixels = ops.floor(boxes * ops.stack([height, width, height, width]))
    if whole:  # without boxes, the image is one: a box of no size otherwise, which nobody asks about
        alone = ops.cast(ops.equal(ops.shape(boxes)[0], 0), "float32")
        pixels = ops.concatenate([pixels, ops.reshape(ops.stack([0 * height, 0 * width, height, width]) * alone, (1, 4))], axis=0)
    fits, *crops = _candidates(keras.random.uniform((attempts, 4), seed=seed), height, width, aspects, areas)
    fits = ops.logical_and(fits, _hold_enough(crops, pixels, ops.cast(on_device(least), "float32")))
    first, found = ops.argmax(ops.cast(fits, "int32")), ops.any(fits)
    everything = (0 * height, 0 * width, height, width)
    top, left, tall, wide = (ops.where(found, ops.take(c, first), e) for c, e in zip(crops, everything, strict=True))
    box = ops.stack([top / height, left / width, (top + tall) / height, (left + wide) / width])
    dtype = dtype_of(image_size)
    begin, extent = ops.stack([top, left, 0 * top]), ops.stack([tall, wide, 0 * tall - 1])
    return cast(begin, dtype), cast(extent, dtype), ops.reshape(box, (1, 1, 4))


@lowering("SampleDistortedBoundingBox", context=True, stateful=True, ignored=("seed", "seed2"), gradient="none")
def sample_box(
    context: Context,
    image_size: Value,
    bounding_boxes: Value,
    *,
    min_object_covered: float = 0.1,
    aspect_ratio_range: Sequence[float] = ASPECTS,
    area_range: Sequence[float] = AREAS,
    max_attempts: int = 100,
    use_image_if_no_bounding_boxes: bool = False,
) -> tuple[Value, Value, Value]:
    """A random part of an image that holds enough of an object: where it begins, its size, and both as a box."""
    how = (aspect_ratio_range, area_range, max_attempts, use_image_if_no_bounding_boxes)
    least = np.float32(min_object_covered)
    return _sampled("SampleDistortedBoundingBox", context.next_seed(), image_size, bounding_boxes, least, *how)


@lowering("SampleDistortedBoundingBoxV2", context=True, stateful=True, ignored=("seed", "seed2"), gradient="none")
def sample_box_v2(
    context: Context,
    image_size: Value,
    bounding_boxes: Value,
    min_object_covered: Value,
    *,
    aspect_ratio_range: Sequence[float] = ASPECTS,
    area_range: Sequence[float] = AREAS,
    max_attempts: int = 100,
    use_image_if_no_bounding_boxes: bool = False,
) -> tuple[Value, Value, Value]:
    """As SampleDistortedBoundingBox, the share as a tensor."""
    how = (aspect_ratio_range, area_range, max_attempts, use_image_if_no_bounding_boxes)
    name = "SampleDistortedBoundingBoxV2"
    return _sampled(name, context.next_seed(), image_size, bounding_boxes, min_object_covered, *how)


@lowering("StatelessSampleDistortedBoundingBox", context=True, stateful=True, ignored=("Tseed",), gradient="none")
def sample_box_stateless(
    context: Context,
    image_size: Value,
    bounding_boxes: Value,
    min_object_covered: Value,
    seed: Value,
    *,
    aspect_ratio_range: Sequence[float] = ASPECTS,
    area_range: Sequence[float] = AREAS,
    max_attempts: int = 100,
    use_image_if_no_bounding_boxes: bool = False,
) -> tuple[Value, Value, Value]:
    """As SampleDistortedBoundingBoxV2, by the seed."""
    how = (aspect_ratio_range, area_range, max_attempts, use_image_if_no_bounding_boxes)
    number, name = number_of(context, seed_stream(seed)), "StatelessSampleDistortedBoundingBox"
    return _sampled(name, number, image_size, bounding_boxes, min_object_covered, *how)
