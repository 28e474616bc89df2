"""Boxes drawn into images. On the host, without gradients.

Imports the registry and the way to the host.
"""

import numpy as np

from thaw.lowering.detection import on_host
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, dtype_of

COLORS = np.array(
    [
        [1, 1, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 0, 1], [0.5, 0, 0.5, 1], [0.5, 0.5, 0, 1], [0.5, 0, 0, 1],
        [0, 0, 0.5, 1], [0, 1, 1, 1], [1, 0, 1, 1],
    ],
    "float32",
)  # fmt: skip
"""What boxes are drawn in, in turn, where nothing else is said. Source: tensorflow/core/kernels/image/draw_bounding_box_op.cc."""


def drawn(images: np.ndarray, boxes: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """The images with the outlines of their boxes, as far as these lie inside."""
    canvas = images.copy()
    depth = canvas.shape[3]
    if not colors.size:
        colors = COLORS.copy()
        colors[:, 0] = 1 if depth == 1 else colors[:, 0]
    last = np.array(canvas.shape[1:3], "float32") - 1
    for image, own in zip(canvas, boxes, strict=True):
        for number, box in enumerate(own):
            (top, left), (bottom, right) = ((corner * last).astype(np.int64) for corner in (box[:2], box[2:]))
            height, width = image.shape[:2]
            if top > bottom or left > right or top >= height or left >= width or bottom < 0 or right < 0:
                continue
            color = colors[number % len(colors), :depth].astype(canvas.dtype)
            rows, columns = slice(max(top, 0), min(bottom, height - 1) + 1), slice(max(left, 0), min(right, width - 1) + 1)
            for row in (r for r in (top, bottom) if 0 <= r < height):
                image[row, columns] = color
            for column in (c for c in (left, right) if 0 <= c < width):
                image[rows, column] = color
    return canvas


@lowering("DrawBoundingBoxes", gradient="none")
def draw_bounding_boxes(images: Value, boxes: Value) -> Value:
    """The outlines of boxes, in ten colours in turn."""
    return draw_colored_boxes(images, boxes, np.zeros((0, 4), "float32"))


@lowering("DrawBoundingBoxesV2", gradient="none")
def draw_colored_boxes(images: Value, boxes: Value, colors: Value) -> Value:
    """The outlines of boxes, in given colours in turn."""

    def run(images: np.ndarray, boxes: np.ndarray, colors: np.ndarray) -> list[np.ndarray]:
        return [drawn(images, boxes, colors)]

    return on_host(run, [(tuple(images.shape), dtype_of(images))], [images, boxes, colors], "images")[0]
