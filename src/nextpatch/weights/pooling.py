"""One vector of the features of an image: the means of regions, side by side, so that it stays known where things are.

The mean of all patches, the usual choice, forgets it. Small networks do not write places into every patch; with 1,000
to 10,000 labels nearest neighbors and linear probes of theirs gain by regions (docs/log.md).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

SIDES = (3, 2)
MOST_VALUES = 2048  # of a vector: what nearest neighbors can be whitened in within a second


class RegionMeans(nn.Module):
    """Means over side x side regions of a grid of patches (rows, columns), one after the other; of one, over all.

    Regions are those of adaptive pooling: where a grid does not divide, neighbors share a row or a column of patches.
    """

    weights: Tensor

    def __init__(self, grid: tuple[int, int] = (1, 1), side: int = 1) -> None:
        super().__init__()
        self.side = side
        self.register_buffer("weights", region_weights(grid, side), persistent=False)

    def forward(self, features: Float[Tensor, "*batch patches dim"]) -> Float[Tensor, "*batch values"]:
        """Regions row by row, of each its `dim` means."""
        if self.side == 1:
            return features.mean(dim=-2)
        return (self.weights.to(features) @ features).flatten(-2)

    @property
    def name(self) -> str:
        """In words: "mean", "3 x 3 regions"."""
        return "mean" if self.side == 1 else f"{self.side} x {self.side} regions"

    def width(self, dim: int) -> int:
        """Values of a vector."""
        return self.side * self.side * dim


def region_weights(grid: tuple[int, int], side: int) -> Float[Tensor, "regions patches"]:
    """The share of each patch in the mean of each region."""
    rows, columns = (_spans(length, side) for length in grid)
    return torch.einsum("ir,jc->ijrc", rows, columns).reshape(side * side, -1)


def _spans(length: int, parts: int) -> Float[Tensor, "parts length"]:
    shares = torch.zeros(parts, length)
    for part in range(parts):
        start, stop = part * length // parts, -(-(part + 1) * length // parts)
        shares[part, start:stop] = 1 / (stop - start)
    return shares


def regions_for(num_patches: int, img_size: tuple[int, int], dim: int) -> RegionMeans:
    """As many regions as the grid has and MOST_VALUES hold: 3 x 3, 2 x 2, or one.

    The grid is the one with square patches; where the number of patches leaves no such grid, the mean of all.
    """
    grid = square_grid(num_patches, img_size)
    for side in SIDES:
        if grid is not None and min(grid) >= side and side * side * dim <= MOST_VALUES:
            return RegionMeans(grid, side)
    return RegionMeans()


def square_grid(num_patches: int, img_size: tuple[int, int]) -> tuple[int, int] | None:
    """(rows, columns) of so many square patches of an image (height, width); None where there is no such grid."""
    height, width = img_size
    rows = round((num_patches * height / width) ** 0.5)
    return (rows, num_patches // rows) if rows and rows * rows * width == num_patches * height else None
