"""Precision and recall of samples: how many lie where real images lie, and how many real images lie among samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.measure.distances import Vectors, blocks, squared

NEIGHBORS = 3


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares, 0 to 1. `neighbors`: the k of the balls."""

    precision: float
    recall: float
    neighbors: int = NEIGHBORS


def precision_recall(samples: Vectors, real: Vectors, neighbors: int = NEIGHBORS) -> PrecisionRecall:
    """The share of samples that lie in a ball around a real image, and that of real images in one around a sample.

    A ball reaches to the `neighbors`-th nearest of its own set. Both depend on the numbers of images: compare equal
    ones. Source: Kynkäänniemi et al., arXiv 1904.06991. UserError for a set with no more images than `neighbors`.
    """
    precision = inside(samples, real, radii(real, neighbors))
    recall = inside(real, samples, radii(samples, neighbors))
    return PrecisionRecall(float(precision.double().mean()), float(recall.double().mean()), neighbors)


def radii(vectors: Vectors, neighbors: int) -> Float64[Tensor, " images"]:
    """The squared distance of each vector to the `neighbors`-th nearest other one."""
    if len(vectors) <= neighbors:
        raise UserError(f"{len(vectors)} images have no {neighbors} nearest others each; give more")
    found = []
    for start, rows in blocks(vectors):
        nearest = torch.full((len(rows), neighbors), torch.inf, dtype=torch.float64)
        for first, others in blocks(vectors):
            apart = squared(rows, others)
            if first == start:
                apart.fill_diagonal_(torch.inf)
            nearest = torch.cat([nearest, apart], dim=1).topk(neighbors, dim=1, largest=False).values
        found.append(nearest.amax(dim=1))
    return torch.cat(found)


def inside(queries: Vectors, centers: Vectors, reach: Float64[Tensor, " centers"]) -> Bool[Tensor, " queries"]:
    """Which queries lie within the squared `reach` of a center."""
    found = torch.zeros(len(queries), dtype=torch.bool)
    for start, rows in blocks(queries):
        for first, others in blocks(centers):
            hit = squared(rows, others) <= reach[first : first + len(others)]
            found[start : start + len(rows)] |= hit.any(dim=1)
    return found
