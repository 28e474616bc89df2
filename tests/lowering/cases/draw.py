"""Boxes in images: outside, upside down, more than there are colours."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(43)
IMAGES = R.random((2, 6, 7, 3)).astype("float32")
BOXES = np.array([[0.1, 0.2, 0.7, 0.9], [-0.5, 0.3, 0.4, 1.6], [0.8, 0.1, 0.2, 0.5], [1.2, 0, 2, 1]], "float32")
BOXES = np.stack([BOXES, BOXES[::-1] * 0.9])
MANY = R.random((1, 12, 4)).astype("float32") + np.array([0, 0, 1, 1], "float32")


def case(op, id, *inputs):
    return Case(op, id, inputs, gradient=False)


CASES = [
    case("DrawBoundingBoxes", "boxes", IMAGES, BOXES),
    case("DrawBoundingBoxes", "half", IMAGES.astype("float16"), BOXES),
    case("DrawBoundingBoxes", "grey-many", IMAGES[:1, :, :, :1], MANY / 2),
    case("DrawBoundingBoxes", "nothing", IMAGES, BOXES[:, :0]),
    case("DrawBoundingBoxesV2", "colours", IMAGES, BOXES, R.random((3, 4)).astype("float32")),
    case("DrawBoundingBoxesV2", "no-colours", np.ones((2, 4, 4, 4), "float32"), BOXES, np.zeros((0, 4), "float32")),
]
