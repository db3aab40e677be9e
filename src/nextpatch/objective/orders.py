"""The order in which the patches of an image follow one another; one function an order, one line in model/names.py.

An order takes the grid, (rows, columns), and gives the raster index of the i-th patch of the sequence at entry i. The
SEQUENCE is permuted: patches, tokens, targets and prefix follow the order, and a token keeps the position of its own
place in trunk and head. Source: section 5.2, Table 3b.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from nextpatch.model.config import ModelConfig
from nextpatch.model.names import ORDERS


def raster(grid: tuple[int, int]) -> Int[Tensor, " patches"]:
    """Row by row, each from left to right: the paper's."""
    return torch.arange(grid[0] * grid[1])


def order_of(cfg: ModelConfig) -> Int[Tensor, " patches"] | None:
    """The order of a configuration; None for raster, which moves nothing. ValueError for what is no permutation."""
    if cfg.order == "raster":
        return None
    order: Tensor = ORDERS[cfg.order](cfg.grid)
    if not torch.equal(order.sort().values, torch.arange(cfg.num_patches)):
        raise ValueError(f"order {cfg.order} does not name each of {cfg.num_patches} places once")
    return None if torch.equal(order, torch.arange(cfg.num_patches)) else order
