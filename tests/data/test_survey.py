from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from nextpatch.data.error import DataError
from nextpatch.data.survey import refuse_other_channels, survey


def source_of(memory, images):
    source = memory(len(images))
    source._images = images
    return source


def test_medians_and_channels(memory, png, noise):
    images = [png(noise(20, 30)), png(noise(40, 50, 3)), png(noise(60, 70)), b"garbage"]
    seen = survey(source_of(memory, images))
    assert (seen.count, seen.channels, seen.median_height, seen.median_width) == (4, 3, 40, 50)
    assert {key: entry.reason for key, entry in seen.bad.items()} == {"3.png": "not an image of a known format"}


def test_size_is_that_of_the_upright_image(memory, png, noise):
    exif = Image.Exif()
    exif[0x0112] = 6
    seen = survey(source_of(memory, [png(noise(20, 30, 3), "JPEG", exif=exif)]))
    assert (seen.median_height, seen.median_width) == (30, 20)


def test_looks_at_few_images_from_first_to_last(memory):
    source = memory(1000)
    read, seen = source.read, []
    source.read = lambda index: seen.append(index) or read(index)
    assert survey(source, limit=5).count == 1000
    assert (len(seen), seen[0], seen[-1]) == (5, 0, 999)


def test_alpha_is_not_a_channel(memory, png, noise):
    assert survey(source_of(memory, [png(noise(4, 4, 2)), png(noise(4, 4))])).channels == 1
    assert survey(source_of(memory, [png(noise(4, 4, 4))])).channels == 3


def test_no_image_is_an_error(memory):
    with pytest.raises(DataError, match=r"no image of memory .* 2 tried failed: not an image .*2x, such as 0.png"):
        survey(memory(2, bad=(0, 1)))


def test_a_few_images_spread_over_all_decide_whether_the_channels_are_other(memory, png, noise):
    bands, color = noise(4, 4, 6), png(noise(4, 4, 3))
    buffer = io.BytesIO()
    np.save(buffer, bands)
    others = [buffer.getvalue()] * 200
    source = source_of(memory, others)
    read, seen = source.read, []
    source.read = lambda index: seen.append(index) or read(index)
    with pytest.raises(DataError, match=r"has 6 channels, the model takes 3 \(8x"):
        refuse_other_channels(source, 3)
    assert len(seen) == 8
    refuse_other_channels(source, 6)
    refuse_other_channels(source_of(memory, [*others, color]), 3)
    refuse_other_channels(source_of(memory, [*others, b"damaged"]), 3)
