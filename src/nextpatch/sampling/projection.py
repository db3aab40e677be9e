"""Enlarged images made to agree with what they were enlarged from: down again, they are that to the last bit."""

from __future__ import annotations

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from nextpatch.data.downsampling import downsampled

_ALTERNATIONS = 30
_HIGHEST = 255
_ROUNDED = 0.5  # of a level: how far a mean is from what it is rounded to


def project(
    images: UInt8[Tensor, "*any height width"], low: UInt8[Tensor, "*any low_height low_width"], factor: int
) -> UInt8[Tensor, "*any height width"]:
    """The images moved as little as is needed for `downsampled(images, factor)` to equal `low`.

    What the mean of a block lacks of half a level around the low-resolution pixel is added to all of its pixels alike,
    then they are clamped to the range of pixels; because what was clamped is lacking again, this alternates. These are
    projections onto two convex sets that hold every image which could be meant, so they bring it nearer to each of
    them. Then levels are rounded, and where the rounded mean of a block is still another one, pixels move by single
    levels.
    """
    blocks = _blocks(images, factor).to(torch.float64)
    wanted = low[..., None].to(torch.float64)
    for _ in range(_ALTERNATIONS):  # as many whatever the images are, so that none depends on the others
        lacking = wanted - blocks.mean(dim=-1, keepdim=True)
        blocks = (blocks + lacking - lacking.clamp(-_ROUNDED, _ROUNDED)).clamp(0, _HIGHEST)
    return _image(settled(blocks.round().int(), low.int()), factor).to(torch.uint8)


def settled(blocks: Int[Tensor, "*any pixels"], low: Int[Tensor, "*any"]) -> Int[Tensor, "*any pixels"]:
    """Blocks whose mean, rounded with halves up, is `low`: what is too much or too little is taken from or given to
    pixels that can still move, shared out evenly. Ends, for a block in which all pixels are `low` is one of these.
    """
    count = blocks.shape[-1]
    least, most = low * count - count // 2, low * count - count // 2 + count - 1  # sums that are rounded to `low`
    while True:
        total = blocks.sum(dim=-1)
        lacking = (least - total).clamp_min(0) + (most - total).clamp_max(0)
        if not bool(lacking.any()):
            return blocks
        free = torch.where(lacking[..., None] > 0, blocks < _HIGHEST, blocks > 0) & (lacking[..., None] != 0)
        turn = free.int().cumsum(dim=-1) - 1
        share, rest = lacking.abs() // free.sum(dim=-1).clamp_min(1), lacking.abs() % free.sum(dim=-1).clamp_min(1)
        step = (share[..., None] + (turn < rest[..., None]).int()) * free * lacking.sign()[..., None]
        blocks = (blocks + step).clamp(0, _HIGHEST)


def disagreement(
    images: UInt8[Tensor, "*any height width"], low: UInt8[Tensor, "*any low_height low_width"], factor: int
) -> int:
    """The largest difference, in levels, of the images made smaller again from what they were enlarged from."""
    return int((downsampled(images, factor).int() - low.int()).abs().max())


def _blocks(images: Tensor, factor: int) -> Tensor:
    """Pixels of blocks side by side, "*any low_height low_width pixels"."""
    *rest, height, width = images.shape
    cut = images.reshape(*rest, height // factor, factor, width // factor, factor)
    return cut.transpose(-3, -2).flatten(-2)


def _image(blocks: Tensor, factor: int) -> Tensor:
    *rest, rows, columns, _ = blocks.shape
    cut = blocks.reshape(*rest, rows, columns, factor, factor).transpose(-3, -2)
    return cut.reshape(*rest, rows * factor, columns * factor)
