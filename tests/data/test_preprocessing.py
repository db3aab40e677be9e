"""Ranges, axes, pages, metadata and evaluation views: each as it was meant, or refused by name."""

from __future__ import annotations

import io
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import load_file

from corpus import chunk, gradient, npy, png_16, saved, tiff
from nextpatch.data.config import DataConfig
from nextpatch.data.decode import BadImage, decode, header
from nextpatch.data.levels import advice, levels_of
from nextpatch.data.preprocessing import AS_RELEASED, Preprocessing
from nextpatch.data.views import eval_view, train_view
from peak import grows_at_most

RGB = gradient()
DEEP = (RGB.astype(np.uint16) * 16)[:, :, :1]  # 12 bits
RANGE = Preprocessing(pixel_range=(0, 255 * 16))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (5, 64, 64), (200, 128, 128), (24, 6, 7)])
def test_unclear_axes_are_refused_until_somebody_says_what_they_are(shape):
    data = npy(np.arange(np.prod(shape), dtype=np.uint16).reshape(shape))
    with pytest.raises(BadImage, match=r"transpose.*data\.layout"):
        header(data)
    assert header(data, Preprocessing(layout="channels_first"))[:3] == shape
    assert header(data, Preprocessing(layout="channels_last"))[:3] == (shape[2], *shape[:2])


@pytest.mark.parametrize("shape", [(32, 32), (2, 900, 3), (64, 64, 13), (4, 4, 64), (8, 12, 4)])
def test_clear_axes_are_taken(shape):
    assert header(npy(np.zeros(shape, np.uint8)))[1:3] == shape[:2]


def test_channels_first_is_the_transposed_array():
    first = npy(np.ascontiguousarray(RGB.transpose(2, 0, 1)))
    assert torch.equal(decode(first, 3, Preprocessing(layout="channels_first")), decode(npy(RGB), 3))


def test_a_tiff_whose_tags_hold_a_wrong_guess_is_refused():
    data = tiff(np.zeros((3, 32, 32), np.uint8), photometric="minisblack", planarconfig="contig")
    with pytest.raises(BadImage, match="transpose"):
        decode(data, 32)


@pytest.mark.parametrize(
    "data",
    [
        npy(DEEP), npy(DEEP.astype(">u2")), npy(DEEP.astype(np.int16)), npy(DEEP.astype(np.float32)),
        npy(DEEP.astype(np.int64)), tiff(DEEP[:, :, 0]), tiff(DEEP[:, :, 0].astype(np.int16)),
        saved(DEEP[:, :, 0], "PNG"), tiff(DEEP[:, :, 0].astype(np.float32)), tiff(DEEP[:, :, 0], byteorder=">"),
    ],
)  # fmt: skip
def test_a_range_makes_the_same_picture_of_every_type(data):
    assert np.array_equal(decode(data, 1, RANGE)[0].numpy(), RGB[:, :, 0])
    assert header(data).kind != "uint8"


@pytest.mark.parametrize("color", [2, 4, 6])
def test_a_range_reaches_16_bit_pngs_in_color_and_with_alpha(color):
    bands = {2: 3, 4: 2, 6: 4}[color]
    values = np.dstack([RGB.astype(np.uint16) * 16, RGB])[:, :, :bands]
    if bands in (2, 4):
        values[:, :, -1] = 65535
    found = decode(png_16(values, color), 3 if bands > 2 else 1, RANGE).permute(1, 2, 0).numpy()
    assert np.array_equal(found, RGB[:, :, : found.shape[2]])


def test_a_range_clips_and_makes_nothing_of_not_a_number():
    data = npy(np.array([[-5, 0, 20, 100, 1000, np.nan, np.inf]], np.float32))
    assert decode(data, 1, Preprocessing(pixel_range=(0, 100))).flatten().tolist() == [0, 0, 51, 255, 255, 0, 255]


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
def test_without_a_range_the_setting_is_named(kind):
    with pytest.raises(BadImage, match=r"data\.pixel_range LOW HIGH, or data\.range_from survey") as caught:
        decode(npy((DEEP - 1000.0).astype(kind)), 1)
    assert caught.value.kind == "needs a range"


def test_unused_bits_are_noticed_and_used_ones_are_not():
    assert "12 of 16 bits" in advice(levels_of(DEEP), ())
    assert advice(levels_of(DEEP), (0, 4080)) == ""
    assert advice(levels_of(DEEP * 16), ()) == ""
    assert "need a range" in advice(levels_of(DEEP.astype(np.int16)), ())
    assert levels_of(RGB) is None


def test_pages_of_a_tiff_are_counted_and_can_be_bands():
    pages = np.arange(5 * 24 * 40, dtype=np.uint16).reshape(5, 24, 40) * 13
    data = tiff(pages, photometric="minisblack")
    assert header(data) == (1, 24, 40, "uint16", 5)
    bands = Preprocessing(pages="bands")
    assert header(data, bands)[:3] == (5, 24, 40)
    assert np.abs(decode(data, 5, bands).numpy() - pages / 257).max() <= 1
    assert np.abs(decode(data, 1).numpy() - pages[:1] / 257).max() <= 1


def test_white_is_zero_in_some_tiffs():
    data = tiff(DEEP[:, :, 0] * 16, photometric="miniswhite")
    assert np.abs(decode(data, 1)[0].numpy() + 0.0 - (255 - RGB[:, :, 0] * (65280 / 65535))).max() <= 1


@pytest.mark.parametrize("block", [b"", b"\0\x08\0\2\1\x12\0\3", b"II*\0\x08\0\0\0\xff\xff" + bytes(20), b"II*\0"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_broken_exif_leaves_the_picture_upright(block, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    plain, odd = saved(RGB, kind, **options), saved(RGB, kind, exif=b"Exif\0\0" + block, **options)
    assert torch.equal(decode(odd, 3), decode(plain, 3))
    assert header(odd)[:3] == (3, 24, 40)


def test_large_texts_and_profiles_of_a_png_are_passed_over():
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 2**21, zip=True)
    info.add_itxt("more", "y" * 2**21, zip=True)
    data = saved(RGB, "PNG", pnginfo=info, icc_profile=bytes(2**21))
    wrong = data[:33] + chunk(b"tEXt", b"a\0b")[:-1] + b"?" + data[33:]  # with a wrong checksum
    profile = data[:33] + chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(10**7))) + data[33:]
    for one in (data, wrong, profile):
        assert np.array_equal(decode(one, 3).permute(1, 2, 0).numpy(), RGB)


@pytest.mark.parametrize("junk", [b"\xff", b"\xff\x00", b"\0", b"\xff\xfe\0\2"])
def test_filler_in_a_jpeg_costs_no_time(junk):
    plain = saved(RGB, "JPEG")
    start = time.perf_counter()
    with pytest.raises(BadImage):
        decode(plain[:2] + junk * (2_000_000 // len(junk)) + plain[2:], 3)
    assert time.perf_counter() - start < 1
    assert decode(plain[:2] + b"\xff" * 500 + plain[2:], 3).shape == (3, 24, 40)


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1), (2, 60_000), (3_000_000, 1)])
def test_strips_take_no_memory(shape):
    strip = torch.full((3, *shape), 200, dtype=torch.uint8)
    whole = DataConfig(crop_scale=(1.0, 1.0))
    with grows_at_most(400 * 2**20):
        for view in (eval_view(strip, (224, 224)), train_view(strip, (224, 224), whole, np.random.default_rng(0))):
            assert view.shape == (3, 224, 224)
            assert (view == 200).all()


def test_released_weights_see_every_picture_as_they_were_released(golden):
    tensors = load_file(golden / "pipeline_mlaim.safetensors")
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in DataConfig().statistics(3))
    for number in range(8):
        picture = tensors[f"image.{number}"].permute(2, 0, 1)
        found = (eval_view(picture, (56, 56), AS_RELEASED) / 255 - mean) / std
        assert (found - tensors[f"input.{number}"]).abs().max() < 0.02 + 1e-4, number
    own = tensors["image.0"].permute(2, 0, 1)
    assert torch.equal(eval_view(own, (56, 56)), own)  # ours are left as they are


def test_a_frame_of_an_animation_and_its_count():
    for kind, options in {"GIF": {}, "PNG": {}, "WEBP": {"lossless": True}, "MPO": {}, "TIFF": {}}.items():
        frames, out = [Image.fromarray(np.roll(RGB, 7 * n, 1)) for n in range(3)], io.BytesIO()
        frames[0].save(out, kind, save_all=True, append_images=frames[1:], **options)
        assert header(out.getvalue()).pictures > 1, kind
        assert header(saved(RGB, "JPEG" if kind == "MPO" else kind)).pictures == 1, kind
