"""Whatever the bytes: pixels, or a BadImage; of every decoder and of every reader of headers."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from PIL import Image, features

from corpus import gradient, npy, png_16, saved, tiff
from nextpatch.data import pixels
from nextpatch.data.decode import BadImage, decode, deep_values, header
from nextpatch.data.preprocessing import Preprocessing
from peak import grows_at_most

RGB = gradient(12, 15)
DEEP = RGB.astype(np.uint16) * 200
BANDS = np.arange(12 * 15 * 7, dtype=np.uint16).reshape(12, 15, 7)
PAGES = Preprocessing(pixel_range=(0, 4000), pages="bands")
SEEDS = {
    "JPEG": (saved(RGB, "JPEG", exif=Image.Exif()), 3, Preprocessing()),
    "JPEG, progressive": (saved(RGB, "JPEG", progressive=True), 1, Preprocessing()),
    "JPEG, CMYK": (saved(RGB, "JPEG", "CMYK"), 3, Preprocessing()),
    "PNG": (saved(RGB, "PNG"), 3, Preprocessing()),
    "PNG, 16 bits": (png_16(DEEP, 2), 3, Preprocessing(pixel_range=(0, 4095))),
    "PNG, palette": (saved(Image.fromarray(RGB).quantize(9), "PNG", transparency=0), 3, Preprocessing()),
    "WEBP": (saved(RGB, "WEBP", lossless=True), 3, Preprocessing()),
    "GIF": (saved(Image.fromarray(RGB).quantize(9), "GIF", comment=b"a note"), 3, Preprocessing()),
    "BMP": (saved(RGB, "BMP"), 3, Preprocessing()),
    "TIFF by Pillow": (saved(RGB, "TIFF"), 3, Preprocessing()),
    "TIFF, LZW": (saved(RGB, "TIFF", compression="tiff_lzw"), 3, Preprocessing()),
    "TIFF by tifffile": (tiff(BANDS, photometric="minisblack", planarconfig="contig"), 7, Preprocessing()),
    "TIFF, pages": (tiff(np.moveaxis(BANDS, 2, 0).copy(), photometric="minisblack"), 7, PAGES),
    "TIFF, deflated tiles": (tiff(DEEP, photometric="rgb", compression="zlib", tile=(16, 16)), 3, Preprocessing()),
    "npy": (npy(BANDS), 7, Preprocessing()),
    "npy, floats": (npy(RGB.astype(np.float32)), 3, Preprocessing(pixel_range=(-1, 99), layout="channels_last")),
    "PPM": (saved(RGB, "PPM"), 3, Preprocessing()),
}
if features.check("avif"):
    SEEDS["AVIF"] = (saved(RGB, "AVIF"), 3, Preprocessing())


def mutated(data, rng):
    """A few bytes changed, or a stretch cut out, repeated or filled; half of them at the start, where headers are."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(changed) if rng.random() < 0.5 else min(len(changed), 150)))
        kind, length = int(rng.integers(6)), int(rng.integers(1, 9))
        if kind <= 1:
            changed[at] = int(rng.integers(256))
        elif kind == 2:
            changed[at] ^= 1 << int(rng.integers(8))
        else:
            piece = bytes(changed[at : at + length])
            changed[at : at + length] = (b"", piece * 2, b"\xff" * length)[kind - 3]
        if not changed:
            return b""
    return bytes(changed)


def tried(name, times, seed):
    """How many of so many damaged files still give pixels; anything but a BadImage fails."""
    data, channels, preprocessing = SEEDS[name]
    rng, good = np.random.default_rng(seed), 0
    for _ in range(times):
        damaged = mutated(data, rng)
        for read in (lambda d: header(d, preprocessing), lambda d: deep_values(d, preprocessing)):
            with contextlib.suppress(BadImage):
                read(damaged)
        try:
            good += decode(damaged, channels, preprocessing).shape[0] == channels
        except BadImage:
            continue
    return good


@pytest.fixture
def small_cap(monkeypatch):
    """A lower cap on pixels, so that a damaged size which is still allowed takes little memory."""
    monkeypatch.setattr(pixels, "MAX_PIXELS", 1_000_000)


@pytest.mark.parametrize("name", SEEDS)
@pytest.mark.usefixtures("small_cap")
def test_damaged_files_give_pixels_or_a_bad_image(name, capfd):
    data, channels, preprocessing = SEEDS[name]
    assert decode(data, channels, preprocessing).shape == (channels, 12, 15)
    tried(name, 25, 0)
    assert not capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
@pytest.mark.usefixtures("small_cap")
def test_two_thousand_damaged_files_give_pixels_or_a_bad_image(name):
    with grows_at_most(300 * 2**20):
        assert tried(name, 2000, 1) < 2000


def test_random_bytes_behind_every_start_are_no_image():
    rng = np.random.default_rng(2)
    for data, _, _ in SEEDS.values():
        for kept in (4, 12):
            with pytest.raises(BadImage):
                decode(data[:kept] + rng.bytes(200), 3)


@pytest.mark.parametrize(
    "shape", ["(-1, -1, 3)", "(True, 32, 3)", "(3.5, 2)", "(" * 90, "(9" + "9" * 400 + ", 2)", "()"]
)
def test_odd_shapes_of_arrays_are_bad_images(shape):
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(96)
    for read in (header, lambda d: decode(d, 3)):
        with pytest.raises(BadImage):
            read(data)


def test_pillow_is_silent_about_odd_tags(recwarn):
    odd = saved(RGB, "TIFF").replace(b"\x1a\x01\x05\x00", b"\x1a\x01\x05\x09")
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "TIFF", tiffinfo={270: "x" * 300})
    cut = stream.getvalue()
    for data in (odd, cut[:-150], cut):
        with contextlib.suppress(BadImage):
            header(data)
            decode(data, 3)
    assert not recwarn.list
