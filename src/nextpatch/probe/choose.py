"""Train every probe of the grid, and choose by held-out images: no test image, and no test label, is seen here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.data.order import rng_at
from nextpatch.probe.config import ProbeConfig
from nextpatch.probe.features import Labeled
from nextpatch.probe.fit import Fit
from nextpatch.probe.grid import AttentiveGrid, Grid, LinearGrid
from nextpatch.probe.neighbors import Neighbors

_SHUFFLE = 11
_IMAGES, _LEAST_EPOCHS, _MOST_EPOCHS = 80_000, 8, 16
_LEAST_BATCH, _MOST_BATCH = 32, 256
_EVALUATED = 512


@dataclass(frozen=True)
class Choice:
    """The best probe of one kind, for one number of labels, on one kind of features."""

    labels: int
    features: str
    probe: str
    set_index: int
    layers: list[str]
    lr: float | None
    k: int | None
    select_top1: float
    classifier: nn.Module  # "batch patches dim" of its layer set -> votes or logits per class


@dataclass(frozen=True)
class SweepEntry:
    """The best of one layer set: how good each depth is."""

    labels: int
    features: str
    probe: str
    layers: list[str]
    lr: float | None
    select_top1: float


@dataclass(frozen=True)
class Setting:
    """What is the same for every probe."""

    cfg: ProbeConfig
    num_classes: int
    num_heads: int
    device: torch.device


def choose(
    setting: Setting,
    features: str,
    names: Sequence[list[str]],
    train: Labeled,
    select: Labeled,
    attentive: bool,
    advance: Callable[[int], None] = lambda steps: None,
) -> tuple[list[Choice], list[SweepEntry]]:
    """Attentive (where there are patches), linear and k-nearest-neighbor probes: the best of each kind, by `select`."""
    grids = _trained(setting, train, attentive, advance)
    choices, sweep = [], []
    for kind, grid in grids.items():
        scores = _accuracy(grid, select, setting.device)
        best = scores.flatten().argmax()
        s, g = divmod(int(best), len(grid.lrs))
        found = float(scores[s, g])
        chosen = grid.classifier(s, g)
        choices.append(Choice(len(train), features, kind, s, names[s], grid.lrs[g], None, found, chosen))
        tops, at = scores.max(dim=1)
        for layers, top1, lr in zip(names, tops.tolist(), at.tolist(), strict=True):
            sweep.append(SweepEntry(len(train), features, kind, layers, grid.lrs[lr], top1))
    nearest, entries = _neighbors(setting, features, names, train, select)
    return [*choices, nearest], [*sweep, *entries]


def num_epochs(cfg: ProbeConfig, images: int) -> int:
    """As configured, or as many as 80,000 images allow, but 8 to 16."""
    return cfg.epochs or max(_LEAST_EPOCHS, min(_MOST_EPOCHS, _IMAGES // images))


def batch_size(cfg: ProbeConfig, images: int) -> int:
    """As configured, or a hundredth of the images, but 32 to 256; never more than there are."""
    return min(images, cfg.batch_size or max(_LEAST_BATCH, min(_MOST_BATCH, images // 100)))


def num_steps(cfg: ProbeConfig, images: int) -> int:
    """Updates of every probe that learns from `images` labels."""
    return num_epochs(cfg, images) * (images // batch_size(cfg, images))


def _trained(setting: Setting, train: Labeled, attentive: bool, advance: Callable[[int], None]) -> dict[str, Grid]:
    """Both grids, trained in the same pass over the features."""
    cfg = setting.cfg
    shape = next(train.batches(1))[0].shape
    sizes = (shape[0], cfg.lrs, shape[-1], setting.num_classes, setting.num_heads, cfg.seed)
    grids: dict[str, Grid] = {"attentive": AttentiveGrid(*sizes)} if attentive else {}
    grids["linear"] = LinearGrid(*sizes)
    fits = [Fit(grid.to(setting.device).train(), cfg, num_steps(cfg, len(train))) for grid in grids.values()]
    size = batch_size(cfg, len(train))
    whole = len(train) // size * size  # a rest would weigh too much, and might be too small for a batch norm
    for epoch in range(num_epochs(cfg, len(train))):
        order = rng_at(cfg.seed, _SHUFFLE, epoch).permutation(len(train))[:whole]
        for features, labels in train.batches(size, order):
            x, y = features.to(setting.device), labels.to(setting.device)
            for fit in fits:
                fit.step(x, y)
            advance(1)
    return {kind: grid.eval() for kind, grid in grids.items()}


@torch.no_grad()
def _accuracy(grid: Grid, images: Labeled, device: torch.device) -> Float[Tensor, "sets lrs"]:
    """Percent of images that each probe gets right."""
    right = torch.zeros(len(grid.norms), len(grid.lrs))
    for features, labels in images.batches(_EVALUATED):
        right += (grid(features.to(device)).argmax(dim=-1) == labels.to(device)).sum(dim=-1).cpu()
    return 100 * right / len(images)


@torch.no_grad()
def _neighbors(
    setting: Setting, features: str, names: Sequence[list[str]], train: Labeled, select: Labeled
) -> tuple[Choice, list[SweepEntry]]:
    """The best (layers, k) by the held-out images."""
    (bank, bank_labels), (queries, labels) = train.pooled(), select.pooled()
    ks = sorted({min(k, len(train)) for k in setting.cfg.neighbors})
    found = []
    for s, layers in enumerate(names):
        nearest = Neighbors(bank[s], bank_labels, setting.num_classes)
        right = (nearest.votes_at(queries[s], ks).argmax(dim=-1) == labels).float().mean(dim=1)
        nearest.k = ks[int(right.argmax())]
        top1 = 100 * float(right.max())
        found.append(Choice(len(train), features, "knn", s, layers, None, nearest.k, top1, nearest))
    entries = [SweepEntry(len(train), features, "knn", c.layers, None, c.select_top1) for c in found]
    return max(found, key=lambda choice: choice.select_top1), entries
