"""Images value by value, each told by those before it: the same operations whether values are known or decoded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy.typing import NDArray
from torch import Tensor

from nextpatch.model.aim import AIM
from nextpatch.model.cache import KeyValueCache
from nextpatch.model.heads.density import DensityHead

Choose = Callable[[Float32[np.ndarray, "batch levels"], int, int], NDArray[np.int32]]


@torch.no_grad()
def step_through(model: AIM, head: DensityHead, batch: int, choose: Choose) -> Int64[Tensor, "batch patches values"]:
    """Values of `batch` images, patches in raster order; `choose` says each from its probabilities.

    It is called with the probabilities of all levels, the raster place of the patch and the number of the value in it.
    Every call with the same weights, batch and threads computes the same bits, for it has the same shapes in the same
    order: that is what a decoder needs. Float32, no class told.
    """
    cfg, device = model.cfg, next(model.parameters()).device
    order = model.order()
    places = list(range(cfg.num_patches)) if order is None else order.tolist()
    cache = KeyValueCache(cfg, batch, cfg.num_patches, device)
    found = torch.zeros(batch, cfg.num_patches, cfg.patch_dim, dtype=torch.int64, device=device)
    token = model.start_tokens(None, batch, _at(places[0], 1, device))
    for turn, place in enumerate(places):
        feature = model.trunk.extend(token, cache)[:, 0]
        condition = model.condition(feature, _at(place, batch, device))
        found[:, place] = _patch(head, condition, place, choose)
        if turn + 1 < len(places):
            pixels = head.levels.pixels(found[:, place])[:, None]
            here, after = (_at(one, batch, device)[:, None] for one in (place, places[turn + 1]))
            token = model.patch_tokens(pixels, here, after)
    return found


def _patch(head: DensityHead, condition: Tensor, place: int, choose: Choose) -> Int64[Tensor, "batch values"]:
    begun = head.within.begin(condition)
    levels = torch.zeros(*begun.shape[:2], dtype=torch.int64, device=begun.device)
    for value in range(begun.shape[1]):
        probabilities = head.within.step(begun, levels[:, :value])
        chosen = choose(probabilities.cpu().numpy(), place, value)
        levels[:, value] = torch.from_numpy(chosen.astype(np.int64)).to(levels.device)
    return levels


def _at(place: int, count: int, device: torch.device) -> Int64[Tensor, " count"]:
    return torch.full((count,), place, device=device)
