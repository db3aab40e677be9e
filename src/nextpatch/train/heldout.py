"""The held-out images of a run: how they are chosen, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from nextpatch.config import ConfigError
from nextpatch.data.collection import Collection, open_collection
from nextpatch.data.error import DataError
from nextpatch.data.loader import Batch, eval_batches
from nextpatch.data.mixture import Mixture, MixturePart
from nextpatch.data.order import held_out_indices
from nextpatch.data.preprocessing import AS_OURS, Preprocessing
from nextpatch.data.skipped import Bad
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.sparse import sparse
from nextpatch.data.sources.united import UnitedLabels
from nextpatch.data.workers import STALL_S
from nextpatch.model.config import ModelConfig
from nextpatch.runs.recipe import Recipe

GROUP_SIZE = 32  # images in one forward pass; fixed, because float sums depend on the shape of the batch
_KEPT_BYTES = 256 * 2**20


@dataclass
class HeldOut:
    """The held-out images, to be read again and again; small ones are decoded once and stay in memory.

    They come in batches of `GROUP_SIZE` consecutive ones, of which those that cannot be decoded are left out. Of these
    batches rank r of `ranks` reads every one whose number is r modulo `ranks`: together each image once.
    """

    source: Source
    indices: Int64[np.ndarray, " samples"]
    cfg: ModelConfig
    workers: int = 0
    rank: int = 0
    ranks: int = 1
    bad: Bad = field(default_factory=dict)  # once read
    stall_s: float = STALL_S  # see `in_order`
    preprocessing: Preprocessing = AS_OURS
    _kept: list[Batch] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        """The largest number of batches that any rank reads."""
        return -(-len(self.indices) // (GROUP_SIZE * self.ranks))

    def __iter__(self) -> Iterator[Batch]:
        if self._kept:
            return iter(self._kept)
        batches = self._read()
        if len(self.indices) * self.cfg.num_patches * self.cfg.patch_dim > _KEPT_BYTES:
            return batches
        self._kept = list(batches)
        return iter(self._kept)

    def _read(self) -> Iterator[Batch]:
        cfg, groups = self.cfg, np.arange(len(self.indices)) // GROUP_SIZE
        own = self.indices[groups % self.ranks == self.rank]
        if not len(own):
            return
        size, channels, seen = cfg.img_size, cfg.in_chans, dict(self.bad)
        batches = eval_batches(
            self.source, own, size, channels, GROUP_SIZE, self.workers, seen, self.preprocessing, self.stall_s
        )
        try:
            for batch in batches:
                self.bad |= batch.bad
                yield batch
        except DataError:
            self.bad |= seen
            if any(self.source.key(index) not in seen for index in own.tolist()):
                raise  # else: none of this rank's images decodes, but others may have some


def held_out(
    recipe: Recipe, train: Collection | None = None, workers: int = 0, rank: int = 0, ranks: int = 1
) -> HeldOut:
    """`val_images` of `data.val` where given, else those kept back from `data.train` (`train`, if it is open already).

    The same for the same recipe. Raises DataError when the data is no longer where the recipe says.
    """
    data, seed = recipe.data, recipe.train.seed
    if not data.val:
        train = train or open_collection(data.train)
        parts = held_out_parts(recipe, train)
        firsts = np.cumsum([0, *map(len, train.parts)])
        indices = np.concatenate([first + part for first, part in zip(firsts, parts, strict=False)])
        return HeldOut(
            sparse(train.source), indices, recipe.model, workers, rank, ranks, stall_s=data.stall_s,
            preprocessing=data.preprocessing,
        )  # fmt: skip
    source = open_source(data.val)
    source = UnitedLabels([source], data.classes) if data.classes else source
    whole = data.val_images >= len(source)
    indices = np.arange(len(source)) if whole else held_out_indices(len(source), data.val_images, seed)
    return HeldOut(
        sparse(source), indices, recipe.model, workers, rank, ranks, stall_s=data.stall_s,
        preprocessing=data.preprocessing,
    )  # fmt: skip


def held_out_parts(recipe: Recipe, train: Collection) -> list[Int64[np.ndarray, " samples"]]:
    """For each part of `data.train`, the samples that are held out of training, ascending; `val_images` in all.

    Parts of a mixture give as their weights say, but none more than all but one of its images; others give for it.
    """
    none = np.empty(0, np.int64)
    if recipe.data.val:
        return [none for _ in train.parts]
    rest, counts = recipe.data.val_images, []
    for part, share in zip(train.parts, _shares(train.weights), strict=True):
        counts.append(min(round(rest * share), len(part) - 1))
        rest -= counts[-1]
    for number, part in enumerate(train.parts):
        more = min(rest, len(part) - 1 - counts[number])
        counts[number], rest = counts[number] + more, rest - more
    if rest:
        images = sum(len(part) for part in train.parts)
        raise ConfigError(
            f"data.val_images {recipe.data.val_images} is more than the images can spare, which are {images:,}; lower "
            "it, or, to continue a run, give the images that it began with"
        )
    seed = recipe.train.seed
    return [held_out_indices(len(p), n, seed) if n else none for p, n in zip(train.parts, counts, strict=True)]


def _shares(weights: Sequence[float]) -> list[float]:
    """Each weight's share of what those before it leave."""
    return [weight / sum(weights[i:]) for i, weight in enumerate(weights)]


def training_order(recipe: Recipe, train: Collection) -> Mixture:
    """The order in which what is not held out is learned from."""
    parts = [
        MixturePart(source.shard_sizes, indices, source.random_access, weight)
        for source, indices, weight in zip(train.parts, held_out_parts(recipe, train), train.weights, strict=True)
    ]
    return Mixture(parts, recipe.train.seed, max(1, recipe.data.streams), recipe.data.window)
