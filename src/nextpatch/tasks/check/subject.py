"""What can be examined: any predictor and any loss on its predictions, beside what is claimed of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nextpatch.core.random import FixedSeed, torch_generator
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.density import DensityHead
from nextpatch.objective.objective import Claims, Draws, Objective, scored_count
from nextpatch.patches import patchify, unpatchify
from nextpatch.tokenizer.of_model import tokenizer_of_model
from nextpatch.tokenizer.tokenizer import Tokenizer

_SMALL = 0.1
MAX_SIDE = 6  # patches: every output is examined against every patch, at a cost that grows with their number squared


@dataclass(frozen=True)
class Codes:
    """Targets that are codes of a tokenizer: what they should be, and the loss with any others in their place.

    `encode(images)`: the code of every patch, Int "batch patches" in raster order, of these images as they are.
    `loss(predictions, codes, draws)`: the scalar of `Subject.loss`, with such codes instead of those of images.
    `local`: whether the code of a patch is claimed to depend on that patch alone.
    """

    encode: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor, Draws], Tensor]
    local: bool = False


@dataclass(frozen=True)
class Subject:
    """An implementation as a black box, and what it is held to; nothing is assumed about what happens inside.

    `predict(images, draws)` gives "batch outputs values", `loss(predictions, images, draws)` the scalar that training
    minimizes; both without chance beyond the draws. `images`: at least two examples, "batch channels height width".
    `draws`: those that are tried, the extremes among them. `codes`: where the targets are codes; these are replaced
    then, one at a time, instead of pixels, of which a code may depend on many. `color`: of a plain image, a value for
    each channel, where 1 would be none.
    """

    predict: Callable[[Tensor, Draws], Tensor]
    loss: Callable[[Tensor, Tensor, Draws], Tensor]
    claims: Claims
    images: Tensor
    patch_size: int
    draws: Draws
    codes: Codes | None = None
    color: Tensor | None = None

    @property
    def num_patches(self) -> int:
        """Of an image."""
        return self.images[0, 0].numel() // self.patch_size**2


def small_config(cfg: ModelConfig, weights: bool) -> ModelConfig:
    """`cfg` on a grid of at most 6 x 6 patches, and without `weights` to keep also with small widths and depths.

    Positions are computed, so the same weights fit every grid.
    """
    unit = math.lcm(cfg.patch_size, max(1, cfg.upscale)) // cfg.patch_size  # so that low-resolution pixels are whole
    rows, columns = (min(side, max(unit, MAX_SIDE // unit * unit)) for side in cfg.grid)
    smaller = cfg.resized((rows * cfg.patch_size, columns * cfg.patch_size))
    return smaller if weights else replace(smaller, embed_dim=64, depth=3, num_heads=2, head_width=64, head_depth=2)


@torch.no_grad()
def awake(model: AIM) -> AIM:
    """The model with small weights in layers that start at zero, behind which nothing could be seen to depend."""
    generator = torch_generator(FixedSeed.EXAMPLE_IMAGES)
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            parameter.copy_(_SMALL * torch.randn(parameter.shape, generator=generator))
    return model


def subject_of(objective: Objective, model: AIM, batch: int = 3) -> Subject:
    """An objective of ours with the plain formulation of its loss; float64 weights make the examination exact."""
    kind = next(model.parameters()).dtype
    tokenizer = tokenizer_of_model(model.cfg) if model.cfg.target == "tokens" else None
    images = _noise(model, batch) if tokenizer is None else _drawn(tokenizer, model, batch)

    def predict(images: Tensor, draws: Draws) -> Tensor:
        return objective.predict(model, images, draws)

    def loss(predictions: Tensor, images: Tensor, draws: Draws) -> Tensor:
        return objective.score(model, predictions, images, draws).sum() / scored_count(objective, draws)

    def code_loss(predictions: Tensor, codes: Tensor, draws: Draws) -> Tensor:
        return objective.compare(predictions, codes, draws).sum() / scored_count(objective, draws)

    codes = None if tokenizer is None else Codes(lambda x: tokenizer.encode(x.float()), code_loss, tokenizer.local)
    color = images[0, :, 0, 0].to(kind) if isinstance(model.head, DensityHead) else None
    return Subject(predict, loss, objective, images.to(kind), model.cfg.patch_size, objective.examples(), codes, color)


def _noise(model: AIM, batch: int) -> Tensor:
    """Of normal values; of pixels of 8 bits, for a head that weighs these and no others."""
    cfg, generator = model.cfg, torch_generator(FixedSeed.EXAMPLE_IMAGES)
    noise = torch.randn(batch, cfg.in_chans, *cfg.img_size, generator=generator, dtype=torch.float64)
    if isinstance(model.head, DensityHead):
        patches = model.head.levels.nearest(patchify(noise, cfg.patch_size))
        return unpatchify(patches, cfg.grid, cfg.patch_size)
    return noise


def _drawn(tokenizer: Tokenizer, model: AIM, batch: int) -> Tensor:
    """Images of codes, another one in each image at every place, and noise: of either, most codes may be the same."""
    generator = torch_generator(FixedSeed.EXAMPLE_IMAGES)
    cfg = model.cfg
    by_place = torch.rand(tokenizer.codes, cfg.num_patches, generator=generator).argsort(dim=0)
    drawn = tokenizer.decode(by_place[torch.arange(batch) % tokenizer.codes], cfg.grid)
    return torch.cat([drawn.double(), _noise(model, batch)])
