"""Means of regions, and the spaces in which vectors are compared."""

import pytest
import torch
import torch.nn.functional as F

from nextpatch.weights.pooling import MOST_VALUES, RegionMeans, regions_for, square_grid
from nextpatch.weights.whitening import standardized, whitened


@pytest.mark.parametrize("grid", [(3, 3), (7, 7), (4, 6), (5, 3), (16, 9)])
@pytest.mark.parametrize("side", [2, 3])
def test_regions_are_those_of_adaptive_pooling(grid: tuple[int, int], side: int) -> None:
    features = torch.randn(2, grid[0] * grid[1], 5, dtype=torch.float64)
    maps = features.transpose(1, 2).unflatten(2, grid)
    expected = F.adaptive_avg_pool2d(maps, side).flatten(2).transpose(1, 2).flatten(1)
    torch.testing.assert_close(RegionMeans(grid, side)(features), expected, rtol=1e-6, atol=1e-6)


def test_one_region_is_the_mean_of_all_patches_to_the_bit() -> None:
    features = torch.randn(4, 9, 8)
    assert torch.equal(RegionMeans()(features), features.mean(dim=1))
    assert RegionMeans().width(8) == 8


def test_a_patch_counts_only_in_its_regions() -> None:
    features = torch.zeros(1, 36, 1)
    features[0, 0] = 1  # the upper left corner of 6 x 6
    found = RegionMeans((6, 6), 3)(features)[0]
    assert found[0] == pytest.approx(1 / 4)
    assert not found[1:].any()


@pytest.mark.parametrize(
    ("patches", "size", "dim", "side"),
    [(49, (28, 28), 128, 3), (49, (28, 28), 256, 2), (49, (28, 28), 1024, 1), (4, (28, 28), 16, 2),
     (12, (42, 56), 96, 3), (2, (14, 28), 16, 1), (50, (28, 28), 16, 1)],
)  # fmt: skip
def test_as_many_regions_as_fit(patches: int, size: tuple[int, int], dim: int, side: int) -> None:
    pool = regions_for(patches, size, dim)
    assert pool.side == side
    assert side == 1 or pool.width(dim) <= MOST_VALUES


def test_the_grid_is_that_of_square_patches() -> None:
    assert square_grid(12, (42, 56)) == (3, 4)
    assert square_grid(12, (56, 56)) is None


@pytest.mark.parametrize(("images", "values"), [(300, 12), (20, 40)])
def test_whitening_leaves_no_direction_of_its_vectors_longer_than_another(images: int, values: int) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(images, values, generator=generator, dtype=torch.float64) @ torch.diag(
        torch.logspace(0, 2, values, dtype=torch.float64)
    )
    [space] = whitened(vectors, (0.0,))
    turned = space.turned(vectors)
    variances = turned.T @ turned / images
    torch.testing.assert_close(variances, torch.eye(len(variances), dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_a_large_share_compares_as_the_vectors_lie() -> None:
    vectors = torch.randn(50, 6, dtype=torch.float64)
    [space] = whitened(vectors, (1e9,))
    plain = standardized(vectors)(vectors)
    torch.testing.assert_close(space(vectors) @ space(vectors).T, plain @ plain.T, rtol=1e-6, atol=1e-6)


def test_a_large_channel_does_not_decide_alone() -> None:
    vectors = torch.randn(100, 4)
    vectors[:, 0] *= 1000
    for space in (standardized(vectors), *whitened(vectors)):
        cosines = space(vectors) @ space(vectors).T
        assert cosines.fill_diagonal_(0).abs().mean() < 0.7


def test_equal_vectors_have_a_space() -> None:
    vectors = torch.ones(5, 3)
    for space in whitened(vectors):
        assert space(vectors).isfinite().all()
