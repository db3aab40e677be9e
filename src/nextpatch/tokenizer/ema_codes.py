"""Codes that follow the vectors that choose them: moving averages, and codes that nobody chooses begun anew."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.core.random import Stream, rng_at
from nextpatch.tokenizer.nearest import nearest

_DECAY = 0.99  # of a moving average, per step
_IDLE = 80.0  # rows for each code on average: one that none of so many has chosen is dead


class MovingCodes:
    """Each code is the mean of the rows that chose it, later ones weighing more.

    Source: van den Oord et al., Neural Discrete Representation Learning (arXiv 1711.00937), appendix A.1.
    """

    def __init__(self, vectors: Float[Tensor, "codes values"], seed: int) -> None:
        self.vectors = vectors.clone()
        self._seed, self._steps = seed, 0
        self._counts, self._sums = vectors.new_ones(len(vectors)), vectors.clone()
        self._idle = torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device)

    @torch.no_grad()
    def follow(self, rows: Float[Tensor, "rows values"], begin_anew: bool) -> Float[Tensor, "rows values"]:
        """Move towards these rows; returns the vector of the code that each of them chose before.

        With `begin_anew` codes that are dead become rows far from their code, drawn by their squared distance.
        """
        codes, distances = nearest(rows, self.vectors)
        chosen = self.vectors[codes]
        counts = torch.bincount(codes, minlength=len(self.vectors))
        together = rows[codes.argsort(stable=True)]
        self._counts.lerp_(counts.to(rows), 1 - _DECAY)
        self._sums.lerp_(torch.segment_reduce(together, "sum", lengths=counts, axis=0), 1 - _DECAY)
        self._idle = torch.where(counts > 0, 0, self._idle + 1)
        self._steps += 1
        self.vectors = torch.where(counts[:, None] > 0, self._sums / self._counts[:, None], self.vectors)
        if begin_anew:
            self._begin_anew(rows, distances)
        return chosen

    def _begin_anew(self, rows: Float[Tensor, "rows values"], far: Float[Tensor, " rows"]) -> None:
        dead = (self._idle > _IDLE * len(self.vectors) / len(rows)).nonzero()[:, 0]
        drawn = self._drawn(far, len(dead))
        dead = dead[: len(drawn)]
        self.vectors[dead] = self._sums[dead] = rows[drawn]
        self._counts[dead], self._idle[dead] = 1.0, 0

    def _drawn(self, weights: Float[Tensor, " rows"], most: int) -> Int[Tensor, " drawn"]:
        """Different rows, with chances proportional to their weights; fewer than `most` where fewer have one."""
        chances = weights.double().cpu().numpy()
        count = min(most, int((chances > 0).sum()))
        if not count:
            return torch.zeros(0, dtype=torch.int64, device=weights.device)
        rng = rng_at(self._seed, Stream.DEAD_CODES, self._steps)
        drawn = rng.choice(len(chances), count, replace=False, p=chances / chances.sum())
        return torch.from_numpy(drawn).to(weights.device)
