"""Features of labeled images: computed once and kept where they fit, else computed again each epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nextpatch.core.machine import memory_bytes
from nextpatch.data.error import DataError
from nextpatch.data.fingerprint import fingerprint_of
from nextpatch.data.sources.source import Samples, digest_of
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.tasks.probe.cache import FeatureBatch, cached
from nextpatch.tasks.probe.extract import GROUP, RawPixels, TrunkFeatures
from nextpatch.weights.pooling import RegionMeans


@dataclass(frozen=True)
class Labeled:
    """Features with labels, to be read in any order as often as needed."""

    extract: TrunkFeatures | RawPixels
    source: Samples
    indices: Int64[np.ndarray, " samples"]
    label_of: dict[int, int]  # by index in the source, in the order in which images are given to learn from
    kept: Float[Tensor, "sets samples patches dim"] | None = None
    ranks: Ranks = ALONE

    @classmethod
    def open(
        cls,
        extract: TrunkFeatures | RawPixels,
        source: Samples,
        indices: Int64[np.ndarray, " samples"],
        labels: Int64[np.ndarray, " samples"],
        keep_bytes: int,
        ranks: Ranks = ALONE,
        cache: Path | None = None,
    ) -> Labeled:
        """With the features in memory when they take at most `keep_bytes`; of several ranks each has a part of them.

        With `cache` they lie there instead, and a later call finds them.
        """
        label_of = dict(zip(indices.tolist(), labels.tolist(), strict=True))
        own = indices[ranks.rank :: ranks.size]
        if cache is not None and isinstance(extract, TrunkFeatures) and len(own):
            images = {"source": asdict(fingerprint_of(source)), "indices": digest_of(map(str, own.tolist()))}
            found = cached(cache, {**extract.decided_by, **images}, extract(source, own), extract.nbytes(len(own)))
            return cls(extract, source, found.indices, label_of, found.features, ranks)
        if extract.nbytes(len(own)) > keep_bytes or not len(own):
            return cls(extract, source, own, label_of, None, ranks)
        kept, there = _gathered(at_hand(extract, source, own, ranks), len(own))
        return cls(extract, source, there, label_of, kept, ranks)

    def __len__(self) -> int:
        """Images here, on this rank."""
        return len(self.indices)

    @property
    def planned(self) -> Int64[np.ndarray, " samples"]:
        """All images, of all ranks, decodable or not."""
        return np.array(list(self.label_of), dtype=np.int64)

    def first(self, count: int) -> Labeled:
        """The first `count` images as planned; a few less when some of them could not be decoded."""
        planned = dict(itertools.islice(self.label_of.items(), count))
        inside = np.isin(self.indices, list(planned))
        kept = None if self.kept is None else self.kept[:, : int(inside.sum())]
        return Labeled(self.extract, self.source, self.indices[inside], planned, kept, self.ranks)

    def batches(self, size: int, order: Int64[np.ndarray, " samples"] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """(features "sets batch patches dim", labels "batch"), in the given order of 0 .. len - 1."""
        order = np.arange(len(self)) if order is None else order
        if self.kept is not None:
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                yield self.kept[:, torch.from_numpy(rows)].contiguous(), self._labels(self.indices[rows])
            return
        groups = at_hand(self.extract, self.source, self.indices[order], self.ranks)
        for found in _regrouped(groups, size):
            yield found.features, self._labels(found.indices)

    def pooled(
        self, pool: RegionMeans | None = None
    ) -> tuple[Float[Tensor, "sets images values"], Int64[Tensor, " images"]]:
        """One vector of every image here (default: the mean over its patches), and its label."""
        pool, dim = pool or RegionMeans(), self.extract.dim
        none = torch.empty(len(self.extract.names), 0, pool.width(dim)), torch.empty(0, dtype=torch.int64)
        found = [none, *((pool(f), y) for f, y in self.batches(GROUP))]
        parts, labels = zip(*found, strict=True)
        return torch.cat(parts, dim=1), torch.cat(labels)

    def _labels(self, indices: Int64[np.ndarray, " batch"]) -> Int64[Tensor, " batch"]:
        return torch.tensor([self.label_of[index] for index in indices.tolist()])


def memory_for_features() -> int:
    """A quarter of this machine's memory."""
    return memory_bytes() // 4


def at_hand(
    extract: TrunkFeatures | RawPixels, source: Samples, indices: Int64[np.ndarray, " samples"], ranks: Ranks
) -> Iterator[FeatureBatch]:
    """Features of a rank's share of images: of several ranks one may have none that decodes, or none at all."""
    if not len(indices) and ranks.size > 1:
        return
    try:
        yield from extract(source, indices)
    except DataError:
        if ranks.size == 1 or any(source.key(index) not in extract.bad for index in indices.tolist()):
            raise


def _gathered(groups: Iterator[FeatureBatch], count: int) -> tuple[Tensor | None, Int64[np.ndarray, " there"]]:
    """All features in one tensor, filled in place: never twice in memory. None for no image."""
    kept: Tensor | None = None
    found: list[np.ndarray] = []
    filled = 0
    for features, which in groups:
        if kept is None:
            kept = features.new_empty(len(features), count, *features.shape[2:])
        kept[:, filled : filled + len(which)] = features
        filled += len(which)
        found.append(which)
    return None if kept is None else kept[:, :filled], np.concatenate([np.empty(0, np.int64), *found])


def _regrouped(groups: Iterator[FeatureBatch], size: int) -> Iterator[FeatureBatch]:
    """The same images in batches of `size`, the last one shorter."""
    features: list[Tensor] = []
    indices: list[int] = []
    for group in groups:
        features += group.features.unbind(dim=1)
        indices += group.indices.tolist()
        while len(features) >= size:
            yield _batch(features[:size], indices[:size])
            features, indices = features[size:], indices[size:]
    if features:
        yield _batch(features, indices)


def _batch(features: Sequence[Tensor], indices: Sequence[int]) -> FeatureBatch:
    return FeatureBatch(torch.stack(list(features), dim=1), np.array(indices, dtype=np.int64))
