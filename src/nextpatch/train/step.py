"""One optimizer step: gradients of the global batch's loss, its norm over all ranks, the update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.data.loader import Batch
from nextpatch.dist.parallelize import all_reduce_at_the_end, full
from nextpatch.dist.ranks import Ranks
from nextpatch.model.aim import AIM
from nextpatch.objective.labels import TakesLabels
from nextpatch.objective.objective import Draws, Objective
from nextpatch.train.compute import Compute

_KEYS_SHOWN = 8


class BadStepError(RuntimeError):
    """The guard stopped the run before an update; weights and optimizer are as they were before the step."""


def draws_of(objective: Objective, seed: int, batch: Batch) -> Draws:
    """What chance decides for each sample of a batch, and the classes that are told, where the objective takes them."""
    draws = objective.draw(seed, batch.positions)
    return objective.labelled(draws, batch.labels) if isinstance(objective, TakesLabels) else draws


class Share(NamedTuple):
    """A rank's part of the global batch's loss: the sum of these, one for each micro-batch."""

    losses: list[Float[Tensor, ""]]

    def total(self) -> Float[Tensor, ""]:
        """The part as a whole."""
        return torch.stack(self.losses).sum()


def accumulate_gradients(
    objective: Objective, model: AIM, batch: Batch, draws: Draws, scored: int, micro_batch_size: int,
    compute: Compute,
) -> Share:  # fmt: skip
    """Add the gradients of this rank's part of the loss to `.grad`, micro-batch by micro-batch; returns that part.

    ONE denominator, `scored`: the scored places of the whole global batch on all ranks, so that how the batch is cut
    changes nothing but rounding. Source: section 4.1; a mean of means would weigh patches by their neighbors' prefixes.
    """
    losses = []
    starts = range(0, draws.batch_size, micro_batch_size)
    for start in starts:
        all_reduce_at_the_end(model, last=start == starts[-1])
        stop = start + micro_batch_size
        inputs = compute.inputs(batch.images[start:stop])
        with compute.autocast():
            loss = objective.loss_sum(model, inputs, draws.part(start, stop)) / scored
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    return Share(losses)


def gradient_norm(model: nn.Module) -> Float[Tensor, ""]:
    """The Euclidean norm of all gradients, of all ranks (collective)."""
    return full(nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))


def update(model: nn.Module, optimizer: torch.optim.Optimizer, grad_norm: float, clip_norm: float) -> None:
    """Scale the gradients down to `clip_norm` if their norm over all ranks is larger, then step."""
    if grad_norm > clip_norm:
        params = list(model.parameters())
        nn.utils.clip_grads_with_norm_(params, clip_norm, torch.tensor(grad_norm, device=params[0].device))
    optimizer.step()


def describe_trouble(trouble: str, step: int, share: Share, keys: Sequence[Sequence[str]], ranks: Ranks) -> str:
    """What is wrong with a step and with which images (collective): those of micro-batches whose loss is not finite.

    Of all images of the batch, where no loss is to blame. `keys` are their names, by micro-batch.
    """
    odd = [key for loss, own in zip(share.losses, keys, strict=True) if not math.isfinite(float(loss)) for key in own]
    every = [key for own in keys for key in own]
    found = ranks.gather([odd, every[:_KEYS_SHOWN], len(every)])
    suspects = [key for own, _, _ in found for key in own]
    what, count = (
        ("the loss is not finite for", len(suspects)) if suspects else ("the batch", sum(n for *_, n in found))
    )
    shown = (suspects or [key for _, some, _ in found for key in some])[:_KEYS_SHOWN]
    rest = f" and {count - len(shown)} more" if count > len(shown) else ""
    return f"step {step}: {trouble}; {what}: {', '.join(shown)}{rest}"


def stopped(trouble: str, advice: str) -> BadStepError:
    """The error that ends a training at a bad step."""
    return BadStepError(f"{trouble}. Stopped before the update. {advice}")
