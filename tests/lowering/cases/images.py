"""Image files. Encoders and JPEG, whose bytes differ between libraries, are tested in test_images.py."""

import io

import numpy as np
from PIL import Image

from lowering.case import Case

R = np.random.default_rng(25)
ELSEWHERE = dict.fromkeys(
    ("DecodeJpeg", "DecodeAndCropJpeg", "EncodePng", "EncodeJpeg", "ExtractJpegShape", "DecodeGif", "EncodeJpegVariableQuality"),
    "test_images.py",
)


def file(kind, *shape, dtype="uint8", **how):
    pixels = R.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **how)
    return np.array(out.getvalue(), dtype=object)


EXACT = {"lossless": True, "exact": True}
CASES = [
    Case("DecodePng", "colour", (file("PNG", 5, 7, 3),), gradient=False),
    Case("DecodePng", "grey", (file("PNG", 5, 7),), gradient=False),
    Case("DecodePng", "alpha", (file("PNG", 5, 7, 4),), gradient=False),
    Case("DecodePng", "alpha-dropped", (file("PNG", 5, 7, 4),), {"channels": 3}, gradient=False),
    Case("DecodePng", "grey-to-colour", (file("PNG", 5, 7),), {"channels": 3}, gradient=False),
    Case("DecodePng", "deep", (file("PNG", 5, 7, dtype="uint16"),), {"dtype": "uint16"}, gradient=False),
    Case("DecodeBmp", "colour", (file("BMP", 5, 7, 3),), gradient=False),
    Case("DecodeImage", "png", (file("PNG", 5, 7, 3),), gradient=False),
    Case("DecodeImage", "png-as-floats", (file("PNG", 5, 7, 3),), {"channels": 3, "dtype": "float32"}, gradient=False),
    Case("DecodeImage", "bmp", (file("BMP", 5, 7, 3),), {"channels": 3}, gradient=False),
    Case("DecodeWebP", "colour", (file("WEBP", 5, 7, 3, **EXACT),), gradient=False),
    Case("DecodeWebP", "alpha", (file("WEBP", 5, 7, 4, **EXACT),), {"channels": 4}, gradient=False),
    Case("DecodeImage", "webp", (file("WEBP", 5, 7, 3, **EXACT),), gradient=False),
    Case("DecodeImage", "webp-as-one", (file("WEBP", 5, 7, 4, **EXACT),), {"expand_animations": False}, gradient=False),
]
