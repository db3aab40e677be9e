"""The space in which vectors of features are compared by their cosine: standardized, or whitened.

Features of one channel grow with those of others, and a few directions hold most of the variance: without whitening
these alone decide which image is near.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

DIMENSIONS = 512
SHRINKAGES = (0.1, 1.0)
MOST = 2048  # images, or values of a vector, of which principal directions are found


class Space(nn.Module):
    """(vector - mean) * scale, then turned by `directions` where there are some; cosines are taken there."""

    mean: Tensor
    scale: Tensor
    directions: Tensor | None

    def __init__(self, mean: Tensor, scale: Tensor, directions: Tensor | None = None) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("scale", scale), ("directions", directions)):
            self.register_buffer(name, value)

    def turned(self, vectors: Float[Tensor, "*batch values"]) -> Float[Tensor, "*batch dims"]:
        """Of any length."""
        apart = (vectors - self.mean) * self.scale
        return apart if self.directions is None else apart @ self.directions

    def forward(self, vectors: Float[Tensor, "*batch values"]) -> Float[Tensor, "*batch dims"]:
        """Of length 1."""
        return nn.functional.normalize(self.turned(vectors), dim=-1)


def standardized(vectors: Float[Tensor, "images values"]) -> Space:
    """Every channel at its own scale, so that a few large ones do not decide alone."""
    return Space(vectors.mean(dim=0), 1 / vectors.std(dim=0, correction=0).clamp_min(1e-6))


def whitened(vectors: Float[Tensor, "images values"], shrinkages: tuple[float, ...] = SHRINKAGES) -> list[Space]:
    """Standardized, then the first 512 principal directions, each divided by the root of its variance plus a share of
    their mean variance.

    One space for each share. The share keeps directions of little variance, which are noise where images are few, from
    counting as much as the others. Fitted without labels; of vectors longer than 2,048 values on the first 2,048.
    """
    usual = standardized(vectors)
    variances, directions = _principal(usual.turned(vectors))
    keep = min(DIMENSIONS, int((variances > 1e-6 * variances.max()).sum()))
    if not keep:  # all vectors are the same
        return [usual]
    variances, directions = variances[:keep], directions[:, :keep]
    mean = variances.mean()
    return [Space(usual.mean, usual.scale, directions * (variances + share * mean).rsqrt()) for share in shrinkages]


def _principal(apart: Float[Tensor, "images values"]) -> tuple[Tensor, Tensor]:
    """(variances, directions "values dims"), the largest first, found in whichever of the two products is smaller."""
    if apart.shape[1] <= min(len(apart), MOST):
        variances, directions = torch.linalg.eigh(apart.T @ apart / len(apart))
        return variances.flip(0).clamp_min(0), directions.flip(1)
    some = apart[:MOST]
    squares, left = torch.linalg.eigh(some @ some.T)
    squares, left = squares.flip(0).clamp_min(0), left.flip(1)
    directions = some.T @ left / squares.clamp_min(1e-12 * max(1e-30, float(squares[0]))).sqrt()
    return squares / len(some), directions
