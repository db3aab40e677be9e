"""What a kind of probe is: how it fits, how its best is selected, and how that is saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.kinds import PROBE_KINDS
from nextpatch.tasks.probe.labeled import Labeled
from nextpatch.weights.backbone import ModelInfo
from nextpatch.weights.pooling import RegionMeans


@dataclass(frozen=True)
class ProbeSetup:
    """What is the same for every probe."""

    cfg: ProbeConfig
    num_classes: int
    num_heads: int
    device: torch.device
    ranks: Ranks = ALONE


class Vectors(NamedTuple):
    """One vector for each image of all ranks, for every layer set, and their classes."""

    features: Float[Tensor, "sets images values"]
    labels: Int64[Tensor, " images"]


@dataclass(frozen=True)
class ProbeData:
    """What the probes of one number of labels on one kind of features learn from, and what they are selected by.

    `layer_sets`: the blocks of each set of features, in the order of their first axis.
    """

    setup: ProbeSetup
    layer_sets: Sequence[list[str]]
    train: Labeled
    select: Labeled

    @cached_property
    def train_vectors(self) -> Vectors:
        """Of the images to learn from, the mean over patches; computed once for all kinds that need them."""
        return _vectors(self.train, self.setup.ranks)

    @cached_property
    def select_vectors(self) -> Vectors:
        """Of the images to select by, the mean over patches."""
        return _vectors(self.select, self.setup.ranks)

    @cached_property
    def train_regions(self) -> Vectors:
        """As `train_vectors`, but as the features' `pool` makes them: the means of regions."""
        return _vectors(self.train, self.setup.ranks, self.train.extract.pool)

    @cached_property
    def select_regions(self) -> Vectors:
        """As `select_vectors`, in the same way."""
        return _vectors(self.select, self.setup.ranks, self.train.extract.pool)


class Candidate(NamedTuple):
    """The best classifier of one layer set: percent right of the images to select by, and the values chosen for it.

    `classifier()` gives it: a module from features "batch patches dim" to scores "batch classes", whose largest is the
    answer; minus infinity is no answer.
    """

    select_top1: float
    classifier: Callable[[], nn.Module]
    lr: float | None = None
    k: int | None = None


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
    classifier: nn.Module


@runtime_checkable
class BatchLearner(Protocol):
    """What learns batch by batch, in the one pass over the images that all kinds share."""

    def step(self, features: Sequence[Tensor], labels: Tensor) -> None:
        """One update, from the features "batch patches dim" of each layer set."""


class SavedWith(NamedTuple):
    """What a saved probe is kept with: its classes, the mark of its trunk, and how images were seen."""

    classes: tuple[str, ...]
    trunk: str = ""
    info: ModelInfo | None = None


def _nothing_needed() -> None:
    """For kinds that need no further package."""


@dataclass(frozen=True)
class Evaluator:
    """One kind of probe.

    `select`: the best classifier of each layer set; it fits what has no `fit`. `fit`: begins what learns from batches,
    given the features of the first one and the number of updates. `save`: keeps a chosen probe in a folder. `need`:
    raises ConfigError when a package is absent.
    """

    select: Callable[[ProbeData, BatchLearner | None], list[Candidate]]
    fit: Callable[[ProbeData, Sequence[Tensor], int], BatchLearner] | None = None
    save: Callable[[Path, Choice, SavedWith], None] | None = None
    need: Callable[[], None] = _nothing_needed


def evaluator_of(kind: str) -> Evaluator:
    """The evaluator of a registered kind."""
    found = resolve_name(PROBE_KINDS[kind].evaluator)
    assert isinstance(found, Evaluator)
    return found


def _vectors(images: Labeled, ranks: Ranks, pool: RegionMeans | None = None) -> Vectors:
    vectors, labels = images.pooled(pool)
    return Vectors(ranks.gathered(vectors.transpose(0, 1).contiguous()).transpose(0, 1), ranks.gathered(labels))
