"""The validation loss: one exact number per set of weights, whatever the batch size or the number of workers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from nextpatch.data.loader import Batch
from nextpatch.model.aim import AIM
from nextpatch.model.objective import scored_mask
from nextpatch.train.compute import Compute
from nextpatch.train.heldout import GROUP_SIZE
from nextpatch.train.step import prefix_lengths

PREFIX_SEED = 0x56414C  # not the run's seed: runs with different seeds are measured with the same prefixes
_PAPER_CHUNK = 16


@dataclass(frozen=True)
class ValidationLoss:
    """Mean squared error over all scored patches of the held-out images, and its parts.

    `position_loss[i]` is the mean for the prediction of patch i + 1 (K - 1 values) and `chunk_loss[c]` that for the
    patches c * chunk .. (c + 1) * chunk - 1 (Figure 7); None where no image scored any.
    """

    loss: float
    chunk_loss: list[float | None]
    position_loss: list[float | None]
    images: int


def chunk_size(num_patches: int) -> int:
    """Patches per chunk: the paper's 16 (Figure 7) for 64 patches or more, an eighth of a shorter sequence."""
    return _PAPER_CHUNK if num_patches >= 64 else math.ceil(num_patches / 8)


@torch.no_grad()
def validation_loss(model: AIM, batches: Iterable[Batch], compute: Compute) -> ValidationLoss:
    """The loss of `model` on every image of `batches`, each with a prefix fixed by its position in the source.

    Images are regrouped to `GROUP_SIZE` before the forward pass and summed in float64 in their order, so the number
    does not depend on how `batches` is cut. ValueError when there is no image.
    """
    outputs = model.cfg.num_patches - 1
    sums, counts, images = torch.zeros(outputs, dtype=torch.float64), torch.zeros(outputs, dtype=torch.int64), 0
    for group, positions in _groups(batches):
        prefix_len = prefix_lengths(model.cfg, PREFIX_SEED, positions)
        with compute.autocast():
            losses = model.patch_losses(compute.inputs(group), prefix_len.to(compute.device), model.cfg.attention)
        sums += losses.cpu().double().sum(dim=0)
        counts += scored_mask(prefix_len, model.cfg.num_patches).sum(dim=0)
        images += len(group)
    if not images:
        raise ValueError("no held-out image could be decoded; the log names the files and reasons")
    return _summary(sums, counts, images, chunk_size(model.cfg.num_patches))


def _groups(
    batches: Iterable[Batch],
) -> Iterator[tuple[UInt8[Tensor, "batch channels height width"], Int[Tensor, " batch"]]]:
    """The same images and positions in groups of `GROUP_SIZE`, the last one shorter."""
    images: list[Tensor] = []
    positions: list[Tensor] = []
    for batch in batches:
        images += batch.images
        positions += batch.positions
        while len(images) >= GROUP_SIZE:
            yield torch.stack(images[:GROUP_SIZE]), torch.stack(positions[:GROUP_SIZE])
            images, positions = images[GROUP_SIZE:], positions[GROUP_SIZE:]
    if images:
        yield torch.stack(images), torch.stack(positions)


def _summary(sums: Tensor, counts: Tensor, images: int, chunk: int) -> ValidationLoss:
    starts = range(0, len(sums) + 1, chunk)  # of patches; output i belongs to patch i + 1
    spans = [slice(max(0, start - 1), start + chunk - 1) for start in starts]
    return ValidationLoss(
        loss=float(sums.sum() / counts.sum()),
        chunk_loss=[_mean(sums[span].sum(), counts[span].sum()) for span in spans],
        position_loss=[_mean(s, n) for s, n in zip(sums, counts, strict=True)],
        images=images,
    )


def _mean(total: Tensor, count: Tensor) -> float | None:
    return float(total / count) if count else None
