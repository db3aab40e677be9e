"""One pass over the images for all kinds of probes: kept features, or augmented images through the trunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.core.random import Stream, rng_at
from nextpatch.data.augment import Augment
from nextpatch.data.epochs import Epochs
from nextpatch.data.preprocessing import Preprocessing
from nextpatch.data.views import eval_view
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.evaluator import BatchLearner, Evaluator, ProbeData, ProbeSetup
from nextpatch.tasks.probe.extract import GROUP, TrunkFeatures
from nextpatch.tasks.probe.labeled import Labeled

_IMAGES, _LEAST_EPOCHS, _MOST_EPOCHS, _LEAST_UPDATES = 80_000, 8, 16, 480
_LEAST_BATCH, _MOST_BATCH = 32, 256
Step = tuple[list[Tensor], Tensor]  # features of every set, "batch patches dim", and labels


def num_epochs(cfg: ProbeConfig, images: int) -> int:
    """As configured, or as many as 80,000 images allow, but 8 to 16; with few labels as many as 480 updates take.

    An attentive probe of 100 labels needs these: 16 passes are 48 updates (docs/log.md).
    """
    usual = max(_LEAST_EPOCHS, min(_MOST_EPOCHS, _IMAGES // images))
    return cfg.epochs or max(usual, -(-_LEAST_UPDATES // (images // batch_size(cfg, images))))


def batch_size(cfg: ProbeConfig, images: int, ranks: int = 1) -> int:
    """As configured, or a hundredth of the images, but 32 to 256; never more than there are; the same share a rank."""
    wanted = min(images, cfg.batch_size or max(_LEAST_BATCH, min(_MOST_BATCH, images // 100)))
    if wanted < ranks:
        raise UserError(f"{images} labels are too few for {ranks} ranks; start fewer")
    return wanted // ranks * ranks


def num_steps(cfg: ProbeConfig, images: int, ranks: int = 1) -> int:
    """Updates of every probe that learns from `images` labels."""
    return num_epochs(cfg, images) * (images // batch_size(cfg, images, ranks))


def fit_all(
    evaluators: Mapping[str, Evaluator], data: ProbeData, advance: Callable[[int], None] = lambda steps: None
) -> dict[str, BatchLearner]:
    """What learns by batches of each kind, in the same pass over the features; each as if it were alone."""
    setup, train = data.setup, data.train
    cfg, ranks = setup.cfg, setup.ranks
    streamed = cfg.augment == "paper" or ranks.size > 1
    images = len(train.planned) if streamed else len(train)
    size = batch_size(cfg, images, ranks.size)
    steps, learners = num_steps(cfg, images, ranks.size), dict[str, BatchLearner]()
    begin = {kind: evaluator.fit for kind, evaluator in evaluators.items() if evaluator.fit is not None}
    if not begin:
        advance(steps)
        return {}
    for features, labels in _streamed(setup, train, size) if streamed else _kept(setup, train, size):
        learners = learners or {kind: fit(data, features, steps) for kind, fit in begin.items()}
        for learner in learners.values():
            learner.step(features, labels)
        advance(1)
    return learners


def _kept(setup: ProbeSetup, train: Labeled, size: int) -> Iterator[Step]:
    """Features of the evaluation view, computed once where they fit into memory, in another order every epoch."""
    cfg, images = setup.cfg, len(train)
    whole = images // size * size  # a rest would weigh too much, and might be too small for a batch norm
    for epoch in range(num_epochs(cfg, images)):
        order = rng_at(cfg.seed, Stream.LABELED_ORDER, epoch).permutation(images)[:whole]
        for features, labels in train.batches(size, order):
            yield list(features.to(setup.device)), labels.to(setup.device)


def _streamed(setup: ProbeSetup, train: Labeled, size: int) -> Iterator[Step]:
    """Images decoded and changed anew in every epoch; the trunk runs once a batch for all probes together."""
    cfg, extract, ranks = setup.cfg, train.extract, setup.ranks
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
        yield [torch.cat(one).to(setup.device) for one in zip(*parts, strict=True)], batch.labels.to(setup.device)


@dataclass(frozen=True)
class _Evaluation:
    """The view that is not changed by chance."""

    size: tuple[int, int]
    preprocessing: Preprocessing

    def __call__(self, image: Tensor, rng: object) -> Tensor:
        return eval_view(image, self.size, self.preprocessing)
