"""Transparency of every kind lies over white, whatever the depth."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from nextpatch.data.decode import BadImage, decode, deep_values, header
from nextpatch.data.metadata import png_bytes
from nextpatch.data.preprocessing import Preprocessing


def png(values, color, clear):
    """A PNG of 8 or 16 bits whose tRNS chunk holds `clear`."""
    depth = values.dtype.itemsize * 8
    height, width = values.shape[:2]

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = values.astype(values.dtype.newbyteorder(">")).reshape(height, -1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)),
            chunk(b"tRNS", b"".join(struct.pack(">H", value) for value in clear)),
            chunk(b"IDAT", zlib.compress(body)),
            chunk(b"IEND", b""),
        ]
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_color_that_stands_for_nothing_is_white(dtype, channels):
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (6, 7, channels)).astype(dtype)
    values[:, 3] = values[0, 3]
    values[2:4, 5] = values[0, 3] ^ np.array([1] * channels, dtype)  # near, and not it
    data = png(values, 0 if channels == 1 else 2, values[0, 3].tolist())
    right = values.copy()
    right[:, 3] = np.iinfo(dtype).max
    assert np.array_equal(deep_values(data), right)
    eight = right if dtype == np.uint8 else np.round(right / 257).astype(np.uint8)
    assert np.array_equal(decode(data, channels).permute(1, 2, 0).numpy(), eight)


@pytest.mark.parametrize("channels", [1, 3])
def test_white_is_the_top_of_the_range(channels):
    values = np.full((3, 4, channels), 100, np.uint16)
    values[1] = 7
    data = png(values, 0 if channels == 1 else 2, values[1, 0].tolist())
    seen = decode(data, channels, Preprocessing(pixel_range=(0.0, 4095.0)))
    assert (seen[:, 1] == 255).all()
    assert (seen[:, 0] == round(100 / 4095 * 255)).all()


def test_alpha_of_a_palette_lies_over_white():
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3), "P")
    image.putpalette([10 * i for i in range(18)])
    file = io.BytesIO()
    image.save(file, "PNG", transparency=bytes([0, 255, 255, 255, 255, 0]))
    shown = decode(file.getvalue(), 3).permute(1, 2, 0).numpy()
    assert (shown[0, 0] == 255).all()
    assert (shown[1, 2] == 255).all()
    assert shown[0, 1].tolist() == [30, 40, 50]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_shade_of_few_bits_that_stands_for_nothing_is_white(depth):
    shades = np.arange(2 ** min(depth, 4), dtype=np.uint8)
    rows = np.packbits(np.unpackbits(shades[:, None], axis=1)[:, 8 - depth :].reshape(-1)).tobytes()
    for clear in shades.tolist():
        file = b"\x89PNG\r\n\x1a\n"
        for kind, body in (
            (b"IHDR", struct.pack(">IIBBBBB", len(shades), 1, depth, 0, 0, 0, 0)),
            (b"tRNS", struct.pack(">H", clear)),
            (b"IDAT", zlib.compress(b"\0" + rows)),
            (b"IEND", b""),
        ):
            file += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        right = (shades.astype(int) * 255 // (2**depth - 1)).tolist()
        right[clear] = 255
        assert decode(file, 1).flatten().tolist() == right


@pytest.mark.parametrize("most", [1023, 65535])
@pytest.mark.parametrize("plain", [True, False])
def test_all_bits_of_a_ppm_in_color_are_kept(most, plain):
    values = np.random.default_rng(most).integers(0, most + 1, (4, 5, 3))
    body = " ".join(map(str, values.reshape(-1).tolist())).encode() if plain else values.astype(">u2").tobytes()
    data = b"P%d\n5 4\n%d\n%s\n" % (3 if plain else 6, most, body)
    right = np.round(values / most * 65535).astype(np.uint16)
    assert header(data) == (3, 4, 5, "uint16", 1)
    assert np.array_equal(deep_values(data), right)
    assert np.array_equal(decode(data, 3).permute(1, 2, 0).numpy(), np.round(right / 257).astype(np.uint8))
    seen = decode(data, 3, Preprocessing(pixel_range=(0.0, 1000.0))).permute(1, 2, 0).numpy()
    assert np.array_equal(seen, np.round(right.clip(0, 1000) / 1000 * 255).astype(np.uint8))
    with pytest.raises(BadImage):
        decode(data[:-30], 3)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16"])
@pytest.mark.parametrize("rows", [1, 5])
def test_a_png_whose_stream_ends_before_its_rows_is_cut_short(mode, rows):
    image = Image.fromarray(np.full((6, 9), 200, np.uint16 if mode == "I;16" else np.uint8))
    file = io.BytesIO()
    (image if mode == "I;16" else image.convert(mode)).save(file, "PNG")
    whole = file.getvalue()
    assert decode(whole, 3).shape == (3, 6, 9)
    start = whole.index(b"IDAT") - 4
    length = int.from_bytes(whole[start : start + 4], "big")
    pixels = zlib.decompress(whole[start + 8 : start + 8 + length])
    packed = zlib.compress(pixels[: len(pixels) // 6 * rows])
    body = struct.pack(">I", len(packed)) + b"IDAT" + packed + struct.pack(">I", zlib.crc32(b"IDAT" + packed))
    with pytest.raises(BadImage, match="cut short: its pixels are"):
        decode(whole[:start] + body + whole[start + 12 + length :], 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 17), (64, 5)])
def test_black_pngs_are_whole(mode, size):
    file = io.BytesIO()
    Image.new(mode, size).save(file, "PNG")
    found, asked = png_bytes(file.getvalue())
    assert found == asked
    assert decode(file.getvalue(), 3).shape == (3, size[1], size[0])
