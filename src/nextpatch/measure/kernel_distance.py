"""The kernel distance (KID) of two sets of features: unbiased, so that it does not depend on how many there are."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, pstdev

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.core.errors import UserError

_SUBSETS, _SIZE = 100, 1000


@dataclass(frozen=True)
class KernelDistance:
    """The mean over subsets, and the deviation between them. `size`: images of each set in a subset."""

    value: float
    deviation: float
    subsets: int
    size: int


def kernel_distance(
    one: Float[Tensor, "images dim"],
    other: Float[Tensor, "others dim"],
    rng: np.random.Generator,
    subsets: int = _SUBSETS,
    size: int = 0,
) -> KernelDistance:
    """The squared maximum mean discrepancy with the kernel (x·y / dim + 1)³, its unbiased estimate, in float64.

    `size` 0: 1,000 images, or half of the smaller set, so that subsets differ. It may be below 0, where sets are
    alike. Source: Binkowski et al., arXiv 1801.01401. UserError for fewer than four images without a size.
    """
    fewest = min(len(one), len(other))
    size = size or min(_SIZE, fewest // 2)
    if not 2 <= size <= fewest:
        raise UserError(f"subsets of {size} images cannot be drawn of {fewest}; give at least four images")
    found = [
        discrepancy(_drawn(one, size, rng), _drawn(other, size, rng)) for _ in range(1 if size == fewest else subsets)
    ]
    return KernelDistance(fmean(found), pstdev(found), len(found), size)


def discrepancy(one: Float[Tensor, "images dim"], other: Float[Tensor, "others dim"]) -> float:
    """The unbiased estimate of two whole sets of at least two vectors each."""
    one, other = one.double(), other.double()
    return _mean_of_pairs(one) + _mean_of_pairs(other) - 2 * float(_kernel(one, other).mean())


def _mean_of_pairs(vectors: Tensor) -> float:
    """Of a set with itself, without the pairs of a vector and itself."""
    values, n = _kernel(vectors, vectors), len(vectors)
    return float((values.sum() - values.trace()) / (n * (n - 1)))


def _kernel(one: Tensor, other: Tensor) -> Tensor:
    return (one @ other.T / one.shape[1] + 1) ** 3


def _drawn(vectors: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    return vectors[torch.from_numpy(rng.permutation(len(vectors))[:size])]
