"""Proofs about our own training path: it computes less than the plain formulation, and must give the same."""

from __future__ import annotations

import torch
from torch import Tensor

from nextpatch.model.aim import AIM
from nextpatch.objective.objective import Objective, scored_count
from nextpatch.tasks.check.told import Verdict

LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-6, 1e-5


def prove_training(objective: Objective, model: AIM, images: Tensor) -> list[Verdict]:
    """Packed equals plain; cut into micro-batches equals whole."""
    draws = objective.examples()
    batch = images[torch.arange(draws.batch_size) % len(images)]
    scored = scored_count(objective, draws)
    plain = _gradients(model, [objective.position_losses(model, batch, draws).sum() / scored])
    packed = _gradients(model, [objective.loss_sum(model, batch, draws) / scored])
    pieces = [(batch[i : i + 1], draws.part(i, i + 1)) for i in range(len(batch))]
    cut = _gradients(model, [objective.loss_sum(model, *piece) / scored for piece in pieces])
    return [
        Verdict(
            "the loss that training computes (scored positions only) equals the full loss", _compare(packed, plain)
        ),
        Verdict("loss and gradients do not depend on how a batch is split into micro-batches", _compare(cut, packed)),
    ]


def _gradients(model: AIM, losses: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    for loss in losses:
        loss.backward()  # type: ignore[no-untyped-call]
    total = torch.stack([loss.detach() for loss in losses]).sum()
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _compare(ours: tuple[Tensor, dict[str, Tensor]], theirs: tuple[Tensor, dict[str, Tensor]]) -> str:
    loss = _relative_difference(ours[0], theirs[0])
    if not loss <= LOSS_TOLERANCE:
        return f"the losses differ by {loss:.1e} relative, more than {LOSS_TOLERANCE:.0e}"
    if ours[1].keys() != theirs[1].keys():
        return f"only one of the two trains {', '.join(sorted(ours[1].keys() ^ theirs[1].keys()))}"
    for name, gradient in theirs[1].items():
        off = _relative_difference(ours[1][name], gradient)
        if not off <= GRADIENT_TOLERANCE:
            return f"the gradients of {name} differ by {off:.1e} relative, more than {GRADIENT_TOLERANCE:.0e}"
    return ""


def _relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm().clamp_min(1e-300))
