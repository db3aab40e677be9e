"""The order in which the patches of an image follow one another; one function an order, one line in model/names.py.

An order takes the grid, (rows, columns), and the recipe's `order_seed`, and gives the raster index of the i-th patch of
the sequence at entry i. The SEQUENCE is permuted: patches, tokens, targets, prefix and causal attention follow the
order, and a token keeps the position of its own place in trunk and head. Source: section 5.2, Table 3b, Figure 8.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from nextpatch.core.random import Stream, rng_at
from nextpatch.model.config import ModelConfig
from nextpatch.model.names import ORDERS


def raster(grid: tuple[int, int], seed: int) -> Int[Tensor, " patches"]:
    """Row by row, each from left to right: the paper's."""
    return torch.arange(grid[0] * grid[1])


def spiral(grid: tuple[int, int], seed: int) -> Int[Tensor, " patches"]:
    """From the centre outwards, clockwise, to the upper left corner.

    Backwards that is the walk from this corner along the edge, down first, and inwards ring by ring.
    """
    left, inwards = np.arange(grid[0] * grid[1]).reshape(grid), []
    while left.size:
        inwards.append(left[:, 0])
        left = np.rot90(left[:, 1:], -1)  # the edge that comes next is the first column again
    return torch.from_numpy(np.concatenate(inwards)[::-1].copy())


def checkerboard(grid: tuple[int, int], seed: int) -> Int[Tensor, " patches"]:
    """The places whose row and column are both even or both odd, in raster order, then the others."""
    rows, columns = torch.arange(grid[0])[:, None], torch.arange(grid[1])
    return ((rows + columns) % 2).flatten().argsort(stable=True)


def random(grid: tuple[int, int], seed: int) -> Int[Tensor, " patches"]:
    """One permutation for all images, fixed by seed and grid.

    It sorts raw words of the generator, which NumPy promises never to change; its own shuffles it may.
    """
    words = rng_at(seed, Stream.PATCH_ORDER, grid[0] << 32 | grid[1]).bit_generator.random_raw(grid[0] * grid[1])
    return torch.from_numpy(np.argsort(words, kind="stable"))


def of_features(grid: tuple[int, int], seed: int) -> Int[Tensor, " patches"]:
    """Of orders that training draws for each image: what is read without a drawn one is read in raster order."""
    return raster(grid, seed)


def order_of(cfg: ModelConfig) -> Int[Tensor, " patches"] | None:
    """The order of a configuration; None for raster, which moves nothing. ValueError for what is no permutation."""
    if cfg.order == "raster":
        return None
    order: Tensor = ORDERS[cfg.order](cfg.grid, cfg.order_seed)
    if not torch.equal(order.sort().values, torch.arange(cfg.num_patches)):
        raise ValueError(f"order {cfg.order} does not name each of {cfg.num_patches} places once")
    return None if torch.equal(order, torch.arange(cfg.num_patches)) else order
