"""How networks make codes: in float32 whatever the caller computes in, and a few images at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.core.errors import UserError

_PIECE = 16  # images; memory does not grow with the batch


@contextmanager
def float32(device: torch.device) -> Iterator[None]:
    """Inside, products are neither autocast nor rounded to TF32, and the same each time: codes are the same as ever."""
    exact = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
    with torch.autocast(device.type, enabled=False), exact:
        yield


@torch.no_grad()
def codes_of(
    images: Float[Tensor, "batch channels height width"],
    channels: int,
    patch_size: int,
    codes: Callable[[Tensor], Int[Tensor, "piece rows columns"]],
) -> Int[Tensor, "batch patches"]:
    """Codes of images in raster order, which `codes` makes of a piece of them; UserError for images that do not fit.

    A code changes with the size of the batch only where two codes are equally good to float32's rounding.
    """
    _, found, height, width = images.shape
    if found != channels:
        raise UserError(f"the tokenizer is of images of {channels} channels, these have {found}")
    if height % patch_size or width % patch_size:
        raise UserError(f"{height}x{width} pixels do not divide into patches of {patch_size}; resize or pad the images")
    with float32(images.device):
        return torch.cat([codes(piece.float()).flatten(1) for piece in torch.split(images, _PIECE)])
