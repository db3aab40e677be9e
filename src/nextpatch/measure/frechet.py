"""The Fréchet distance of two sets of features, from sums that are added up batch by batch in float64."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from nextpatch.core.errors import UserError


class FeatureMoments:
    """Number, mean and covariance of vectors that come in batches; memory for one matrix, however many there are.

    Each batch is taken about its own mean and put together with the rest (Chan et al., 1979), so that a large mean
    takes no digits from the covariance.
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self._scatter = torch.zeros(dim, dim, dtype=torch.float64)

    @classmethod
    def of(cls, vectors: Float[Tensor, "images dim"]) -> FeatureMoments:
        """Of all rows."""
        found = cls(vectors.shape[1])
        found.add(vectors)
        return found

    def add(self, vectors: Float[Tensor, "images dim"]) -> None:
        """Take in the rows of a batch."""
        if not len(vectors):
            return
        rows = vectors.detach().cpu().double()
        center = rows.mean(dim=0)
        rows = rows - center
        away, total = center - self.mean, self.count + len(rows)
        self._scatter += rows.T @ rows + torch.outer(away, away) * (self.count * len(rows) / total)
        self.mean += away * (len(rows) / total)
        self.count = total

    @property
    def covariance(self) -> Float64[Tensor, "dim dim"]:
        """About the mean, divided by the number less one; UserError of fewer than two vectors."""
        if self.count < 2:
            raise UserError(f"a covariance needs at least two images, and there are {self.count}; give more")
        return self._scatter / (self.count - 1)


def frechet_distance(one: FeatureMoments, other: FeatureMoments) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½): the squared 2-Wasserstein distance of Gaussians with these moments.

    The trace of the root is the sum of the singular values of F1ᵀ F2 with C = F Fᵀ, which loses no digits where a
    covariance has no full rank, as of fewer images than features. It is biased: for the same distributions it falls
    with the number of images, so only distances of equal numbers can be compared. Source: Heusel et al.,
    arXiv 1706.08500. UserError for fewer than two images.
    """
    first, second = one.covariance, other.covariance
    away = one.mean - other.mean
    roots = torch.linalg.svdvals(_factor(first).T @ _factor(second)).sum()
    return max(0.0, float(away @ away + first.trace() + second.trace() - 2 * roots))


def _factor(covariance: Float64[Tensor, "dim dim"]) -> Float64[Tensor, "dim rank"]:
    """F with F Fᵀ = C; directions in which there is nothing but rounding are left out."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > len(values) * torch.finfo(torch.float64).eps * values[-1].clamp_min(0.0)
    found: Tensor = vectors[:, kept] * values[kept].sqrt()
    return found
