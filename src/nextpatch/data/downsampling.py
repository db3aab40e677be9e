"""Images made smaller by a whole factor, as a small file would hold them, and enlarged again."""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn.functional import interpolate


def downsampled(levels: Num[Tensor, "*any height width"], factor: int) -> Num[Tensor, "*any low_height low_width"]:
    """The mean of each block of `factor` x `factor` levels of 8 bits, rounded, halves up: whole numbers again.

    `levels` are whole numbers from 0 to 255 of any type; sides are multiples of the factor. Exact.
    """
    *rest, height, width = levels.shape
    wide = levels if levels.is_floating_point() else levels.int()
    blocks = wide.reshape(*rest, height // factor, factor, width // factor, factor)
    count = factor * factor
    found = torch.div(blocks.sum(dim=(-3, -1)) + count // 2, count, rounding_mode="floor")
    return found.to(levels.dtype)


def enlarged(
    images: Float[Tensor, "batch channels low_height low_width"], factor: int
) -> Float[Tensor, "batch channels height width"]:
    """By bicubic interpolation, as torch has it (a = -0.75, edges repeated). Never in half precision; not clamped."""
    wide = images if images.dtype == torch.float64 else images.float()
    return interpolate(wide, scale_factor=factor, mode="bicubic", align_corners=False)
