"""The images that a run is validated on, and which those are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from nextpatch.data.loader import Batch, eval_batches
from nextpatch.data.order import holdout
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source
from nextpatch.model.config import ModelConfig
from nextpatch.train.recipe import Recipe

GROUP_SIZE = 32  # images in one forward pass; fixed, because float sums depend on the shape of the batch
_KEPT_BYTES = 256 * 2**20


@dataclass
class HeldOut:
    """The held-out images, to be read again and again; small ones are decoded once and stay in memory."""

    source: Source
    indices: Int64[np.ndarray, " samples"]
    cfg: ModelConfig
    workers: int = 0
    bad: dict[str, str] = field(default_factory=dict)  # key -> reason, once read
    _kept: list[Batch] = field(default_factory=list)

    def __iter__(self) -> Iterator[Batch]:
        if self._kept:
            return iter(self._kept)
        batches = self._read()
        if len(self.indices) * self.cfg.num_patches * self.cfg.patch_dim > _KEPT_BYTES:
            return batches
        self._kept = list(batches)
        return iter(self._kept)

    def _read(self) -> Iterator[Batch]:
        cfg = self.cfg
        for batch in eval_batches(self.source, self.indices, cfg.img_size, cfg.in_chans, GROUP_SIZE, self.workers):
            self.bad |= batch.bad
            yield batch


def held_out(recipe: Recipe, train: Source | None = None, workers: int = 0) -> HeldOut:
    """`val_images` of `data.val` where given, else those kept back from `data.train` (`train`, if it is open already).

    The same for the same recipe. Raises DataError when the data is no longer where the recipe says.
    """
    data, seed = recipe.data, recipe.train.seed
    source = open_source(data.val) if data.val else train or open_source(data.train)
    whole = bool(data.val) and data.val_images >= len(source)
    indices = np.arange(len(source)) if whole else holdout(len(source), data.val_images, seed)[1]
    return HeldOut(source, indices, recipe.model, workers)


def learned_from(recipe: Recipe, train: Source) -> Int64[np.ndarray, " samples"]:
    """The indices of `data.train` that `held_out` leaves to learn from."""
    everything = np.arange(len(train))
    return everything if recipe.data.val else holdout(len(train), recipe.data.val_images, recipe.train.seed)[0]
