"""Holes in images of any size: known pixels stay, tiles see one another, and only what has a hole is computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nextpatch.model.aim import AIM
from nextpatch.sampling.config import SamplingConfig
from nextpatch.sampling.inpainting import Inpainter
from nextpatch.sampling.known import KnownPixels
from sampled import MEAN, SIZE, STD, generator_of, images_of, sampler_of


@pytest.fixture(scope="module")
def model() -> AIM:
    return generator_of(order="any")


def image_of(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (channels, height, width), generator=torch.Generator().manual_seed(0)).byte()


def filler(model: AIM, hole: Tensor, **values: object) -> Inpainter:
    channels = model.cfg.in_chans
    means = (MEAN, STD) if channels == 3 else ((0.5,) * channels, (0.3,) * channels)
    return Inpainter(model, *means, SamplingConfig(**{"steps": 2, **values}), hole)


def made(inpainter: Inpainter, image: Tensor, numbers: list[int]) -> Tensor:
    found = torch.zeros(len(numbers), *image.shape, dtype=torch.uint8)
    for some in inpainter.filled(image, 1, numbers):
        found[some.places] = some.images
    return found


def hole_in(height: int, width: int, rows: slice, columns: slice) -> Tensor:
    hole = torch.zeros(height, width, dtype=torch.bool)
    hole[rows, columns] = True
    return hole


def test_an_image_of_the_size_of_the_model_is_sampled_with_what_is_known(model: AIM) -> None:
    image, hole = image_of(*SIZE), hole_in(*SIZE, slice(1, 4), slice(3, 7))
    known = KnownPixels(image.expand(3, -1, -1, -1), ~hole.expand(3, 1, -1, -1))
    wanted = images_of(sampler_of(model, steps=2), [0, 1, 5], known=known)
    assert torch.equal(made(filler(model, hole), image, [0, 1, 5]), wanted)


@pytest.mark.parametrize(("channels", "size"), [(3, (13, 21)), (1, (9, 8)), (5, (6, 17))])
def test_what_is_known_of_a_large_image_stays_and_alternatives_are_their_own(
    channels: int, size: tuple[int, int]
) -> None:
    small, image = generator_of("diffusion", order="any", in_chans=channels), image_of(*size, channels)
    hole = hole_in(*size, slice(2, 9), slice(1, 20))
    inpainter = filler(small, hole)
    found = made(inpainter, image, [0, 1, 2])
    assert torch.equal(found.where(~hole, 0), image.where(~hole, 0).expand_as(found))
    assert len({one.numpy().tobytes() for one in found}) == 3
    assert torch.equal(made(inpainter, image, [2]), found[2:])


def test_tiles_see_what_earlier_ones_made(model: AIM) -> None:
    """A known pixel far to the left is felt to the right, through the tiles between; nothing else is common."""
    image, hole = image_of(6, 16), hole_in(6, 16, slice(None), slice(2, 16))
    other = image.clone()
    other[:, :, :2] = 255 - other[:, :, :2]
    inpainter = filler(model, hole, temperature=0.3)
    assert len(inpainter.parts) == 3
    first, second = made(inpainter, image, [0])[0], made(inpainter, other, [0])[0]
    assert not torch.equal(first[:, :, 12:], second[:, :, 12:])
    for before, after in zip(inpainter.parts, inpainter.parts[1:], strict=False):
        assert before.tile.behind == after.tile.before == 4
        assert after.missing[:, 2:].all(), "the rest is made anew, with sight of what is behind it"
        assert not after.missing[:, :2].any(), "what is kept is seen"


def test_only_what_has_a_hole_is_computed_and_a_small_hole_is_one_tile(model: AIM) -> None:
    hole = hole_in(900, 1200, slice(500, 503), slice(700, 706))
    (part,) = filler(model, hole).parts
    assert part.missing.sum() == 18
    window = filler(model, hole).window
    assert (window.top, window.left, window.height, window.width) == (498, 699, *SIZE), "it stands in the middle"
    hole[505, 1000] = True
    inpainter = filler(model, hole)
    assert inpainter.window.height == SIZE[0] or inpainter.window.height < 20, "of the image, what is near the holes"
    assert all(bool(one.missing.any()) for one in inpainter.parts)
    assert len(inpainter.parts) <= 8


def test_an_image_smaller_than_the_model_is_a_part_of_what_it_makes(model: AIM) -> None:
    image, hole = image_of(3, 5), hole_in(3, 5, slice(1, 3), slice(2, 5))
    found = made(filler(model, hole), image, [0, 1])
    assert found.shape == (2, 3, 3, 5)
    assert torch.equal(found.where(~hole, 0), image.where(~hole, 0).expand_as(found))
    assert not torch.equal(found[0], found[1])


def test_the_expected_value_is_the_mean_of_fillings(model: AIM) -> None:
    image, hole = image_of(6, 13), hole_in(6, 13, slice(2, 6), slice(3, 13))
    every = made(filler(model, hole, batch_size=4), image, list(range(10))).double()
    found = made(filler(model, hole, batch_size=4, average=5), image, [0, 1])
    wanted = torch.stack([every[:5].mean(dim=0), every[5:].mean(dim=0)])
    assert (found - wanted).abs().max() <= 0.5 + 1e-9


def test_a_fixed_order_says_how_many_patches_it_sees_too_late(model: AIM) -> None:
    raster, hole = generator_of(), hole_in(*SIZE, slice(3, 6), slice(None))
    assert filler(raster, hole).seen_too_late() == 0
    hole[:2, :2] = True
    assert filler(raster, hole).seen_too_late() == 3, "patches that are cut are not counted"
    assert filler(model, hole).seen_too_late() == 0
