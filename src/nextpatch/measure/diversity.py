"""How much images of a set differ from each other, and how near they come to the images that were learned from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.measure.distances import Vectors, blocks, squared

_QUANTILES = (0.0, 0.01, 0.05, 0.5)


@dataclass(frozen=True)
class Closeness:
    """Quantiles of the distances to the nearest training image: the root of the mean squared difference of values."""

    smallest: float
    one_percent: float
    five_percent: float
    median: float

    @classmethod
    def of(cls, distances: Float64[Tensor, " images"]) -> Closeness:
        """Of the distances of at least one image; UserError of none."""
        if not len(distances):
            raise UserError("no images to compare with training images; give at least one")
        return cls(*torch.quantile(distances, torch.tensor(_QUANTILES, dtype=torch.float64)).tolist())


def diversity(vectors: Vectors, labels: Int64[Tensor, " images"] | None = None) -> float | None:
    """The mean over all pairs of the root of the mean squared difference of their values; None where there is no pair.

    With `labels` pairs of one class alone count, and images without a class (-1) do not.
    """
    classes = [] if labels is None else sorted(set(labels[labels >= 0].tolist()))
    groups = [vectors] if labels is None else [vectors[labels == one] for one in classes]
    sums = [_pairs(group) for group in groups]
    pairs = sum(len(group) * (len(group) - 1) // 2 for group in groups)
    return sum(sums) / pairs if pairs else None


def _pairs(vectors: Vectors) -> float:
    """The sum of the distances of all pairs."""
    total = 0.0
    for start, rows in blocks(vectors):
        for first, others in blocks(vectors):
            if first >= start:
                apart = (squared(rows, others) / vectors.shape[1]).sqrt()
                total += float(apart.triu(1).sum() if first == start else apart.sum())
    return total
