"""Crops of boxes and projective transforms."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(19)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def i(*values):
    return np.array(values, "int32")


BOXES = np.array([[0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], [-0.3, 0.4, 0.7, 1.4], [0.91, 0.83, 0.24, 0.13]], "float32")
WHICH = i(0, 1, 1, 0)
TURN = np.array([[0.8, -0.6, 2.1, 0.6, 0.8, -1.3, 0.01, -0.02], [1.1, 0.2, -3.3, 0, 0.9, 4.2, 0, 0]], "float32")

OFFSETS = np.array([[0.1, -0.2], [-0.7, 0.9], [0.95, -1.3]], "float32")

CASES = [
    Case("CropAndResize", "bilinear", (f(2, 7, 6, 3), BOXES, WHICH, i(4, 5))),
    Case("CropAndResize", "one-pixel", (f(2, 7, 6, 3), BOXES, WHICH, i(1, 1))),
    Case("CropAndResize", "extrapolated", (f(2, 7, 6, 3), BOXES, WHICH, i(3, 3)), {"extrapolation_value": -2.5}),
    Case("CropAndResize", "nearest", (f(2, 7, 6, 3), BOXES, WHICH, i(4, 5)), {"method": "nearest"}, gradient=False),
    Case("CropAndResize", "uint8", (R.integers(0, 255, (2, 5, 5, 1)).astype("uint8"), BOXES, WHICH, i(3, 3)), gradient=False),
    Case("CropAndResize", "no-boxes", (f(2, 7, 6, 3), BOXES[:0], WHICH[:0], i(4, 5)), gradient=False),
    *[
        Case(
            "ImageProjectiveTransformV3",
            f"{mode.lower()}-{interpolation.lower()}",
            (f(2, 6, 7, 2), TURN, i(5, 8), np.array(0.5, "float32")),
            {"interpolation": interpolation, "fill_mode": mode},
            gradient=False,
        )
        for mode in ("CONSTANT", "REFLECT", "WRAP", "NEAREST")
        for interpolation in ("NEAREST", "BILINEAR")
    ],
    Case(
        "ImageProjectiveTransformV2",
        "one-transform",
        (f(2, 6, 7, 2), TURN[:1], i(6, 7)),
        {"interpolation": "BILINEAR"},
        gradient=False,
    ),
    Case(
        "ImageProjectiveTransformV2",
        "uint8",
        (R.integers(0, 255, (1, 6, 7, 2)).astype("uint8"), TURN[:1], i(6, 7)),
        {"interpolation": "NEAREST"},
        gradient=False,
    ),
    *[
        Case(op, id, (f(3, 6, 7, 2), i(3, 4), OFFSETS * scale), {"noise": "zero", "uniform_noise": False} | own, gradient=False)
        for op in ("ExtractGlimpse", "ExtractGlimpseV2")
        for id, scale, own in (
            ("centered", 1, {}),
            ("from-the-corner", 1, {"centered": False}),
            ("pixels", 4, {"normalized": False}),
            ("pixels-from-the-corner", 4, {"centered": False, "normalized": False}),
        )
    ],
    Case("ExtractGlimpseV2", "inside", (f(1, 6, 7, 2), i(3, 4), OFFSETS[:1] * 0), gradient=False),
]
