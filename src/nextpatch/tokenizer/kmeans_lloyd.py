"""Lloyd's algorithm on rows that come in pieces: centers move to the mean of their rows, dead ones to far rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.tokenizer.nearest import nearest

_FAR = 64  # of the farthest rows, kept to begin dead codes anew
_KEPT = 0.9  # of the weight of earlier rows, at each mini-batch
_PATIENCE = 20  # mini-batches without a row, after which a code is dead
_GAIN = 1e-3  # of the error in a pass: less ends them


class Totals:
    """What one look at rows gives: the sum and the number of each code's rows, and the rows farthest from theirs."""

    def __init__(self, like: Float[Tensor, "codes values"]) -> None:
        self.sums = torch.zeros_like(like, dtype=torch.float64)
        self.counts = torch.zeros(len(like), dtype=torch.int64, device=like.device)
        self.error = torch.zeros((), dtype=torch.float64, device=like.device)  # sum of squared distances
        self._distances, self.far = like.new_zeros(0), like[:0]

    def add(self, rows: Float[Tensor, "rows values"], centers: Float[Tensor, "codes values"]) -> None:
        """Count these rows."""
        codes, distances = nearest(rows, centers)
        counts = torch.bincount(codes, minlength=len(centers))
        together = rows[codes.argsort(stable=True)]
        self.sums += torch.segment_reduce(together, "sum", lengths=counts, axis=0)
        self.counts += counts
        self.error += distances.sum(dtype=torch.float64)
        self._keep_far(rows, distances)

    def means(self, centers: Float[Tensor, "codes values"]) -> Float[Tensor, "codes values"]:
        """The mean of each code's rows; of a dead code one of the farthest rows, or where it is when none is apart."""
        moved = (self.sums / self.counts.clamp_min(1)[:, None]).float()
        dead = (self.counts == 0).nonzero()[:, 0]
        moved[dead] = centers[dead]
        begun = dead[: len(self.far)]
        moved[begun] = self.far[: len(begun)]
        return moved

    def _keep_far(self, rows: Float[Tensor, "rows values"], distances: Float[Tensor, " rows"]) -> None:
        some, at = distances.topk(min(_FAR, len(distances)))
        some, at = some[some > 0], at[some > 0]
        all_distances, all_rows = torch.cat([self._distances, some]), torch.cat([self.far, rows[at]])
        order = all_distances.argsort(descending=True, stable=True)[:_FAR]
        self._distances, self.far = all_distances[order], all_rows[order]


class MiniBatches:
    """Centers that move with every batch of rows: each is a mean of its rows so far, of which later ones weigh more."""

    def __init__(self, centers: Float[Tensor, "codes values"]) -> None:
        self.centers = centers
        self._weights = torch.zeros(len(centers), dtype=torch.float64, device=centers.device)
        self._idle = torch.zeros(len(centers), dtype=torch.int64, device=centers.device)  # batches without a row

    def learn(self, rows: Float[Tensor, "rows values"]) -> None:
        """Move towards these rows. A code without any for many batches begins anew at a row far from all codes."""
        totals = Totals(self.centers)
        totals.add(rows, self.centers)
        before = self._weights * _KEPT
        self._weights = before + totals.counts
        moved = (self.centers * before[:, None] + totals.sums) / self._weights.clamp_min(1e-12)[:, None]
        met = totals.counts > 0
        self.centers = torch.where(met[:, None], moved.float(), self.centers)
        self._idle = torch.where(met, 0, self._idle + 1)
        self._begin_anew((self._idle >= _PATIENCE).nonzero()[:, 0], totals.far)

    def _begin_anew(self, dead: Int[Tensor, " some"], far: Float[Tensor, "few values"]) -> None:
        dead = dead[: len(far)]
        self.centers[dead] = far[: len(dead)]
        self._weights[dead] = 0
        self._idle[dead] = 0


def lloyd(
    centers: Float[Tensor, "codes values"],
    batches: Callable[[], Iterable[Float[Tensor, "rows values"]]],
    passes: int,
    told: Callable[[int, float], None],
) -> tuple[Float[Tensor, "codes values"], Totals]:
    """At most `passes` full passes over the same rows, fewer when one gains little; (centers, what belongs to them).

    `told` is called before each with its number and the mean squared distance to the centers.
    """
    totals, last, dead = _look(centers, batches), math.inf, len(centers)
    for number in range(passes):
        error = float(totals.error / totals.counts.sum())
        told(number, error)
        still_dead = int((totals.counts == 0).sum())
        if error > last * (1 - _GAIN) and (not still_dead or still_dead >= dead):
            break
        dead = still_dead
        centers, last = totals.means(centers), error
        totals = _look(centers, batches)
    return centers, totals


def _look(
    centers: Float[Tensor, "codes values"], batches: Callable[[], Iterable[Float[Tensor, "rows values"]]]
) -> Totals:
    totals = Totals(centers)
    for rows in batches():
        totals.add(rows, centers)
    return totals
