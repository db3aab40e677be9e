"""Train every probe of a grid on one stream: kept features, or augmented images through the trunk, of all ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.core.random import Stream, rng_at
from nextpatch.data.augment import Augment
from nextpatch.data.epochs import Epochs
from nextpatch.data.preprocessing import Preprocessing
from nextpatch.data.views import eval_view
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.features import GROUP, Labeled, TrunkFeatures
from nextpatch.tasks.probe.fit import Fit
from nextpatch.tasks.probe.grid import AttentiveGrid, Grid, LinearGrid

_IMAGES, _LEAST_EPOCHS, _MOST_EPOCHS = 80_000, 8, 16
_LEAST_BATCH, _MOST_BATCH = 32, 256
Step = tuple[list[Tensor], Tensor]  # features of every set, "batch patches dim", and labels


@dataclass(frozen=True)
class Setting:
    """What is the same for every probe."""

    cfg: ProbeConfig
    num_classes: int
    num_heads: int
    device: torch.device
    ranks: Ranks = ALONE


def num_epochs(cfg: ProbeConfig, images: int) -> int:
    """As configured, or as many as 80,000 images allow, but 8 to 16."""
    return cfg.epochs or max(_LEAST_EPOCHS, min(_MOST_EPOCHS, _IMAGES // images))


def batch_size(cfg: ProbeConfig, images: int, ranks: int = 1) -> int:
    """As configured, or a hundredth of the images, but 32 to 256; never more than there are; the same share a rank."""
    wanted = min(images, cfg.batch_size or max(_LEAST_BATCH, min(_MOST_BATCH, images // 100)))
    if wanted < ranks:
        raise UserError(f"{images} labels are too few for {ranks} ranks; start fewer")
    return wanted // ranks * ranks


def num_steps(cfg: ProbeConfig, images: int, ranks: int = 1) -> int:
    """Updates of every probe that learns from `images` labels."""
    return num_epochs(cfg, images) * (images // batch_size(cfg, images, ranks))


def trained(
    setting: Setting, train: Labeled, attentive: bool, advance: Callable[[int], None] = lambda steps: None
) -> dict[str, Grid]:
    """Both kinds of probes, trained in the same pass over the features; each as if it were alone."""
    cfg, ranks = setting.cfg, setting.ranks
    streamed = cfg.augment == "paper" or ranks.size > 1
    images = len(train.planned) if streamed else len(train)
    size = batch_size(cfg, images, ranks.size)
    steps, fits = num_steps(cfg, images, ranks.size), dict[str, Fit]()
    if not _kinds(cfg, attentive):
        advance(steps)
        return {}
    for features, labels in _streamed(setting, train, size) if streamed else _kept(setting, train, size):
        if not fits:
            fits = _fits(setting, features, steps, attentive)
        for fit in fits.values():
            fit.step(features, labels)
        advance(1)
    return {kind: fit.grid.eval() for kind, fit in fits.items()}


def _kinds(cfg: ProbeConfig, attentive: bool) -> list[str]:
    """Which probes are trained by gradients: what is asked for; a linear one where there is nothing to attend to."""
    if attentive:
        return [kind for kind in ("attentive", "linear") if kind in cfg.probes]
    return ["linear"] if {"attentive", "linear"} & set(cfg.probes) else []


def _fits(setting: Setting, features: list[Tensor], steps: int, attentive: bool) -> dict[str, Fit]:
    cfg = setting.cfg
    sizes = (len(features), cfg.lrs, features[0].shape[-1], setting.num_classes, setting.num_heads, cfg.seed)
    grids: dict[str, Grid] = {}
    for kind in _kinds(cfg, attentive):
        grids[kind] = (AttentiveGrid if kind == "attentive" else LinearGrid)(*sizes)
    return {kind: Fit(grid.to(setting.device).train(), cfg, steps, setting.ranks) for kind, grid in grids.items()}


def _kept(setting: Setting, train: Labeled, size: int) -> Iterator[Step]:
    """Features of the evaluation view, computed once where they fit into memory, in another order every epoch."""
    cfg, images = setting.cfg, len(train)
    whole = images // size * size  # a rest would weigh too much, and might be too small for a batch norm
    for epoch in range(num_epochs(cfg, images)):
        order = rng_at(cfg.seed, Stream.LABELED_ORDER, epoch).permutation(images)[:whole]
        for features, labels in train.batches(size, order):
            yield list(features.to(setting.device)), labels.to(setting.device)


def _streamed(setting: Setting, train: Labeled, size: int) -> Iterator[Step]:
    """Images decoded and changed anew in every epoch; the trunk runs once a batch for all probes together."""
    cfg, extract, ranks = setting.cfg, train.extract, setting.ranks
    colors = isinstance(extract, TrunkFeatures)
    view = (
        Augment(extract.img_size, colors)
        if cfg.augment == "paper"
        else _Evaluation(extract.img_size, extract.preprocessing)
    )
    stream = Epochs(
        train.source, train.planned, train.label_of, size, num_epochs(cfg, len(train.planned)), cfg.seed, view,
        extract.channels, extract.workers, ranks.rank, ranks.size, 0, extract.bad, extract.preprocessing,
    )  # fmt: skip
    for batch in stream:
        parts = [
            extract.of(group, batch.keys[at * GROUP : (at + 1) * GROUP])
            for at, group in enumerate(torch.split(batch.images, GROUP))
        ]
        yield [torch.cat(one).to(setting.device) for one in zip(*parts, strict=True)], batch.labels.to(setting.device)


@dataclass(frozen=True)
class _Evaluation:
    """The view that is not changed by chance."""

    size: tuple[int, int]
    preprocessing: Preprocessing

    def __call__(self, image: Tensor, rng: object) -> Tensor:
        return eval_view(image, self.size, self.preprocessing)
