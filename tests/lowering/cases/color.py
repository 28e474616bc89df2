"""Contrast, hue, saturation and colour spaces, with greys and blacks among the pixels."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(18)


def image(*shape, dtype="float32"):
    return R.random(shape).astype(dtype)


def number(value):
    return np.array(value, "float32")


EDGES = np.array([[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]], "float32")

CASES = [
    Case("AdjustContrastv2", "batch", (image(2, 4, 5, 3), number(1.7)), gradient=False),
    Case("AdjustContrastv2", "half", (image(1, 4, 5, 3, dtype="float16"), number(0.3)), gradient=False),
    Case("RGBToHSV", "batch", (image(2, 4, 5, 3),)),
    Case("RGBToHSV", "edges", (EDGES,), gradient=False),
    Case("RGBToHSV", "double", (image(6, 3, dtype="float64"),), gradient=False),
    Case("HSVToRGB", "batch", (image(2, 4, 5, 3),), gradient=False),
    Case("HSVToRGB", "edges", (EDGES,), gradient=False),
    Case("AdjustHue", "forward", (image(2, 4, 5, 3), number(0.3)), gradient=False),
    Case("AdjustHue", "backward", (image(2, 4, 5, 3), number(-0.7)), gradient=False),
    Case("AdjustHue", "edges", (EDGES[None], number(0.25)), gradient=False),
    Case("AdjustSaturation", "more", (image(2, 4, 5, 3), number(1.5)), gradient=False),
    Case("AdjustSaturation", "less", (image(2, 4, 5, 3), number(0.4)), gradient=False),
    Case("AdjustContrast", "numbers", (image(2, 4, 5, 3), number(2.5), number(-0.2), number(0.9)), gradient=False),
    Case(
        "AdjustContrast",
        "bytes",
        (EDGES.reshape(1, 2, 4, 3).astype("uint8") * 200, number(0.5), number(0), number(255)),
        gradient=False,
    ),
]
