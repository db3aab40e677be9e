"""Images to sequences of patches and back, their positions and their statistics: words that every room uses."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from nextpatch.core.errors import UserError


def patchify(
    images: Num[Tensor, "batch channels height width"], patch_size: int
) -> Num[Tensor, "batch patches values"]:
    """Cut images into non-overlapping patches in raster order; inside a patch the order is (row, column, channel).

    Raises UserError when a side is not a multiple of `patch_size`. Source: paper section 4.1; the inner order is that
    of the pixel target.
    """
    batch, channels, height, width = images.shape
    if height % patch_size or width % patch_size:
        raise UserError(f"{height}x{width} pixels do not divide into patches of {patch_size}; resize or pad the images")
    rows, columns = height // patch_size, width // patch_size
    cut = images.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, patch_size * patch_size * channels)


def unpatchify(
    patches: Float[Tensor, "batch patches values"], grid: tuple[int, int], patch_size: int
) -> Float[Tensor, "batch channels height width"]:
    """The inverse of `patchify`; `grid` is (patches per column, patches per row)."""
    rows, columns = grid
    cut = patches.reshape(patches.shape[0], rows, columns, patch_size, patch_size, -1)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(patches.shape[0], -1, rows * patch_size, columns * patch_size)


def by_pixel(
    chosen: Bool[Tensor, "batch patches"], grid: tuple[int, int], patch_size: int
) -> Bool[Tensor, "batch 1 height width"]:
    """For each pixel whether its patch is chosen; `grid` as in `unpatchify`."""
    small = chosen.view(len(chosen), 1, *grid)
    return small.repeat_interleave(patch_size, dim=2).repeat_interleave(patch_size, dim=3)


def sincos_positions(grid: tuple[int, int], dim: int) -> Float[Tensor, "patches {dim}"]:
    """Fixed 2-D sine-cosine positions, float32, in raster order.

    The first half of the channels encodes the column, the second the row; each half is all sines, then all cosines, at
    frequencies 10000^(-i/(dim/4)). Computed in float64 and rounded once. Source: section 4.2; He et al. for the layout.
    """
    if dim % 4:
        raise UserError(f"2-D sine-cosine positions need a width that is a multiple of 4, got {dim}")
    rows, columns = grid
    frequency = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    row, column = torch.meshgrid(
        torch.arange(rows, dtype=torch.float64), torch.arange(columns, dtype=torch.float64), indexing="ij"
    )
    angles = [axis.reshape(-1, 1) * frequency for axis in (column, row)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1).float()


def patch_statistics(
    patches: Float[Tensor, "*rows values"], eps: float = 1e-6
) -> tuple[Float[Tensor, "*rows 1"], Float[Tensor, "*rows 1"]]:
    """(mean, sqrt(unbiased variance + eps)) of every patch: what `normalize_patches` takes out."""
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return mean, (variance + eps).sqrt()


def normalize_patches(patches: Float[Tensor, "*rows values"], eps: float = 1e-6) -> Float[Tensor, "*rows values"]:
    """Each patch by its own mean and unbiased variance: (x - mean) / sqrt(var + eps). Finite for constant patches.

    Source: section 4.1 and He et al.; eps is the released value.
    """
    mean, scale = patch_statistics(patches, eps)
    return (patches - mean) / scale
