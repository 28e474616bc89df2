"""Image files whose exact pixels or bytes are the library's choice: JPEG, GIF, and the encoders."""

import io

import numpy as np
import pytest
from PIL import Image

from thaw.errors import MediaError
from thaw.lowering import images

SMOOTH = np.stack(np.broadcast_arrays(np.arange(24)[:, None] * 8, np.arange(32) * 6, 90), -1).astype("uint8")


def data(value):
    return np.array(value, dtype=object)


def saved(kind, pixels, **how):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **how)
    return data(out.getvalue())


def test_jpeg_round_trip_keeps_a_smooth_image():
    found = images.decode_jpeg(images.encode_jpeg(SMOOTH))
    assert found.shape == SMOOTH.shape
    assert np.abs(found.astype(int) - SMOOTH).max() <= 12


def test_jpeg_of_lower_quality_is_smaller_and_worse():
    good, bad = (images.encode_jpeg_of_quality(SMOOTH, np.int32(q)) for q in (95, 20))
    assert good.item() == images.encode_jpeg(SMOOTH).item()
    assert len(bad.item()) < len(good.item())
    assert np.abs(images.decode_jpeg(bad).astype(int) - SMOOTH).max() > 4


def test_jpeg_in_grey_and_in_part():
    file = saved("JPEG", SMOOTH, quality=95)
    assert images.decode_jpeg(file, channels=1).shape == (24, 32, 1)
    assert images.decode_jpeg(file, ratio=2).shape == (12, 16, 3)
    part = images.decode_and_crop_jpeg(file, np.array([2, 3, 5, 7]))
    np.testing.assert_array_equal(part, images.decode_jpeg(file)[2:7, 3:10])
    np.testing.assert_array_equal(images.extract_jpeg_shape(file), [24, 32, 3])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_round_trip_is_exact(channels):
    pixels = np.random.default_rng(1).integers(0, 255, (5, 6, channels)).astype("uint8")
    np.testing.assert_array_equal(images.decode_png(images.encode_png(pixels), channels=channels), pixels)


def test_pngs_of_a_batch():
    files = images.encode_png(np.stack([SMOOTH, SMOOTH // 2]), compression=1)
    np.testing.assert_array_equal(images.decode_png(files[1]), SMOOTH // 2)


@pytest.mark.parametrize(("kind", "decode"), [("GIF", images.decode_gif), ("WEBP", images.decode_webp)])
def test_every_frame_of_an_animation(kind, decode):
    out = io.BytesIO()
    first, second = (Image.fromarray(np.full((4, 5), n, "uint8")) for n in (0, 255))
    first.save(out, kind, save_all=True, append_images=[second])
    file = data(out.getvalue())
    found = decode(file)
    assert found.shape == (2, 4, 5, 3)
    assert (found[0] == 0).all() and (found[1] == 255).all()
    assert images.decode_image(file).shape == (2, 4, 5, 3)
    assert images.decode_image(file, expand_animations=False).shape == (4, 5, 3)


def test_what_is_no_image_is_said():
    with pytest.raises(MediaError, match="got 7 bytes that begin with b'nothing'"):
        images.decode_image(data(b"nothing"))


def test_an_image_beyond_all_bounds_is_refused(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(MediaError, match="32 x 24 pixels"):
        images.decode_png(saved("PNG", SMOOTH))
