"""Proofs about a low-resolution image that is told: it is all that a prediction knows of patches hidden from it.

It is rounded to 8 bits, so no derivative passes through it, and what the other proofs find is seen beside it. Here
pixels are moved by whole levels: within blocks, which changes the image but not its low-resolution version, and block
by block, which changes both.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor

from nextpatch.model.aim import AIM
from nextpatch.model.low_res import LowRes
from nextpatch.model.start import low_res_of
from nextpatch.objective.objective import Draws
from nextpatch.patches import by_pixel
from nextpatch.tasks.check.subject import Subject
from nextpatch.tasks.check.told import Verdict

_FAR = 96  # levels: what a block is made darker or brighter by


def prove_low_res(subject: Subject, model: AIM) -> list[Verdict]:
    """Both proofs, of a model that enlarges; nothing of others."""
    low = low_res_of(model.start)
    if low is None:
        return []
    proofs: list[tuple[str, Callable[[Subject, LowRes, Draws], str]]] = [
        ("of its target and later patches a prediction knows the low-resolution image and no more", _no_more),
        ("every prediction knows the low-resolution image of its target", _so_much),
    ]
    each = [subject.draws.part(i, i + 1) for i in range(subject.draws.batch_size)]
    return [
        Verdict(claim, next((reason for draws in each if (reason := proof(subject, low, draws))), ""))
        for claim, proof in proofs
    ]


def _no_more(subject: Subject, low: LowRes, draws: Draws) -> str:
    """Pixels of hidden blocks are exchanged with others of their block: the prediction stays the same."""
    levels = low.levels(subject.images[:1])
    before = _predictions(subject, low, levels, draws)
    for place, hidden in enumerate(~subject.claims.may_see(draws)[0]):
        moved = levels.where(~_inside(subject, low, levels, hidden), _exchanged(levels, low.factor))
        if not torch.equal(_predictions(subject, low, moved, draws)[place], before[place]):
            target = int(subject.claims.predicts(draws)[0, place])
            return (
                f"output {place}, of patch {target}, follows pixels that it must not see, though the low-resolution "
                "image stays the same: it is told a larger image"
            )
    return ""


def _so_much(subject: Subject, low: LowRes, draws: Draws) -> str:
    """A target's blocks are made darker or brighter: the prediction changes, although it does not see the target."""
    levels = low.levels(subject.images[:1])
    before = _predictions(subject, low, levels, draws)
    for place, target in enumerate(subject.claims.predicts(draws)[0].tolist()):
        hidden = torch.arange(subject.num_patches) == target
        inside = _inside(subject, low, levels, hidden)
        blocks = inside if bool(inside.any()) else _touched(subject, low, levels, hidden)
        moved = levels.where(~blocks, levels + _FAR * (1 - 2 * (levels > 127).to(levels.dtype)))
        if torch.equal(_predictions(subject, low, moved, draws)[place], before[place]):
            return f"output {place} does not follow the low-resolution image of patch {target}, which it must predict"
    return ""


def _predictions(subject: Subject, low: LowRes, levels: Tensor, draws: Draws) -> Tensor:
    with torch.no_grad():
        return subject.predict(low.normalized(levels), draws)[0]


def _inside(subject: Subject, low: LowRes, levels: Tensor, patches: Bool[Tensor, " patches"]) -> Tensor:
    """The pixels of blocks that lie in these patches as a whole, "1 1 height width"."""
    return ~_touched(subject, low, levels, ~patches)


def _touched(subject: Subject, low: LowRes, levels: Tensor, patches: Bool[Tensor, " patches"]) -> Tensor:
    """The pixels of blocks of which some lie in these patches."""
    height, width = levels.shape[2:]
    grid = height // subject.patch_size, width // subject.patch_size
    pixels = by_pixel(patches[None], grid, subject.patch_size)
    blocks = pixels.view(1, 1, height // low.factor, low.factor, width // low.factor, low.factor)
    return blocks.any(dim=(3, 5), keepdim=True).expand(blocks.shape).reshape(pixels.shape)


def _exchanged(levels: Tensor, factor: int) -> Tensor:
    """Every pixel in the place of the next one of its block."""
    batch, channels, height, width = levels.shape
    blocks = levels.view(batch, channels, height // factor, factor, width // factor, factor).transpose(3, 4)
    moved = blocks.flatten(4).roll(1, dims=-1).view(blocks.shape)
    return moved.transpose(3, 4).reshape(levels.shape)
