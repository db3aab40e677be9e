"""Euclidean distances between many vectors, block by block, in float64 and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

Vectors: TypeAlias = Float[Tensor, "_ dim"] | UInt8[Tensor, "_ dim"]  # features, or pixels as they are: 0 .. 255
BLOCK = 2048  # vectors on either side of a block of distances


def blocks(vectors: Vectors) -> Iterator[tuple[int, Float64[Tensor, "block dim"]]]:
    """(number of the first, vectors) of each block, float64; pixels become values in [0, 1]."""
    scale = 255 if vectors.dtype == torch.uint8 else 1
    for start in range(0, len(vectors), BLOCK):
        yield start, vectors[start : start + BLOCK].double() / scale


def squared(
    one: Float64[Tensor, "images dim"], other: Float64[Tensor, "others dim"]
) -> Float64[Tensor, "images others"]:
    """Squared distances of all pairs; never below 0."""
    found = torch.addmm((other**2).sum(dim=1), one, other.T, alpha=-2)
    return found.add_((one**2).sum(dim=1, keepdim=True)).clamp_min_(0.0)


class NearestVectors:
    """The `k` nearest of vectors that come in batches, of each of the `queries`; as many batches as there are.

    `distances`, "queries k", are per value, the root of the mean squared difference, so that they can be read as
    pixels; exact where two vectors are equal. `numbers`, "queries k", count the vectors in the order in which they
    came; -1: none yet.
    """

    def __init__(self, queries: Vectors, k: int = 1) -> None:
        self._queries, self._seen = queries, 0
        self.distances = torch.full((len(queries), k), torch.inf, dtype=torch.float64)
        self.numbers = torch.full((len(queries), k), -1, dtype=torch.int64)

    def add(self, vectors: Vectors) -> None:
        """Look among these too."""
        for first, rows in blocks(vectors):
            for start, queries in blocks(self._queries):
                self._merge(slice(start, start + len(queries)), queries, rows, self._seen + first)
        self._seen += len(vectors)

    def _merge(self, at: slice, queries: Tensor, rows: Tensor, number: int) -> None:
        k = self.distances.shape[1]
        near = squared(queries, rows).topk(min(k, len(rows)), dim=1, largest=False).indices
        exact = torch.stack([(queries - rows[one]).square().mean(dim=1).sqrt() for one in near.unbind(1)], dim=1)
        distances = torch.cat([self.distances[at], exact], dim=1)
        numbers = torch.cat([self.numbers[at], near + number], dim=1)
        order = distances.argsort(dim=1, stable=True)[:, :k]
        self.distances[at], self.numbers[at] = distances.gather(1, order), numbers.gather(1, order)
