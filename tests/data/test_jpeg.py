"""Any damage of the kinds that libjpeg reads over, any odd bytes in a header: refused, or read one way only."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from corpus import gradient, saved
from nextpatch.data.decode import BadImage, decode, header
from nextpatch.data.jpeg import jpeg_header

SIDES = (1, 7, 8, 9, 16, 17, 33)
NOISE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
BASELINE = saved(NOISE, "JPEG")
CODED = [BASELINE, saved(NOISE, "JPEG", restart_marker_blocks=4), saved(NOISE[:, :, 0].copy(), "JPEG", quality=30)]
PLAIN = saved(gradient(), "JPEG")
LARGE = saved(gradient(48, 64), "JPEG")
FRAME = PLAIN[PLAIN.index(b"\xff\xc0") :][:19]
OTHER_FRAME = LARGE[LARGE.index(b"\xff\xc0") :][:19]


def zeroed(data, start, end):
    """The JPEG with zeros from one part of its compressed pixels to another, 0 to 1; and how many zeros."""
    found = jpeg_header(data)
    assert found is not None
    length = len(data) - 2 - found.scan
    first, last = (found.scan + int(part * length) for part in sorted((start, end)))
    return data[:first] + bytes(last - first) + data[last:], last - first


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(CODED), st.floats(0, 1), st.floats(0, 1))
def test_zeros_in_place_of_pixels_never_pass(data, start, end):
    data, length = zeroed(data, start, end)
    if length >= 64:
        with pytest.raises(BadImage, match="holds zeros from byte"):
            decode(data, 3)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 5000), st.binary(max_size=300), st.sampled_from([0, 2, 16]))
def test_padding_and_what_follows_change_nothing(padding, tail, fill):
    """Zeros between the pixels and the end marker, fill bytes before it, anything behind it."""
    padded = BASELINE[:-2] + bytes(padding) + b"\xff" * fill + BASELINE[-2:] + tail
    assert np.array_equal(decode(padded, 3), decode(BASELINE, 3))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.sampled_from(SIDES),
    st.sampled_from(SIDES),
    st.sampled_from(["L", "RGB", "CMYK"]),
    st.integers(1, 100),
    st.sampled_from([0, 1, 2]),
    st.fixed_dictionaries({"optimize": st.booleans(), "progressive": st.booleans()}),
    st.sampled_from([0, 1, 5]),
    st.one_of(st.integers(0, 255).map(lambda level: [level] * 64), st.lists(st.integers(0, 255), min_size=64)),
)
def test_what_an_encoder_writes_is_pillows_picture(height, width, mode, quality, subsampling, coding, restarts, levels):
    """Flat, or the same 8 x 8 tile over and over: what gives the longest runs of equal bits."""
    tile = np.array(levels[:64], np.uint8).reshape(8, 8)
    image = Image.fromarray(np.tile(tile, (5, 5))[:height, :width]).convert(mode)
    options = {"subsampling": subsampling} if mode == "RGB" else {}
    data = saved(image, "JPEG", quality=quality, restart_marker_blocks=restarts, **coding, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode(data, 3).permute(1, 2, 0), expected)
    assert header(data)[:3] == (1 if mode == "L" else 3, height, width)


ODD = st.sampled_from(
    [
        b"\xff", b"\xff\x00", b"\xff\x01", b"\xff\xd0", b"\xff\xd8", b"\xff\xd9", b"\x00", b"\xff\xe1\x00\x02",
        b"\xff\xfe\x00\x00", b"\xff\xfe\x00\x01", b"\xff\xf0\x00\x04ab", b"\xff\xdc\x00\x04\x00\x09",
        b"\xff\xcc\xff\xd0", b"\xff\xcc\x00\x04\x00\x10", b"\xff\xc8\x00\x02", b"\xff\xde" + FRAME[2:],
        FRAME, OTHER_FRAME, b"\xff\xc2" + OTHER_FRAME[2:], b"\xff\xc9" + OTHER_FRAME[2:], b"\xff\xe0" + FRAME[2:],
    ]
)  # fmt: skip


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from([2, PLAIN.index(b"\xff\xc0"), PLAIN.index(b"\xff\xda")]), ODD), max_size=4))
def test_odd_bytes_between_markers_give_the_size_of_the_header_or_nothing(insertions):
    """Else a small size would be checked, and a large picture decoded."""
    data = PLAIN
    for at, odd in sorted(insertions, reverse=True):
        data = data[:at] + odd + data[at:]
    try:
        pixels = decode(data, 3)
    except BadImage:
        return
    assert pixels.shape[1:] == header(data)[1:3]
