"""Kinds of probes that learn by gradients: a grid of layer sets and learning rates, selected by its accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.tasks.probe.evaluator import BatchLearner, Candidate, Choice, Evaluator, ProbeData, ProbeSetup, SavedWith
from nextpatch.tasks.probe.fit import Fit
from nextpatch.tasks.probe.grid import Grid
from nextpatch.tasks.probe.labeled import Labeled

_EVALUATED = 512


def by_gradients(grid: type[Grid], save: Callable[[Path, Choice, SavedWith], None] | None = None) -> Evaluator:
    """The evaluator of a kind of grid."""
    return Evaluator(_select, partial(_fit, grid), save)


def _fit(kind: type[Grid], data: ProbeData, features: Sequence[Tensor], steps: int) -> Fit:
    setup, cfg, pool, dim = data.setup, data.setup.cfg, data.train.extract.pool, features[0].shape[-1]
    width = pool.width(dim) if kind.on_vectors else dim
    grid = kind(len(features), cfg.lrs, width, setup.num_classes, setup.num_heads, cfg.seed, pool)
    return Fit(grid.to(setup.device).train(), cfg, steps, len(data.train.planned), setup.ranks)


def _select(data: ProbeData, learner: BatchLearner | None) -> list[Candidate]:
    """Each layer set at its best learning rate."""
    assert isinstance(learner, Fit)
    grid = learner.grid.eval()
    tops, at = _accuracy(grid, data.select, data.setup).max(dim=1)
    return [
        Candidate(top1, partial(grid.classifier, s, g), lr=grid.lrs[g])
        for s, (top1, g) in enumerate(zip(tops.tolist(), at.tolist(), strict=True))
    ]


@torch.no_grad()
def _accuracy(grid: Grid, images: Labeled, setup: ProbeSetup) -> Float[Tensor, "sets lrs"]:
    """Percent of images, on all ranks, that each probe gets right."""
    right, seen = torch.zeros(len(grid.norms), len(grid.lrs)), 0
    for features, labels in images.batches(_EVALUATED):
        logits = grid(features.to(setup.device))
        answered = logits.isfinite().all(dim=-1)  # of NaN the largest is any class: a probe that diverged has no answer
        right += ((logits.argmax(dim=-1) == labels.to(setup.device)) & answered).sum(dim=-1).cpu()
        seen += len(labels)
    *counts, total = setup.ranks.sum([*right.flatten().tolist(), seen])
    return 100 * torch.tensor(counts).view_as(right) / total
