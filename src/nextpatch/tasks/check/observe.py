"""What an implementation does, observed from outside: which patches an output sees, and which it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from nextpatch.core.random import FixedSeed, torch_generator
from nextpatch.objective.objective import Draws
from nextpatch.patches import patchify, unpatchify
from nextpatch.tasks.check.subject import Subject


@dataclass(frozen=True)
class Observed:
    """Under one draw, what is claimed and what was found; patches are counted in raster order.

    Entry [p, k] speaks of place or output p, which are the same as far as there are places, and of patch k.
    """

    told: str  # the draw, in words
    scored: Bool[Tensor, " places"]
    given: Bool[Tensor, " patches"]
    target: Int[Tensor, " places"]  # the patch that each place should be compared with
    may_see: Bool[Tensor, "places patches"]
    sees: Bool[Tensor, "outputs patches"]  # the prediction depends on the patch
    compared: Bool[Tensor, "outputs patches"]  # the loss of the prediction depends on the patch, prediction held fixed
    finite: bool  # the loss's derivative by every output

    @property
    def pairs(self) -> list[tuple[int, list[int]]]:
        """(output, the patches it is compared with) for every scored output."""
        return [(output, patches) for output, row in enumerate(self.compared) if (patches := listed(row))]


def listed(patches: Bool[Tensor, " patches"]) -> list[int]:
    """Their numbers."""
    found: list[int] = patches.nonzero().flatten().tolist()
    return found


def observe(subject: Subject, draws: Draws) -> Observed:
    """Every output's inputs and target under one draw, on the first example image."""
    image, claims = subject.images[:1], subject.claims
    return Observed(
        claims.told(draws)[0], claims.scored(draws)[0], claims.given(draws)[0], claims.predicts(draws)[0],
        claims.may_see(draws)[0], _sees(subject, image, draws), *_compared(subject, image, draws),
    )  # fmt: skip


def _sees(subject: Subject, image: Tensor, draws: Draws) -> Tensor:
    """Derivative of a random projection of every output, by pixel; a dependence is any value that is not zero."""
    image = image.clone().requires_grad_()
    predictions = subject.predict(image, draws)
    generator = torch_generator(FixedSeed.VISIBLE_DIRECTION)
    direction = torch.randn(predictions.shape[-1], generator=generator, dtype=torch.float64)
    projected = predictions[0] @ direction.to(predictions.dtype)
    rows = [torch.autograd.grad(value, image, retain_graph=True, allow_unused=True)[0] for value in projected]
    whole = [torch.zeros_like(image) if row is None else row for row in rows]
    return torch.stack([(patchify(row, subject.patch_size)[0] != 0).any(dim=-1) for row in whole])


def _compared(subject: Subject, image: Tensor, draws: Draws) -> tuple[Tensor, bool]:
    """Whether the loss pulls an output elsewhere once a patch is another, all predictions held fixed.

    Not by a second derivative: where the target is a code it has none by pixel.
    """
    predictions = subject.predict(image, draws).detach().requires_grad_()
    pull = _pull(subject.loss, predictions, image, draws)
    found = torch.zeros(predictions.shape[1], subject.num_patches, dtype=torch.bool)
    if subject.codes is None:
        changed, loss, as_it_is = other_pixels(subject), subject.loss, pull
    else:
        codes, loss = subject.codes.encode(image), subject.codes.loss
        changed, as_it_is = other_codes(codes), _pull(loss, predictions, codes, draws)
    for patch, target in changed:
        found[:, patch] |= (_pull(loss, predictions, target, draws) != as_it_is).any(dim=-1)
    return found, bool(pull.isfinite().all())


def other_pixels(subject: Subject) -> Iterator[tuple[int, Tensor]]:
    """(patch, the first image with that patch of another), for every patch and every other image."""
    image = subject.images[:1]
    for other in subject.images[1:]:
        for patch in range(subject.num_patches):
            yield patch, _with_patch(image, other[None], patch, subject.patch_size)


def other_codes(codes: Int[Tensor, "1 patches"]) -> Iterator[tuple[int, Tensor]]:
    """(patch, the codes with another one there), for every patch; 0 and 1 are codes of every tokenizer."""
    for patch in range(codes.shape[1]):
        changed = codes.clone()
        changed[0, patch] = int(codes[0, patch] == 0)
        yield patch, changed


def _pull(loss: Callable[[Tensor, Tensor, Draws], Tensor], predictions: Tensor, target: Tensor, draws: Draws) -> Tensor:
    """The derivative of the loss by each output."""
    value = loss(predictions, target, draws)
    if not value.requires_grad:
        return torch.zeros_like(predictions[0])
    (pull,) = torch.autograd.grad(value, predictions, allow_unused=True)
    return torch.zeros_like(predictions[0]) if pull is None else pull[0]


def _with_patch(image: Tensor, other: Tensor, patch: int, patch_size: int) -> Tensor:
    """The image with one patch of the other."""
    patches = patchify(image, patch_size).clone()
    patches[:, patch] = patchify(other, patch_size)[:, patch]
    grid = image.shape[2] // patch_size, image.shape[3] // patch_size
    return unpatchify(patches, grid, patch_size)
