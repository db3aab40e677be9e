"""What can be examined: any model that predicts patches and any loss on its predictions, as two functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from nextpatch.core.random import FixedSeed, torch_generator
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.objective.next_patch import NextPatch, with_prefix
from nextpatch.objective.objective import scored_count

MAX_SIDE = 6  # patches: every output is examined against every patch, at a cost that grows with their number squared


@dataclass(frozen=True)
class Subject:
    """A next-patch objective as a black box; nothing is assumed about what happens inside.

    `predict(images, prefix_len)` gives "batch outputs values", `loss(predictions, images, prefix_len)` the scalar that
    training minimizes. `order[k]` is the raster index of the k-th patch of the sequence; a prefix is its first patches.
    `images`: an example, "batch channels height width". `attention`: what the prefix promises (Table 3d).
    """

    predict: Callable[[Tensor, Tensor], Tensor]
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    images: Tensor
    patch_size: int
    order: tuple[int, ...]
    attention: Literal["prefix", "causal"] = "prefix"

    @property
    def num_patches(self) -> int:
        """K."""
        return len(self.order)


def small_config(cfg: ModelConfig, weights: bool) -> ModelConfig:
    """`cfg` on a grid of at most 6 x 6 patches, and without `weights` to keep also with small widths and depths.

    Positions are computed, so the same weights fit every grid.
    """
    rows, columns = (min(side, MAX_SIDE) for side in cfg.grid)
    smaller = replace(cfg, img_size=(rows * cfg.patch_size, columns * cfg.patch_size))
    return smaller if weights else replace(smaller, embed_dim=64, depth=3, num_heads=2, head_width=64, head_depth=2)


def subject_of(model: AIM, batch: int = 3) -> Subject:
    """Our own model, with the plain formulation of its loss; float64 weights make the examination exact."""
    cfg, objective = model.cfg, NextPatch(model.cfg)
    generator = torch_generator(FixedSeed.EXAMPLE_IMAGES)
    images = torch.randn(batch, cfg.in_chans, *cfg.img_size, generator=generator, dtype=torch.float64)

    def predict(images: Tensor, prefix_len: Tensor) -> Tensor:
        return objective.predict(model, images, with_prefix(prefix_len))

    def loss(predictions: Tensor, images: Tensor, prefix_len: Tensor) -> Tensor:
        draws = with_prefix(prefix_len)
        return objective.score(predictions, images, draws).sum() / scored_count(objective, draws)

    dtype = next(model.parameters()).dtype
    return Subject(predict, loss, images.to(dtype), cfg.patch_size, tuple(range(cfg.num_patches)), cfg.attention)
