"""Tiles: they cover an image and share what they say, and blending leaves neither seams nor other pixels."""

from __future__ import annotations

import pytest
import torch

from nextpatch.sampling.tiles import Tile, blend, tiles_of

CASES = [((5, 7), (5, 7), (2, 2)), ((12, 9), (4, 4), (2, 1)), ((13, 31), (6, 8), (3, 4)), ((4, 9), (4, 3), (0, 0))]


@pytest.mark.parametrize(("size", "tile", "overlap"), CASES)
def test_tiles_cover_the_image_and_share_what_they_say(
    size: tuple[int, int], tile: tuple[int, int], overlap: tuple[int, int]
) -> None:
    times = torch.zeros(size, dtype=torch.int64)
    for one in tiles_of(size, tile, overlap):
        before = one.of(times).clone()
        assert before.shape == tile
        assert bool((before[one.above :, one.before :] == 0).all())
        assert bool((before[: one.above] > 0).all())
        assert bool((before[:, : one.before] > 0).all())
        assert one.above >= overlap[0] or one.top == 0
        assert one.behind >= overlap[1] or one.left + tile[1] == size[1]
        one.of(times).add_(1)
    assert int(times.min()) == 1
    count = -(-(size[0] - overlap[0]) // (tile[0] - overlap[0])) * -(-(size[1] - overlap[1]) // (tile[1] - overlap[1]))
    assert len(list(tiles_of(size, tile, overlap))) == count


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_tiles_of_an_image_give_the_image_to_the_last_bit(dtype: torch.dtype) -> None:
    image = torch.randint(0, 256, (3, 13, 31), generator=torch.Generator().manual_seed(0)).to(dtype)
    found = torch.zeros_like(image)
    for one in tiles_of((13, 31), (6, 8), (3, 4)):
        blend(found, one, one.of(image))
    assert torch.equal(found, image)


def test_a_step_between_tiles_becomes_a_ramp() -> None:
    image = torch.zeros(1, 6, 10)
    for number, one in enumerate(tiles_of((6, 10), (6, 6), (0, 2))):
        blend(image, one, torch.full((1, 6, 6), 90.0 * number))
    assert image[0, 3].tolist() == [0, 0, 0, 0, 30, 60, 90, 90, 90, 90]
    image = torch.zeros(1, 10, 10)
    for one in tiles_of((10, 10), (6, 6), (2, 2)):  # the last one meets all of the others
        blend(image, one, torch.full((1, 6, 6), 90.0 * (one.top + one.left == 8)))
    steps = torch.cat([image[0].diff(dim=0).abs().flatten(), image[0].diff(dim=1).abs().flatten()])
    assert steps.max() <= 30.01


def test_what_is_to_be_kept_of_the_overlap_is_kept() -> None:
    image = torch.zeros(1, 4, 8, dtype=torch.uint8)
    blend(image, Tile(0, 2, 4, 6, before=4), torch.full((1, 4, 6), 90, dtype=torch.uint8), kept=2)
    assert image[0, 0].tolist() == [0, 0, 0, 0, 30, 60, 90, 90]


def test_larger_images_have_larger_tiles_in_the_same_places() -> None:
    large = torch.arange(144).view(12, 12)
    for one in tiles_of((6, 6), (4, 4), (1, 1)):
        assert torch.equal(one.times(2).of(large)[::2, ::2], one.of(large[::2, ::2]))


@pytest.mark.parametrize(("tile", "overlap"), [((7, 4), (1, 1)), ((4, 4), (4, 1)), ((4, 4), (-1, 1))])
def test_tiles_that_cannot_cover_are_refused(tile: tuple[int, int], overlap: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot cover"):
        list(tiles_of((6, 6), tile, overlap))
