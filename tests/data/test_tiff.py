"""TIFF as it was made: turned as its tag says, with its signs, and the picture itself, not a small copy of it."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from nextpatch.data.decode import decode, deep_values, header
from nextpatch.data.orientation import TURNS
from nextpatch.data.pixels import BadImage
from nextpatch.data.preprocessing import Preprocessing


def tiff(*pages, **tags):
    """The bytes of a TIFF of these (array, tags) pages."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for values, own in pages:
            file.write(values, metadata=None, **{"photometric": "minisblack", **tags, **own})
    return buffer.getvalue()


def turned(values, orientation):
    """As Pillow turns each channel."""
    turn = TURNS.get(orientation)
    channels = [values[:, :, i] for i in range(values.shape[2])]
    return np.stack([np.asarray(Image.fromarray(c).transpose(turn)) if turn is not None else c for c in channels], 2)


def told(orientation):
    return {"extratags": [(274, "H", 1, orientation, True)]}


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("bands", [1, 3, 6])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_every_tiff_is_turned_upright(orientation, bands, planar):
    values = np.random.default_rng(orientation).integers(0, 256, (5, 7, bands), np.uint8)
    stored = values if planar == "contig" else np.moveaxis(values, 2, 0)
    tags = {"planarconfig": planar} if bands > 1 else {}
    color = {"photometric": "rgb"} if bands == 3 else {}
    data = tiff((stored if bands > 1 else values[:, :, 0], {**told(orientation), **tags, **color}))
    seen = Preprocessing(layout="channels_last")
    right = turned(values, orientation)
    found = header(data, seen)
    assert (found.height, found.width, found.channels) == right.shape
    assert np.array_equal(decode(data, bands, seen).permute(1, 2, 0).numpy(), right)


def test_signs_of_8_bits_are_kept():
    values = np.arange(-128, 127, dtype=np.int8).reshape(15, 17)
    data = tiff((values, {}))
    assert np.array_equal(deep_values(data)[:, :, 0], values)
    with pytest.raises(BadImage, match="int8 from -128 to 126"):
        decode(data, 1)
    scaled = decode(data, 1, Preprocessing(pixel_range=(-128.0, 127.0)))[0].numpy()
    assert np.array_equal(scaled, (values.astype(int) + 128).astype(np.uint8))


@pytest.mark.parametrize("bands", [3, 6])
@pytest.mark.parametrize("new", [True, False])
def test_a_small_copy_is_not_the_picture(bands, new):
    values = np.random.default_rng(0).integers(0, 256, (32, 48, bands), np.uint8)
    color = {"photometric": "rgb" if bands == 3 else "minisblack", "planarconfig": "contig"}
    small = {"subfiletype": 1} if new else {"extratags": [(255, "H", 1, 2, True)]}
    data = tiff((values[::4, ::4], {**color, **small}), (values[::2, ::2], {**color, **small}), (values, color))
    seen = Preprocessing(layout="channels_last")
    found = header(data, seen)
    assert (found.height, found.width) == (32, 48)
    assert found.pictures == 1
    assert np.array_equal(decode(data, bands, seen).permute(1, 2, 0).numpy(), values)
    bands_of = Preprocessing(layout="channels_last", pages="bands")
    assert np.array_equal(decode(data, bands, bands_of).permute(1, 2, 0).numpy(), values)


def test_a_file_of_small_copies_alone_is_its_first():
    values = np.random.default_rng(0).integers(0, 256, (8, 9), np.uint8)
    assert np.array_equal(decode(tiff((values, {"subfiletype": 1})), 1)[0].numpy(), values)


@pytest.mark.parametrize("bands", [3, 6])
def test_a_raw_photo_that_is_called_tiff_is_refused(bands):
    values = np.zeros((8, 9, bands), np.uint8)
    data = tiff(
        (values, {"planarconfig": "contig", "subfiletype": 1, "extratags": [(50706, "B", 4, (1, 4, 0, 0), True)]})
    )
    for read in (lambda: header(data), lambda: decode(data, bands)):
        with pytest.raises(
            BadImage, match="small copy of its picture, as raw photos do; save raw photos as TIFF or JPEG"
        ):
            read()


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_white_at_zero_is_turned_within_its_bits(bits):
    values = np.random.default_rng(bits).integers(0, 2**bits, (5, 8), np.uint16)
    lines = [int("".join(f"{value:0{bits}b}" for value in row), 2).to_bytes(bits, "big") for row in values.tolist()]
    body = b"".join(lines) if bits < 16 else values.tobytes()
    short = {256: 8, 257: 5, 258: bits, 259: 1, 262: 0, 273: 8, 277: 1, 278: 5, 279: len(body)}
    tags = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in short.items())
    data = b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(short)) + tags + bytes(4)
    assert np.array_equal(deep_values(data)[:, :, 0], 2**bits - 1 - values)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_32_bits_keep_their_sign_or_have_none(dtype, byteorder):
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    values = np.array([[least, 0, 7], [most // 2, most - 1, most]], dtype)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, byteorder=byteorder, photometric="minisblack")
    assert np.array_equal(deep_values(buffer.getvalue())[:, :, 0], values)
    assert header(buffer.getvalue()).kind == values.dtype.name
    assert decode(buffer.getvalue(), 1, Preprocessing(pixel_range=(0.0, float(most))))[0, 1].tolist() == [127, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_shades_multiplied_by_their_alpha_lie_over_white(channels):
    alpha = np.array([[0, 51, 255]], np.uint8)
    shades = np.array([[0, 40, 200]], np.uint8)  # never more than alpha
    extra = {"planarconfig": "contig", "extrasamples": ["assocalpha"]}
    data = tiff((np.dstack([shades, alpha]), extra))
    assert header(data).channels == 1
    right = shades.astype(int) + 255 - alpha
    assert all((np.abs(band.numpy() - right) <= 1).all() for band in decode(data, channels))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("multiplied", [True, False])
def test_alpha_of_more_than_8_bits_lies_over_white(dtype, channels, planar, multiplied):
    generator = np.random.default_rng(channels)
    top = 65535 if dtype == np.uint16 else 1
    shares = generator.integers(0, 4, (9, 8, 1)) / 3
    colors = generator.integers(0, 18, (9, 8, channels)) / 17
    stored = np.concatenate([colors * shares if multiplied else colors, shares], axis=2) * top
    stored = (stored.round() if top > 1 else stored).astype(dtype)
    kind = {"extrasamples": ["assocalpha" if multiplied else "unassalpha"], "planarconfig": planar}
    color = {"photometric": "rgb"} if channels == 3 else {}
    data = tiff((stored if planar == "contig" else np.moveaxis(stored, 2, 0).copy(), {**kind, **color}))
    right = (colors * shares + 1 - shares) * top
    found = header(data)
    assert (found.height, found.width, found.channels, found.kind) == (*right.shape, np.dtype(dtype).name)
    assert np.allclose(deep_values(data), right, rtol=0, atol=1e-5 * top)
    as_bands = Preprocessing(pages="bands", layout="channels_last")
    assert np.array_equal(deep_values(data, as_bands), stored)
    for white in (top / 4, 1000.0):
        seen = decode(data, channels, Preprocessing(pixel_range=(0.0, white)))
        assert (seen[:, shares[:, :, 0] == 0] == 255).all()


@pytest.mark.parametrize("extra", [["unspecified"], ["unassalpha"]])
def test_a_fourth_band_is_kept_for_a_model_of_four(extra):
    values = np.random.default_rng(0).integers(0, 65536, (9, 8, 4), np.uint16)
    data = tiff((values, {"photometric": "rgb", "extrasamples": extra, "planarconfig": "contig"}))
    assert header(data).channels == (4 if extra == ["unspecified"] else 3)
    assert np.array_equal(decode(data, 4).permute(1, 2, 0).numpy(), (values / 257).round().astype(np.uint8))


def test_what_alpha_hides_may_be_no_number():
    values = np.full((4, 5, 2), 0.5, np.float32)
    values[:, :, 1] = 1
    values[1] = np.nan, 0
    data = tiff((values, {"planarconfig": "contig", "extrasamples": ["unassalpha"]}))
    assert deep_values(data)[:, 0, 0].tolist() == [0.5, 1, 0.5, 0.5]
