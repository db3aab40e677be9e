from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as V

from nextpatch.data.config import DataConfig
from nextpatch.data.views import crop_box, eval_view, to_model_input, train_view

BICUBIC = InterpolationMode.BICUBIC


def image(height, width, channels=3):
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8, generator=generator)


@settings(max_examples=200, deadline=None)
@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_crop_box_lies_inside(height, width, seed):
    top, left, h, w = crop_box(height, width, DataConfig(crop_scale=(0.08, 1.0)), np.random.default_rng(seed))
    assert h > 0
    assert w > 0
    assert 0 <= top <= height - h
    assert 0 <= left <= width - w


def test_crop_box_keeps_scale_and_aspect():
    rng, cfg = np.random.default_rng(0), DataConfig()
    boxes = np.array([crop_box(400, 500, cfg, rng) for _ in range(2000)])
    area, aspect = boxes[:, 2] * boxes[:, 3] / (400 * 500), boxes[:, 3] / boxes[:, 2]
    assert area.min() > 0.395
    assert area.max() <= 1
    assert aspect.min() > 0.745
    assert aspect.max() < 1.345
    assert area.min() < 0.45
    assert boxes[:, 0].max() > 100  # it moves


@pytest.mark.parametrize(("height", "width", "box"), [(10, 1000, (0, 493, 10, 13)), (1000, 10, (493, 0, 13, 10))])
def test_extreme_aspect_takes_the_largest_centered_box(height, width, box):
    top, left, h, w = crop_box(height, width, DataConfig(), np.random.default_rng(0))
    assert (top, left, h, w) == box


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_train_view_is_torchvisions_crop_of_the_same_box(channels):
    picture, cfg = image(40, 52, channels), DataConfig(flip=1.0)
    for seed in range(5):
        box = crop_box(40, 52, cfg, np.random.default_rng(seed))
        expected = V.resized_crop(picture, *box, [24, 32], BICUBIC, antialias=True).flip(-1)
        assert torch.equal(train_view(picture, (24, 32), cfg, np.random.default_rng(seed)), expected)


def test_whole_images_are_only_flipped():
    picture, cfg = image(28, 28, 1), DataConfig(crop_scale=(1.0, 1.0))
    views = [train_view(picture, (28, 28), cfg, np.random.default_rng(seed)) for seed in range(50)]
    flipped = [torch.equal(view, picture.flip(-1)) for view in views]
    assert all(torch.equal(view, picture) or flip for view, flip in zip(views, flipped, strict=True))
    assert 10 < sum(flipped) < 40
    never = DataConfig(crop_scale=(1.0, 1.0), flip=0.0)
    assert torch.equal(train_view(picture, (28, 28), never, np.random.default_rng(0)), picture)


def test_eval_view_leaves_an_image_of_the_right_size_alone():
    assert torch.equal(eval_view(image(28, 20), (28, 20)), image(28, 20))


@pytest.mark.parametrize(("height", "width"), [(256, 256), (300, 400), (500, 281), (100, 120)])
def test_eval_view_is_the_released_transform(height, width):
    picture = image(height, width)
    expected = V.center_crop(V.resize(picture, 256, BICUBIC, antialias=True), [224, 224])
    assert torch.equal(eval_view(picture, (224, 224)), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(2, 40), st.integers(2, 40))
def test_views_have_the_asked_size(height, width, out_height, out_width):
    size = (out_height, out_width)
    assert eval_view(image(height, width), size).shape == (3, *size)
    assert train_view(image(height, width), size, DataConfig(), np.random.default_rng(0)).shape == (3, *size)


def test_eval_view_keeps_the_center_and_the_aspect():
    picture = torch.zeros(1, 64, 128, dtype=torch.uint8)
    picture[:, 24:40, 56:72] = 255  # a square in the middle
    view = eval_view(picture, (28, 42)).float()[0] / 255
    rows, columns = view.sum(1), view.sum(0)
    assert torch.allclose(view, view.flip(0), atol=0.02)
    assert torch.allclose(view, view.flip(1), atol=0.02)
    assert (rows > rows.max() / 2).sum() == (columns > columns.max() / 2).sum()


def test_to_model_input_normalizes_per_channel():
    images = image(4, 4)[None]
    got = to_model_input(images, (0.1, 0.2, 0.3), (0.5, 0.25, 1.0))
    expected = (images / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.25, 1]).view(3, 1, 1)
    assert got.dtype == torch.float32
    assert torch.allclose(got, expected, atol=1e-6)
