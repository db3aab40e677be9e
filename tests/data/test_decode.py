from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nextpatch.data.decode import MAX_PIXELS, BadImage, decode, header


def smooth(height=24, width=36):
    """A color gradient, which JPEG keeps well."""
    rows, columns = np.linspace(0, 255, height)[:, None], np.linspace(0, 255, width)[None]
    return np.stack([rows + 0 * columns, columns + 0 * rows, (rows + columns) / 2], 2).astype(np.uint8)


def pixels(data, channels=3):
    return decode(data, channels).permute(1, 2, 0).numpy()


def raw_png(width, height, depth, color, rows=b""):
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_16_bits(values, color):
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return raw_png(values.shape[1], values.shape[0], 16, color, rows)


def npy(array, allow_pickle=False):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def test_lossless_formats_keep_every_pixel(png, noise):
    image = noise(7, 11, 3)
    for kind in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(pixels(png(image, kind)), image)
    assert np.array_equal(pixels(png(image, "WEBP", lossless=True)), image)
    grey = noise(7, 11)
    assert np.array_equal(decode(png(grey), 1)[0].numpy(), grey)


def test_grey_becomes_rgb_and_rgb_becomes_grey(png, noise):
    grey, color = noise(5, 6), noise(5, 6, 3)
    assert np.array_equal(pixels(png(grey)), np.repeat(grey[:, :, None], 3, 2))
    luma = color @ np.array([0.299, 0.587, 0.114])
    for data in (png(color), npy(color)):
        assert np.abs(decode(data, 1)[0].numpy() - luma).max() <= 1


@pytest.mark.parametrize(("color", "bands"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits_are_scaled_not_clipped(noise, color, bands):
    values = (np.random.default_rng(1).integers(0, 65536, (9, 8, bands))).astype(np.uint16)
    if bands in (2, 4):
        values[..., -1] = 65535
    expected = values[..., : 1 if bands < 3 else 3] / 257.0
    assert np.abs(pixels(png_16_bits(values, color)) - expected).max() <= 1


def test_hidden_color_under_alpha_never_shows(png):
    image = np.zeros((4, 4, 4), dtype=np.uint8)
    image[0, :, 0] = 200  # red hidden under full transparency
    image[3] = (0, 0, 0, 255)
    shown = pixels(png(image))
    assert (shown[:3] == 255).all()
    assert (shown[3] == 0).all()


def test_16_bit_alpha_is_scaled():
    values = np.zeros((2, 2, 4), dtype=np.uint16)
    values[..., 3] = 32768
    assert np.abs(pixels(png_16_bits(values, 6)).astype(int) - 127).max() <= 1


def test_palette_and_its_transparency(noise):
    image = Image.new("P", (4, 2))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 1)
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=0)
    shown = pixels(stream.getvalue())
    assert shown[0, 0].tolist() == [0, 0, 255]
    assert shown[1, 3].tolist() == [255, 255, 255]


def test_cmyk_jpeg_shows_its_colors():
    stream = io.BytesIO()
    Image.fromarray(smooth()).convert("CMYK").save(stream, "JPEG", quality=95)
    assert np.abs(pixels(stream.getvalue()).astype(int) - smooth()).mean() < 4


def test_bilevel_image_is_black_and_white():
    stream = io.BytesIO()
    Image.fromarray(np.eye(8, dtype=bool)).save(stream, "PNG")
    assert np.array_equal(pixels(stream.getvalue(), 1)[..., 0], np.eye(8, dtype=np.uint8) * 255)


UPRIGHT = {  # EXIF orientation -> the stored pixels made upright, from the EXIF standard
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exif_orientation_is_applied(png, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = png(smooth(), kind, exif=exif)
    upright = UPRIGHT[orientation](pixels(png(smooth(), kind)))
    assert np.array_equal(pixels(data), upright)
    assert header(data)[:3] == (3, *upright.shape[:2])


def test_animation_shows_its_first_frame(noise):
    frames = [Image.fromarray(np.full((6, 6, 3), level, np.uint8)) for level in (10, 200)]
    for kind, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        stream = io.BytesIO()
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:], **options)
        assert (pixels(stream.getvalue()) == 10).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_truncated_files_are_bad(png, noise, kind):
    data = png(noise(40, 40, 3), kind)
    for length in (4, len(data) // 4, len(data) // 2, len(data) - 200):
        with pytest.raises(BadImage):
            decode(data[:length], 3)


@pytest.mark.parametrize(
    "data", [b"", b"<html>404</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\0" * 99]
)
def test_what_is_no_image_is_bad(data):
    for read in (header, lambda data: decode(data, 3)):
        with pytest.raises(BadImage, match=r"empty file|known format"):
            read(data)


def test_one_pixel_and_extreme_aspect(png, noise):
    assert decode(png(noise(1, 1, 3)), 3).shape == (3, 1, 1)
    assert decode(png(noise(1, 3000)), 3).shape == (3, 1, 3000)


@pytest.mark.parametrize("side", [10_001, 13_000, 60_000])
def test_bombs_are_refused_by_their_header(side):
    assert side * side > MAX_PIXELS
    with pytest.raises(BadImage, match=r"pixels"):
        decode(raw_png(side, side, 8, 2), 3)


def test_a_text_bomb_is_passed_over():
    bomb = b"note\0\0" + zlib.compress(b"a" * 10_000_000)
    chunk = struct.pack(">I", len(bomb)) + b"zTXt" + bomb + struct.pack(">I", zlib.crc32(b"zTXt" + bomb))
    data = raw_png(2, 2, 8, 0, b"\0\1\2\0\3\4")
    assert decode(data[:33] + chunk + data[33:], 1).flatten().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("error", [OSError, ValueError, SyntaxError, struct.error, KeyError, MemoryError, TypeError])
def test_whatever_pillow_raises_is_a_bad_image(png, noise, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(BadImage, match=error.__name__):
        decode(png(noise(3, 3, 3)), 3)


def test_floats_between_0_and_1_are_scaled_and_others_refused():
    stream = io.BytesIO()
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(stream, "TIFF")
    assert pixels(stream.getvalue(), 1).ravel().tolist() == [0, 128, 255]
    for value in (2.0, -1.0, np.nan):
        stream = io.BytesIO()
        Image.fromarray(np.array([[0, value]], np.float32)).save(stream, "TIFF")
        with pytest.raises(BadImage, match=r"not floats in \[0, 1\]; .*data.pixel_range"):
            decode(stream.getvalue(), 1)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 13])
def test_npy_carries_any_number_of_channels(noise, channels):
    image = noise(14, 16, channels)
    assert np.array_equal(pixels(npy(image), channels), image)
    assert np.array_equal(pixels(npy(np.asfortranarray(image)), channels), image)
    assert np.array_equal(pixels(npy(image.astype(np.uint16) * 257), channels), image)
    assert header(npy(image)) == (channels, 14, 16, "uint8", 1)


def test_npy_that_lies_or_does_not_fit_is_bad(noise):
    image = noise(7, 6, 5)
    with pytest.raises(BadImage, match="has 5 channels, the model takes 3"):
        decode(npy(image), 3)
    with pytest.raises(BadImage, match="as long as its header says"):
        decode(npy(image)[:-1], 5)
    with pytest.raises(BadImage, match=r"damaged \.npy header"):
        decode(npy(image)[:20], 5)
    with pytest.raises(BadImage, match="needs height x width"):
        decode(npy(np.array([{}]), allow_pickle=True), 1)
    huge = npy(image).replace(b"(7, 6, 5), }" + b" " * 10, b"(400000, 60000, 5), }" + b" ")
    with pytest.raises(BadImage, match="over the cap"):
        decode(huge, 5)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]), st.data())
def test_damaged_bytes_give_pixels_or_a_bad_image(kind, data):
    stream = io.BytesIO()
    Image.fromarray(smooth(6, 5)).save(stream, kind)
    damaged = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadImage):
        assert decode(bytes(damaged), 3).shape[0] == 3


def test_without_torchvision_pillow_gives_the_same_pixels(png, noise, monkeypatch):
    jpegs = [png(noise(30, 40, 3), "JPEG"), png(noise(30, 40), "JPEG")]
    fast = [decode(data, 3) for data in jpegs]
    monkeypatch.setattr("nextpatch.data.decode.decode_jpeg", None)
    assert all(np.array_equal(decode(data, 3), pixels) for data, pixels in zip(jpegs, fast, strict=True))


def test_a_broken_torchvision_is_done_without(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    script = "import nextpatch.data.decode as d; assert d.decode_jpeg is None; print('fine')"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.stdout == "fine\n", done.stderr[-1000:]
