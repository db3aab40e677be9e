"""Some patches of images, those that are scored or drawn, and the same choice of what is known of all patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.model.aim import patches_of
from nextpatch.model.config import ModelConfig
from nextpatch.patches import unpatchify


@dataclass(frozen=True)
class Chosen:
    """Patches of `images`, given by `index`: image times patches of an image, plus the patch in raster order.

    `all_patches` are those of the images, in raster order. A target makes of it what its outputs are compared with:
    patch by patch from `patches`, or, where a patch alone does not say it, from the whole `images`, then `of`.
    """

    images: Float[Tensor, "batch channels height width"]
    all_patches: Float[Tensor, "batch patches values"]
    index: Int[Tensor, "*rows"]

    @classmethod
    def every(cls, images: Float[Tensor, "batch channels height width"], cfg: ModelConfig) -> Chosen:
        """All patches of all images: rows are "batch patches"."""
        patches = patches_of(images, cfg)
        count = patches.shape[0] * patches.shape[1]
        return cls(images, patches, torch.arange(count, device=images.device).view(patches.shape[:2]))

    @property
    def patches(self) -> Float[Tensor, "*rows values"]:
        """The chosen ones."""
        return self.of(self.all_patches)

    def of(self, values: Tensor) -> Tensor:
        """The chosen rows of "batch patches *more", in raster order: "*rows *more"."""
        rows = values.flatten(0, 1).index_select(0, self.index.flatten())
        return rows.view(*self.index.shape, *values.shape[2:])

    def put(self, rows: Tensor, into: Tensor) -> Tensor:
        """A copy of `into`, "batch patches *more", with `rows`, "*rows *more", in place of the chosen ones."""
        flat = rows.flatten(0, self.index.ndim - 1).to(into.dtype)
        return into.flatten(0, 1).index_copy(0, self.index.flatten(), flat).view_as(into)

    def painted(
        self, pixels: Float[Tensor, "*rows values"], cfg: ModelConfig
    ) -> Float[Tensor, "batch channels height width"]:
        """The images with `pixels` in place of the chosen patches."""
        return unpatchify(self.put(pixels, self.all_patches), cfg.grid, cfg.patch_size)
