"""Random crops of images: they lie in the image, hold enough of an object, and are distributed as TensorFlow's."""

import keras
import numpy as np
import pytest

from lowering.test_random import draw_all
from thaw.errors import LoweringError

IMAGE = np.arange(6 * 9 * 2, dtype="float32").reshape(6, 9, 2)
SIZE = np.array([120, 160, 3], "int32")
BOXES = np.array([[[0.2, 0.3, 0.7, 0.8], [0.0, 0.0, 0.25, 0.2]]], "float32")
SEED = np.array([3, 4], "int64")
DRAWS = 100

# What TensorFlow 2.21 answers with for these, over 8000 draws: mean and deviation of top, left, height and width.
DISTRIBUTIONS = [
    (0.5, (0.75, 1.33), (0.05, 1.0), (12.344, 32.58, 91.466, 95.869), (11.025, 22.249, 18.209, 23.504)),
    (0.9, (0.5, 2.0), (0.3, 0.6), (14.0, 27.11, 84.952, 112.197), (8.789, 15.642, 13.399, 17.461)),
]


@pytest.mark.parametrize(("least", "aspects", "areas", "mean", "deviation"), DISTRIBUTIONS, ids=["half", "most"])
def test_boxes_are_distributed_as_tensorflows(least, aspects, areas, mean, deviation):
    generator = keras.random.SeedGenerator(7)
    attrs = {"aspect_ratio_range": aspects, "area_range": areas}
    found = np.array([crop_of(generator, least, attrs) for _ in range(DRAWS)])
    top, left, height, width = found.T
    assert (found >= 0).all() and (top + height <= 120).all() and (left + width <= 160).all()
    ratio, area = width / height, width * height / (120 * 160)
    assert (ratio > aspects[0] - 0.02).all() and (ratio < aspects[1] + 0.02).all()
    assert (area >= areas[0]).all() and (area <= areas[1]).all()
    share = np.max([overlap(found, box) for box in ([24, 48, 84, 128], [0, 0, 30, 32])], axis=0)
    assert (share >= least - 1e-6).all()
    np.testing.assert_array_less(np.abs(found.mean(0) - mean), 5 * np.array(deviation) / DRAWS**0.5)
    np.testing.assert_allclose(found.std(0), deviation, rtol=0.2)


def crop_of(generator, least, attrs):
    begin, size, box = draw_all("SampleDistortedBoundingBoxV2", (SIZE, BOXES, np.float32(least)), attrs, generator, 3)
    assert begin.dtype == size.dtype == np.int32
    assert (begin[2], size[2]) == (0, -1)
    edges = np.array([*begin[:2], *(begin[:2] + size[:2])]) / [120, 160, 120, 160]
    np.testing.assert_allclose(box, edges.reshape(1, 1, 4), atol=1e-6)
    return [*begin[:2], *size[:2]]


def overlap(crops, box):
    top, left, height, width = crops.T
    rows = np.minimum(top + height, box[2]) - np.maximum(top, box[0])
    columns = np.minimum(left + width, box[3]) - np.maximum(left, box[1])
    return np.maximum(rows, 0) * np.maximum(columns, 0) / ((box[2] - box[0]) * (box[3] - box[1]))


def test_where_nothing_fits_the_whole_image_is_taken():
    attrs = {"aspect_ratio_range": (5.0, 6.0), "area_range": (0.9, 1.0), "min_object_covered": 0.1}
    begin, size, box = draw_all("SampleDistortedBoundingBox", (SIZE, BOXES), attrs, keras.random.SeedGenerator(7), 3)
    assert (begin.tolist(), size.tolist(), box.ravel().tolist()) == ([0, 0, 0], [120, 160, -1], [0, 0, 1, 1])


def test_without_boxes_the_image_is_the_object_if_asked():
    nothing, generator = np.zeros((1, 0, 4), "float32"), keras.random.SeedGenerator(7)
    attrs = {"use_image_if_no_bounding_boxes": True, "min_object_covered": 0.6}
    _, size, _ = draw_all("SampleDistortedBoundingBox", (SIZE, nothing), attrs, generator, 3)
    assert size[0] * size[1] >= 0.6 * 120 * 160
    with pytest.raises(LoweringError, match="got no bounding boxes"):
        draw_all("SampleDistortedBoundingBox", (SIZE, nothing), {}, generator, 3)


def test_a_seed_gives_the_same_box():
    generator = keras.random.SeedGenerator(7)
    inputs = (SIZE.astype("int64"), BOXES, np.float32(0.3))
    one, two, other = (
        draw_all("StatelessSampleDistortedBoundingBox", (*inputs, seed), {}, generator, 3) for seed in (SEED, SEED, SEED + 1)
    )
    assert one[0].tolist() == two[0].tolist()
    assert one[0].tolist() + one[1].tolist() != other[0].tolist() + other[1].tolist()


def test_crops_come_from_everywhere():
    generator = keras.random.SeedGenerator(7)
    corners = set()
    for _ in range(60):
        (crop,) = draw_all("RandomCrop", (IMAGE, np.array([5, 7], "int64")), {}, generator, 1)
        top, left = divmod(int(crop[0, 0, 0]) // 2, 9)
        np.testing.assert_array_equal(crop, IMAGE[top : top + 5, left : left + 7])
        corners.add((top, left))
    assert corners == {(y, x) for y in range(2) for x in range(3)}


def test_a_crop_greater_than_the_image_is_refused():
    with pytest.raises(LoweringError, match="expected a greater image"):
        draw_all("RandomCrop", (IMAGE, np.array([7, 7], "int64")), {}, keras.random.SeedGenerator(7), 1)
