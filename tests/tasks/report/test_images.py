"""Images of any channel count become data URIs that decode to what was given."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from nextpatch.tasks.report.images import PHOTOGRAPH, heat, heat_hex, image_uri


def decoded(uri: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])])
def test_small_images_come_back_exactly_in_the_channels_that_are_shown(channels: int, shown: list[int]) -> None:
    pixels = torch.randint(0, 256, (channels, 6, 9), generator=torch.Generator().manual_seed(0)).float() / 255
    uri = image_uri(pixels)
    assert uri.startswith("data:image/png;base64,")
    assert np.array_equal(decoded(uri), (pixels[shown] * 255).round().byte().permute(1, 2, 0).numpy())


def test_values_outside_the_range_are_clipped_not_wrapped() -> None:
    pixels = torch.tensor([-0.5, 1.5]).view(1, 1, 2)
    assert decoded(image_uri(pixels))[0, :, 0].tolist() == [0, 255]


def test_photographs_are_small_and_look_the_same() -> None:
    ramp = torch.linspace(0, 1, PHOTOGRAPH).expand(3, PHOTOGRAPH, -1)
    uri = image_uri(ramp)
    assert uri.startswith("data:image/webp;base64,")
    assert np.abs(decoded(uri) / 255 - ramp.permute(1, 2, 0).numpy()).mean() < 0.02


def test_heat_grows_lighter_with_the_value() -> None:
    lightness = heat(np.linspace(0, 1, 50)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(lightness) > 0).all()


def test_heat_spans_the_known_values_and_survives_equal_ones() -> None:
    colors, low, high = heat_hex([None, 2.0, 3.0, 4.0])
    assert (low, high) == (2.0, 4.0)
    assert colors[1] != colors[3]
    assert len(set(heat_hex([1.0, 1.0])[0])) == 1
