"""Files whose headers and contents say different things: one reading of them, or a refusal, and never much memory."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile, ImageOps

from corpus import gradient, saved
from nextpatch.data.decode import BadImage, decode, header
from nextpatch.data.jpeg import first_gap, has_end, jpeg_header

RGB = gradient(120, 160)


def segment(kind, body):
    return bytes((0xFF, kind)) + struct.pack(">H", len(body) + 2) + body


def with_segments(data, *segments):
    """A JPEG with these segments right behind its start marker."""
    return data[:2] + b"".join(segments) + data[2:]


def exif(*entries, order="<"):
    """An EXIF segment with one directory of (tag, type, count, value) entries."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    formats = {1: "B3x", 3: "H2x", 4: "I"}
    directory = b"".join(struct.pack(f"{order}HHI{formats[kind]}", tag, kind, 1, value) for tag, kind, value in entries)
    header = mark + struct.pack(f"{order}IH", 8, len(entries))
    return segment(0xE1, b"Exif\0\0" + header + directory + b"\0\0\0\0")


def noise():
    return np.random.default_rng(0).integers(0, 256, (160, 200, 3)).astype(np.uint8)


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"quality": 30}, {"subsampling": 0}])
def test_a_zeroed_part_of_a_jpeg_is_refused(options):
    data = saved(noise(), "JPEG", **options)
    middle = len(data) * 2 // 3
    for start, end in ((middle, middle + 512), (middle, len(data) - 2)):
        holed = data[:start] + bytes(end - start) + data[end:]
        with pytest.raises(BadImage, match="holds zeros from byte"):
            decode(holed, 3)
    with pytest.raises(BadImage):
        decode(data[:middle] + bytes(len(data) - middle), 3)


def test_no_good_jpeg_is_refused():
    """Flat, steep and noisy pictures, by every way of coding; and with something behind the end."""
    ImageFile.MAXBLOCK, before = 1 << 22, ImageFile.MAXBLOCK
    steep = np.zeros((90, 120, 3), np.uint8)
    steep[:, 60:] = 255
    pictures = [np.full((90, 120, 3), value, np.uint8) for value in (0, 1, 127, 128, 255)] + [steep, RGB, noise()]
    tried = 0
    try:
        for picture in pictures:
            for quality in (1, 75, 100):
                for options in ({}, {"optimize": True}, {"progressive": True}, {"restart_marker_blocks": 4}):
                    data = saved(picture, "JPEG", quality=quality, **options)
                    for tail in (b"", bytes(100), b"a trailer"):
                        found = jpeg_header(data + tail)
                        assert found is not None
                        assert has_end(data + tail, found)
                        assert first_gap(data + tail, found) is None
                        tried += 1
    finally:
        ImageFile.MAXBLOCK = before
    assert tried == 288


def test_a_frame_hidden_behind_odd_bytes_is_not_decoded_past_the_cap():
    data = bytearray(saved(RGB, "JPEG"))
    frame = data.index(b"\xff\xc0")
    large = bytes(data[frame : frame + 5]) + struct.pack(">HH", 60000, 60000) + bytes(data[frame + 9 : frame + 19])
    hidden = bytes(data[:2]) + b"\xff\x00" + large + bytes(data[2:])
    assert jpeg_header(hidden) is None
    with pytest.raises(BadImage):
        decode(hidden, 3)


XMP = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")
TURNED_BY_XMP = segment(
    0xE1,
    b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>',
)
WAYS = {
    "short": [exif((0x112, 3, 6))],
    "big endian": [exif((0x112, 3, 6), order=">")],
    "long": [exif((0x112, 4, 6))],
    "byte": [exif((0x112, 1, 6))],
    "after other tags": [exif((0x100, 4, 5), (0x112, 3, 6))],
    "after XMP": [XMP, exif((0x112, 3, 6))],
    "by XMP alone": [TURNED_BY_XMP],
    "twice": [exif((0x112, 3, 6)), exif((0x112, 3, 8))],
    "out of range": [exif((0x112, 3, 9))],
    "zero": [exif((0x112, 3, 0))],
    "not at all": [XMP],
}


@pytest.mark.parametrize("way", WAYS)
def test_an_orientation_turns_a_jpeg_as_pillow_turns_it_however_it_is_told(way):
    data = with_segments(saved(RGB, "JPEG", quality=95), *WAYS[way])
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    found = decode(data, 3).permute(1, 2, 0).numpy()
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 1
    assert header(data)[1:3] == expected.shape[:2]


def tiff_with_tile(side):
    """A TIFF of 16 x 16 pixels in one tile of `side` x `side`."""
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((16, 16, 3), np.uint8), tile=(16, 16), photometric="rgb", compression="zlib")
    data = bytearray(out.getvalue())
    for tag in (322, 323):  # TileWidth, TileLength
        at = min(at for kind in (3, 4) if (at := data.find(struct.pack("<HHI", tag, kind, 1))) >= 0)
        data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, side)
    return bytes(data)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_tile_much_larger_than_its_image_is_refused(channels):
    with pytest.raises(BadImage):
        decode(tiff_with_tile(20_000), channels)
    with pytest.raises(BadImage, match="its tiles are 20000x20000"):
        decode(tiff_with_tile(20_000), 3)
