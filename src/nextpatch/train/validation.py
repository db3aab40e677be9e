"""The validation loss: one exact number per set of weights, whatever the batch size or the number of workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.core.random import FixedSeed
from nextpatch.data.loader import Batch
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.model.aim import AIM
from nextpatch.objective.objective import Objective
from nextpatch.train.compute import Compute

_PAPER_CHUNK = 16


@dataclass(frozen=True)
class ValidationLoss:
    """The mean loss over all scored places of the held-out images, and its parts.

    `position_loss[i]` is the mean at the i-th of the objective's places (of the paper's: patch i + 1) and
    `chunk_loss[c]` that for the patches c * chunk .. (c + 1) * chunk - 1 (Figure 7); None where no image scored any.
    """

    loss: float
    chunk_loss: list[float | None]
    position_loss: list[float | None]
    images: int


def chunk_size(num_patches: int) -> int:
    """Patches per chunk: the paper's 16 (Figure 7) for 64 patches or more, an eighth of a shorter sequence."""
    return _PAPER_CHUNK if num_patches >= 64 else math.ceil(num_patches / 8)


@torch.no_grad()
def validation_loss(
    objective: Objective, model: AIM, batches: Iterable[Batch], compute: Compute, ranks: Ranks = ALONE, rounds: int = 0
) -> ValidationLoss:
    """The loss of `model` on every image of `batches`: `interruptible_loss` without an interruption."""
    found = interruptible_loss(objective, model, batches, compute, ranks, rounds, lambda: False)
    assert found is not None
    return found


@torch.no_grad()
def interruptible_loss(
    objective: Objective, model: AIM, batches: Iterable[Batch], compute: Compute, ranks: Ranks, rounds: int,
    stopped: Callable[[], object],
) -> ValidationLoss | None:  # fmt: skip
    """The loss of `model` on every image of `batches`, each with a prefix fixed by its position in the source.

    Sums are made in float64, batch by batch in the order of their positions, so that the number is the same for any
    number of ranks that share the batches. `rounds`: as many forward passes as every rank has to make, because a
    sharded model is gathered by all together; those without images count nothing. `stopped` is asked before each
    pass, on all ranks alike; None as soon as it says yes. UserError when there is no image.
    """
    found, failed = [], list[Exception]()
    for batch in _until_failure(batches, failed):
        if stopped():
            return None
        found.append(_sums(objective, model, batch, compute))
    for _ in range(len(found), rounds):
        if stopped():
            return None
        _sums(objective, model, blank(model), compute)
    _stop_together(failed, ranks)
    parts = sorted((part for own in ranks.gather(found) for part in own), key=lambda part: part[0])
    if not parts:
        raise UserError(
            "no held-out image could be decoded: bad_samples.jsonl and the log name the files and reasons; remove "
            "them, or give other images to validate on by --data.val"
        )
    sums = sum((torch.tensor(part[1], dtype=torch.float64) for part in parts), torch.zeros((), dtype=torch.float64))
    counts = sum((torch.tensor(part[2]) for part in parts), torch.zeros((), dtype=torch.int64))
    return _summary(sums, counts, sum(part[3] for part in parts), chunk_size(model.cfg.num_patches), objective.places)


def _until_failure(batches: Iterable[Batch], failed: list[Exception]) -> Iterator[Batch]:
    """The batches until their data fails: the other ranks wait for the rest of our passes before they hear of it."""
    try:
        yield from batches
    except (UserError, OSError) as error:
        failed.append(error)


def _stop_together(failed: list[Exception], ranks: Ranks) -> None:
    """Raise what failed on this rank, or PeerError for what did on another."""
    with ranks.raise_on_all() if ranks.spread else nullcontext():
        if failed:
            raise failed[0]


def _sums(objective: Objective, model: AIM, batch: Batch, compute: Compute) -> tuple[int, list[float], list[int], int]:
    """First position, sums of losses and numbers of scored places, number of images."""
    draws = objective.draw(FixedSeed.VALIDATION, batch.positions)
    with compute.autocast():
        losses = objective.position_losses(model, compute.inputs(batch.images), draws)
    counts = objective.scored(draws).sum(dim=0)
    return int(batch.positions[0]), losses.cpu().double().sum(dim=0).tolist(), counts.tolist(), len(batch.images)


def blank(model: AIM, count: int = 1) -> Batch:
    """Images of nothing."""
    images = torch.zeros(count, model.cfg.in_chans, *model.cfg.img_size, dtype=torch.uint8)
    return Batch(images, torch.arange(count), torch.zeros(count, dtype=torch.int64), [""] * count)


def _summary(sums: Tensor, counts: Tensor, images: int, chunk: int, places: range) -> ValidationLoss:
    starts = range(0, places.stop, chunk)  # of patches
    spans = [slice(max(0, start - places.start), start + chunk - places.start) for start in starts]
    return ValidationLoss(
        loss=float(sums.sum() / counts.sum()),
        chunk_loss=[_mean(sums[span].sum(), counts[span].sum()) for span in spans],
        position_loss=[_mean(s, n) for s, n in zip(sums, counts, strict=True)],
        images=images,
    )


def _mean(total: Tensor, count: Tensor) -> float | None:
    return float(total / count) if count else None
