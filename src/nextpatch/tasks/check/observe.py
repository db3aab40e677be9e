"""What a model does, observed by gradients alone: which patches an output sees, and which one it is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from nextpatch.core.random import FixedSeed, torch_generator
from nextpatch.patches import patchify
from nextpatch.tasks.check.subject import Subject


@dataclass(frozen=True)
class Observed:
    """For one prefix length; entry [o, k] speaks of output o and the k-th patch of the SEQUENCE."""

    prefix: int
    sees: Bool[Tensor, "outputs patches"]  # the prediction depends on the patch
    compared: Bool[Tensor, "outputs patches"]  # the loss of the prediction depends on the patch, prediction held fixed

    @property
    def pairs(self) -> list[tuple[int, list[int]]]:
        """(output, the patches it is compared with) for every scored output."""
        return [
            (output, row.nonzero().flatten().tolist()) for output, row in enumerate(self.compared) if bool(row.any())
        ]


def observe(subject: Subject, prefix: int) -> Observed:
    """Every output's inputs and target at prefix length `prefix`, on the first example image."""
    image = subject.images[:1]
    prefix_len = torch.tensor([prefix])
    return Observed(prefix, _sees(subject, image, prefix_len), _compared(subject, image, prefix_len))


def _sees(subject: Subject, image: Tensor, prefix_len: Tensor) -> Tensor:
    """Derivative of a random projection of every output, by pixel; a dependence is any value that is not zero."""
    image = image.clone().requires_grad_()
    predictions = subject.predict(image, prefix_len)
    direction = _direction(predictions.shape[-1], FixedSeed.VISIBLE_DIRECTION)
    projected = predictions[0] @ direction.to(predictions.dtype)
    rows = [torch.autograd.grad(value, image, retain_graph=True, allow_unused=True)[0] for value in projected]
    return torch.stack([_touched(subject, row, image) for row in rows])


def _direction(size: int, seed: FixedSeed) -> Tensor:
    """A random direction, the same in every run."""
    return torch.randn(size, generator=torch_generator(seed), dtype=torch.float64)


def _compared(subject: Subject, image: Tensor, prefix_len: Tensor) -> Tensor:
    """The loss's derivative by the predictions, differentiated once more by pixel: it moves with the target alone."""
    predictions = subject.predict(image, prefix_len).detach().requires_grad_()
    image = image.clone().requires_grad_()
    loss = subject.loss(predictions, image, prefix_len)
    (pull,) = torch.autograd.grad(loss, predictions, create_graph=True)
    direction = _direction(pull.shape[-1], FixedSeed.TARGET_DIRECTION)
    projected = pull[0] @ direction.to(pull.dtype)
    none = torch.zeros(subject.num_patches, dtype=torch.bool)
    if not projected.requires_grad:
        return none.expand(len(projected), -1).clone()
    rows = [torch.autograd.grad(value, image, retain_graph=True, allow_unused=True)[0] for value in projected]
    return torch.stack([_touched(subject, row, image) for row in rows])


def _touched(subject: Subject, gradient: Tensor | None, image: Tensor) -> Tensor:
    """Which patches of the sequence a gradient by pixel is not zero in."""
    whole = torch.zeros_like(image) if gradient is None else gradient
    return (patchify(whole, subject.patch_size)[0] != 0).any(dim=-1)[list(subject.order)]
