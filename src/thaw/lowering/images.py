"""Image files: decoding and encoding, on the host, by Pillow. No gradients.

Imports the registry and the values; Pillow when first used.
"""

import io
from typing import Any

import numpy as np

from thaw.errors import MediaError, MissingLibraryError
from thaw.lowering.registry import lowering
from thaw.lowering.values import Value, numpy_dtype

JPEG_TASTE = ("fancy_upscaling", "try_recover_truncated", "acceptable_fraction", "dct_method")
"""How exactly a JPEG is decoded: the library's own choice is as good."""
JPEG_MARKS = ("optimize_size", "chroma_downsampling", "density_unit", "x_density", "y_density", "xmp_metadata")
"""What a JPEG may carry beside its pixels, and how it is packed."""
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
MAX_PIXELS = 1 << 28
"""Images beyond this are refused before memory is taken."""


def pillow(op: str) -> Any:
    """Pillow's module of images.

    Raises:
        MissingLibraryError: it is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingLibraryError("pillow", f"An image file ({op})", "finetune") from None
    return Image


def opened(op: str, contents: Value) -> Any:
    """The image of `contents`.

    Raises:
        MediaError: it is none, or too large.
    """
    data = bytes(np.asarray(contents).item())
    Image = pillow(op)
    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise MediaError(op, f"got an image of {image.width} x {image.height} pixels", f"at most {MAX_PIXELS} pixels")
        image.load()
    except MediaError:
        raise
    except Exception as error:
        found = f"got {len(data)} bytes that begin with {data[:8]!r}, which are no image ({error})"
        raise MediaError(op, found, "the bytes of a whole image file") from None
    return image


def pixels(op: str, image: Any, channels: int, dtype: str) -> np.ndarray:
    """The pixels (height, width, channels) of one frame; channels 0: as many as the file has."""
    target = numpy_dtype(dtype)
    if image.mode.startswith("I;16") and channels in {0, 1}:
        return scaled(np.asarray(image, "uint16")[..., None], target)
    if channels == 0:
        channels = {"L": 1, "1": 1, "I": 1, "LA": 2, "RGBA": 4}.get(image.mode, 4 if "transparency" in image.info else 3)
    if channels not in MODES:
        raise MediaError(op, f"was asked for {channels} channels", "0, 1, 3 or 4")
    found = np.asarray(image.convert(MODES[channels]), "uint8")
    return scaled(found.reshape(*found.shape[:2], channels), target)


def scaled(found: np.ndarray, target: np.dtype[Any]) -> np.ndarray:
    """`found` in another dtype, its full range as that dtype's: 0 to 1 for floats."""
    if target == found.dtype:
        return found
    if target == np.uint8:
        return np.asarray(found >> 8, target)
    top = np.iinfo(found.dtype).max
    if target.kind == "f":
        return (found / np.float32(top)).astype(target)
    return np.asarray(found.astype(target) * np.asarray(np.iinfo(target).max // top, target))


@lowering(
    "DecodeJpeg",
    host=True,
    gradient="none",
    ignored=JPEG_TASTE,
)
def decode_jpeg(contents: Value, *, channels: int = 0, ratio: int = 1) -> Value:
    """Pixels (height, width, channels) between 0 and 255; `ratio` takes every so many of them."""
    image = opened("DecodeJpeg", contents)
    if ratio > 1:
        image = image.reduce(ratio)
    return pixels("DecodeJpeg", image, channels, "uint8")


@lowering(
    "DecodeAndCropJpeg",
    host=True,
    gradient="none",
    ignored=(*JPEG_TASTE, "ratio"),
)
def decode_and_crop_jpeg(contents: Value, crop_window: Value, *, channels: int = 0) -> Value:
    """DecodeJpeg's pixels from (top, left) on, (height, width) of them."""
    top, left, height, width = (int(n) for n in crop_window)
    whole = pixels("DecodeAndCropJpeg", opened("DecodeAndCropJpeg", contents), channels, "uint8")
    return whole[top : top + height, left : left + width]


@lowering("DecodePng", host=True, gradient="none")
def decode_png(contents: Value, *, channels: int = 0, dtype: str = "uint8") -> Value:
    """Pixels (height, width, channels), 8 or 16 bits deep."""
    return pixels("DecodePng", opened("DecodePng", contents), channels, dtype)


@lowering("DecodeBmp", host=True, gradient="none")
def decode_bmp(contents: Value, *, channels: int = 0) -> Value:
    """Pixels (height, width, channels) between 0 and 255."""
    return pixels("DecodeBmp", opened("DecodeBmp", contents), channels, "uint8")


def frames(op: str, image: Any, channels: int, dtype: str) -> np.ndarray:
    """Every frame of an animation: (frames, height, width, channels)."""
    from PIL import ImageSequence

    return np.stack([pixels(op, frame.copy(), channels, dtype) for frame in ImageSequence.Iterator(image)])


@lowering("DecodeGif", host=True, gradient="none")
def decode_gif(contents: Value) -> Value:
    """Every frame's pixels (frames, height, width, 3) between 0 and 255."""
    return frames("DecodeGif", opened("DecodeGif", contents), 3, "uint8")


@lowering("DecodeWebP", host=True, gradient="none")
def decode_webp(contents: Value, *, channels: int = 0, dtype: str = "uint8") -> Value:
    """Every frame's pixels (frames, height, width, channels) between 0 and 255."""
    return frames("DecodeWebP", opened("DecodeWebP", contents), channels, dtype)


@lowering("DecodeImage", host=True, gradient="none")
def decode_image(contents: Value, *, channels: int = 0, dtype: str = "uint8", expand_animations: bool = True) -> Value:
    """Pixels of a JPEG, PNG, BMP, GIF or WebP file, whichever it is; of every frame of the last two if `expand_animations`."""
    image = opened("DecodeImage", contents)
    if image.format in {"GIF", "WEBP"}:
        every = frames("DecodeImage", image, channels or (3 if image.format == "GIF" else 0), dtype)
        return every if expand_animations else every[0]
    return pixels("DecodeImage", image, channels, dtype)


@lowering("ExtractJpegShape", host=True, gradient="none")
def extract_jpeg_shape(contents: Value, *, output_type: str = "int32") -> Value:
    """Height, width and channels of a JPEG file."""
    image = opened("ExtractJpegShape", contents)
    return np.array([image.height, image.width, len(image.getbands())], output_type)


@lowering("EncodePng", host=True, gradient="none")
def encode_png(image: Value, *, compression: int = -1) -> Value:
    """A PNG file of pixels (height, width, channels), or one for each image of a batch."""
    Image = pillow("EncodePng")
    flat = image.reshape(-1, *image.shape[-3:])
    files = np.empty(len(flat), dtype=object)
    for i, one in enumerate(flat):
        out = io.BytesIO()
        level = {} if compression < 0 else {"compress_level": compression}
        Image.fromarray(one[..., 0] if one.shape[-1] == 1 else one).save(out, "PNG", **level)
        files[i] = out.getvalue()
    return files.reshape(image.shape[:-3])


@lowering(
    "EncodeJpeg",
    host=True,
    gradient="none",
    ignored=JPEG_MARKS,
)
def encode_jpeg(image: Value, *, format: str = "", quality: int = 95, progressive: bool = False) -> Value:
    """A JPEG file of pixels (height, width, 1 or 3)."""
    return _jpeg("EncodeJpeg", image, grey=format == "grayscale", quality=quality, progressive=progressive)


def _jpeg(op: str, image: Value, *, grey: bool = False, **how: Any) -> Value:
    Image = pillow(op)
    out = io.BytesIO()
    Image.fromarray(image[..., 0] if grey or image.shape[-1] == 1 else image).save(out, "JPEG", **how)
    return np.array(out.getvalue(), dtype=object)


@lowering("EncodeJpegVariableQuality", host=True, gradient="none")
def encode_jpeg_of_quality(images: Value, quality: Value) -> Value:
    """As EncodeJpeg, the quality as a tensor."""
    return _jpeg("EncodeJpegVariableQuality", images, quality=int(quality))
