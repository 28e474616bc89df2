"""Resizes in every combination of corners and centres, up and down, and free scaling."""

import numpy as np

from lowering.case import Case

R = np.random.default_rng(16)


def f(*shape, dtype="float32"):
    return R.standard_normal(shape).astype(dtype)


def i(*values):
    return np.array(values, "int32")


CORNERS = {
    "legacy": {},
    "aligned": {"align_corners": True},
    "half-pixel": {"half_pixel_centers": True},
}
SIZES = {"up": i(7, 11), "down": i(3, 2), "mixed": i(9, 2), "same": i(5, 6), "double": i(10, 12), "one": i(1, 1)}
SCALE = np.array([0.6, 1.3], "float32")
KERNELS = ("lanczos1", "lanczos3", "lanczos5", "gaussian", "box", "triangle", "keyscubic", "mitchellcubic")

CASES = [
    *[
        Case(op, f"{how}-{name}", (f(2, 5, 6, 3), size), attrs)
        for op in ("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic")
        for how, attrs in CORNERS.items()
        for name, size in SIZES.items()
    ],
    *[Case(op, "half", (f(1, 4, 4, 2, dtype="float16"), i(6, 3))) for op in ("ResizeBilinear", "ResizeNearestNeighbor")],
    Case("ResizeBilinear", "uint8", (R.integers(0, 255, (1, 4, 5, 3)).astype("uint8"), i(7, 3)), gradient=False),
    Case("ResizeBilinear", "double", (f(1, 4, 5, 2, dtype="float64"), i(7, 3))),
    Case("ResizeBilinear", "empty-batch", (f(0, 4, 5, 2), i(7, 3))),
    Case("ResizeNearestNeighbor", "uint8", (R.integers(0, 255, (1, 4, 5, 3)).astype("uint8"), i(7, 3)), gradient=False),
    *[Case("ResizeArea", name, (f(2, 5, 6, 3), size), gradient=False) for name, size in SIZES.items()],
    Case("ResizeArea", "aligned", (f(2, 5, 6, 3), i(3, 4)), {"align_corners": True}, gradient=False),
    *[
        Case("ScaleAndTranslate", f"{kernel}-{smooth}", (f(1, 6, 7, 2), i(4, 9), f(2) * 0 + size, f(2)), attrs, gradient=False)
        for kernel in KERNELS
        for smooth, size, attrs in (
            ("down", np.array([0.6, 1.3], "float32"), {"kernel_type": kernel}),
            ("rough", np.array([0.6, 1.3], "float32"), {"kernel_type": kernel, "antialias": False}),
        )
    ],
    Case(
        "ScaleAndTranslate",
        "gradient",
        (f(1, 6, 7, 2), i(4, 9), np.array([0.6, 1.3], "float32"), f(2)),
        {"kernel_type": "triangle"},
    ),
    *[
        Case(op, how, (f(2, 7, 4, 3), f(2, 5, 6, 3)), attrs, gradient=False)
        for op in ("ResizeBilinearGrad", "ResizeBicubicGrad")
        for how, attrs in CORNERS.items()
    ],
    *[Case("ResizeNearestNeighborGrad", how, (f(2, 7, 4, 3), i(5, 6)), attrs, gradient=False) for how, attrs in CORNERS.items()],
    Case(
        "FusedPadConv2D",
        "reflect",
        (f(1, 5, 6, 2), np.array([[0, 0], [1, 2], [2, 1], [0, 0]], "int32"), f(3, 3, 2, 3)),
        {"mode": "REFLECT", "strides": (1, 1, 1, 1), "padding": "VALID"},
        gradient=False,
    ),
    Case(
        "FusedResizeAndPadConv2D",
        "symmetric-stride2",
        (f(1, 5, 6, 2), i(8, 9), np.array([[0, 0], [1, 2], [2, 1], [0, 0]], "int32"), f(3, 3, 2, 3)),
        {"mode": "SYMMETRIC", "strides": (1, 2, 2, 1), "padding": "SAME"},
        gradient=False,
    ),
]
