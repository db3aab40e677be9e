"""What is known of images before they are sampled, and the order in which their patches follow from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from nextpatch.model.config import ModelConfig
from nextpatch.model.orders import order_of
from nextpatch.patches import patchify


@dataclass(frozen=True)
class KnownPixels:
    """Images of which the pixels under `mask` are known; the others do not count."""

    images: UInt8[Tensor, "images channels height width"]
    mask: Bool[Tensor, "images 1 height width"]

    @classmethod
    def nothing(cls, count: int, cfg: ModelConfig) -> KnownPixels:
        """So many images of which nothing is known."""
        images = torch.zeros(count, cfg.in_chans, *cfg.img_size, dtype=torch.uint8)
        return cls(images, torch.zeros(count, 1, *cfg.img_size, dtype=torch.bool))

    def of(self, numbers: list[int]) -> KnownPixels:
        """Those of some of the images."""
        return KnownPixels(self.images[numbers], self.mask[numbers])

    def put_back(self, images: UInt8[Tensor, "images channels height width"]) -> UInt8[Tensor, "images ..."]:
        """The images with these pixels, to the last bit."""
        return self.images.where(self.mask, images)


@dataclass(frozen=True)
class Beginning:
    """Where the sampling of a batch begins: patches in raster order, normalized, and the order of the sequence.

    `known`: which values of the patches are known; the others are 0. `order`: the raster place of each patch of the
    sequence.
    """

    patches: Float[Tensor, "images patches values"]
    known: Bool[Tensor, "images patches values"]
    order: Int[Tensor, "images patches"]


def beginning_of(
    cfg: ModelConfig, normalized: Tensor, mask: Bool[Tensor, "images 1 height width"], words: list[np.ndarray]
) -> Beginning:
    """Of normalized images with their masks; `words` are an image's own random numbers, one for each patch.

    In order `any` patches that are known come first, then those of which a part is known, then the others, each in an
    order of the image's own; in `known_first` those that are known and then all others, in raster order: for so the
    model was trained.
    """
    known = _in_patches(mask.expand_as(normalized), cfg)
    patches = patchify(normalized, cfg.patch_size) * known
    if cfg.order == "known_first":
        order = (~known.all(dim=2)).int().argsort(dim=1, stable=True)
    elif cfg.order == "any":
        rank = 2 - known.any(dim=2).int() - known.all(dim=2).int()
        keys = [np.lexsort((own, one)) for own, one in zip(words, rank.cpu().numpy(), strict=True)]
        order = torch.from_numpy(np.stack(keys))
    else:
        fixed = order_of(cfg)
        order = (torch.arange(cfg.num_patches) if fixed is None else fixed).expand(len(patches), -1)
    return Beginning(patches, known, order.to(patches.device))


def first_known(cfg: ModelConfig, mask: Bool[Tensor, "images 1 height width"]) -> Int[Tensor, " images"]:
    """How many patches at the beginning of each sequence are wholly known: they go in at once."""
    whole = _in_patches(mask, cfg).all(dim=2)
    return whole.sum(dim=1) if cfg.draws_order else _leading(_in_order(cfg, whole))


def seen_too_late(cfg: ModelConfig, mask: Bool[Tensor, "images 1 height width"], whole: bool = False) -> int:
    """How many patches of which something, or the `whole`, is known come behind one that the order has to sample.

    Those before them are made without sight of them: 0 for orders that are drawn for each image, `known_first` but for
    patches that are known in part among them, and for what is the beginning of the order.
    """
    if cfg.draws_order:
        return 0
    known = _in_patches(mask, cfg)
    some = _in_order(cfg, known.all(dim=2) if whole else known.any(dim=2))
    return int((some.sum(dim=1) - first_known(cfg, mask)).sum())


def _in_patches(
    mask: Bool[Tensor, "images channels height width"], cfg: ModelConfig
) -> Bool[Tensor, "images patches values"]:
    return patchify(mask.byte(), cfg.patch_size).bool()


def _in_order(cfg: ModelConfig, flags: Bool[Tensor, "images patches"]) -> Bool[Tensor, "images patches"]:
    order = order_of(cfg)
    return flags if order is None else flags[:, order.to(flags.device)]


def _leading(flags: Bool[Tensor, "images patches"]) -> Int[Tensor, " images"]:
    """How many are True before the first that is not."""
    return flags.int().cumprod(dim=1).sum(dim=1)
