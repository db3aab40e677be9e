"""The validation loss: one exact number per set of weights, whatever the batch size or the number of workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.core.random import FixedSeed
from nextpatch.data.loader import Batch
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.model.aim import AIM
from nextpatch.objective.objective import Draws, MeasuresMore, Objective, fixed_patches
from nextpatch.train.compute import Compute
from nextpatch.train.step import draws_of

CHUNKS = 16  # of a sequence (Figure 7)


@dataclass(frozen=True)
class ValidationLoss:
    """The mean loss over all scored places of the held-out images, and its parts; None where no image scored any.

    `position_loss[i]` is the mean at the i-th of the objective's places, in the order of the SEQUENCE (of the paper's:
    its patch i + 1). `chunk_loss[c]` is that of the sequence's patches from `chunk_start[c]` on (Figure 7).
    `patch_loss` is the mean at each patch in raster order, where it does not follow from the places: of an objective
    whose places predict other patches in other images.
    """

    loss: float
    chunk_loss: list[float | None]
    position_loss: list[float | None]
    images: int
    chunk_start: list[int]
    patch_loss: list[float | None] | None = None
    figures: dict[str, float] = field(default_factory=dict)  # what the objective tells beside, by name

    def entry(self) -> dict[str, Any]:
        """The values of a "val" entry; the figures are among them, each under its own name."""
        values = {name: value for name, value in asdict(self).items() if value is not None and name != "figures"}
        return {**values, **self.figures}

    def flipped_entry(self) -> dict[str, Any]:
        """The same where the images were upside down."""
        return {f"flipped_{name}": getattr(self, name) for name in ("loss", "chunk_loss", "position_loss")}


def chunk_starts(num_patches: int) -> list[int]:
    """Where each of 16 equal chunks of a sequence begins, or of as many as there are patches; the first are longer by
    one where they cannot be equal."""
    count = min(CHUNKS, num_patches)
    size, longer = divmod(num_patches, count)
    return [i * size + min(i, longer) for i in range(count)]


def upside_down(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches with their images flipped vertically (Figure 9)."""
    for batch in batches:
        yield replace(batch, images=batch.images.flip(-2))


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
    parts = sorted((_Part(*part) for own in ranks.gather(found) for part in own), key=lambda part: part.position)
    if not parts:
        raise UserError(
            "no held-out image could be decoded: bad_samples.jsonl and the log name the files and reasons; remove "
            "them, or give other images to validate on by --data.val"
        )
    loss = _summary(parts, chunk_starts(model.cfg.num_patches), objective.places)
    return replace(loss, figures=_figures(objective, loss.loss, parts))


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


class _Part(NamedTuple):
    """What one batch adds: sums of losses and numbers of scored ones by place, and by patch where that is another
    question. Plain values, which travel between ranks."""

    position: int  # of its first image
    images: int
    place_sums: list[float]
    place_counts: list[int]
    patch_sums: list[float]
    patch_counts: list[int]
    more: dict[str, float]  # sums of what is told beside the loss


def _sums(objective: Objective, model: AIM, batch: Batch, compute: Compute) -> _Part:
    draws = draws_of(objective, FixedSeed.VALIDATION, batch)
    with compute.autocast():
        values = _place_values(objective, model, compute.inputs(batch.images), draws)
    losses, scored = values.pop("loss").cpu().double(), objective.scored(draws).cpu()
    part = _Part(
        int(batch.positions[0]), len(batch.images), losses.sum(dim=0).tolist(), scored.sum(dim=0).tolist(), [], [],
        {name: float(found.cpu().double().sum()) for name, found in values.items()},
    )  # fmt: skip
    if fixed_patches(objective) is not None:
        return part
    patches = objective.predicts(draws)
    sums = losses.new_zeros(len(losses), model.cfg.num_patches).scatter_add(1, patches, losses)
    counts = scored.new_zeros(sums.shape, dtype=torch.int64).scatter_add(1, patches, scored.long())
    return part._replace(patch_sums=sums.sum(dim=0).tolist(), patch_counts=counts.sum(dim=0).tolist())


def _place_values(objective: Objective, model: AIM, images: Tensor, draws: Draws) -> dict[str, Tensor]:
    if isinstance(objective, MeasuresMore):
        return objective.place_values(model, images, draws)
    return {"loss": objective.position_losses(model, images, draws)}


def _figures(objective: Objective, loss: float, parts: Sequence[_Part]) -> dict[str, float]:
    """What the objective tells of the loss and of the means of its further values."""
    if not isinstance(objective, MeasuresMore):
        return {}
    count = sum(sum(part.place_counts) for part in parts)
    return objective.figures(loss, {name: math.fsum(p.more[name] for p in parts) / count for name in parts[0].more})


def blank(model: AIM, count: int = 1) -> Batch:
    """Images of nothing."""
    images = torch.zeros(count, model.cfg.in_chans, *model.cfg.img_size, dtype=torch.uint8)
    return Batch(images, torch.arange(count), torch.full((count,), -1), [""] * count)


def _summary(parts: Sequence[_Part], starts: list[int], places: range) -> ValidationLoss:
    sums, counts = _added([part.place_sums for part in parts]), _counted([part.place_counts for part in parts])
    spans = [
        slice(max(0, start - places.start), stop - places.start)
        for start, stop in zip(starts, [*starts[1:], places.stop], strict=True)
    ]
    by_patch = _means(_added([p.patch_sums for p in parts]), _counted([p.patch_counts for p in parts]))
    return ValidationLoss(
        loss=float(sums.sum() / counts.sum()),
        chunk_loss=[_mean(sums[span].sum(), counts[span].sum()) for span in spans],
        position_loss=_means(sums, counts),
        images=sum(part.images for part in parts),
        chunk_start=starts,
        patch_loss=by_patch or None,
    )


def _added(lists: Sequence[list[float]]) -> Tensor:
    return sum((torch.tensor(one, dtype=torch.float64) for one in lists), torch.zeros((), dtype=torch.float64))


def _counted(lists: Sequence[list[int]]) -> Tensor:
    return sum((torch.tensor(one, dtype=torch.int64) for one in lists), torch.zeros((), dtype=torch.int64))


def _means(sums: Tensor, counts: Tensor) -> list[float | None]:
    return [_mean(total, count) for total, count in zip(sums, counts, strict=True)]


def _mean(total: Tensor, count: Tensor) -> float | None:
    return float(total / count) if count else None
