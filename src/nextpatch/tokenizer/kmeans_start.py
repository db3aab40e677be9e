"""The first centers of k-means: rows drawn one after the other, far ones rather than near ones (k-means++)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.core.random import Stream, rng_at
from nextpatch.tokenizer.error import TokenizerError

_ONE_BY_ONE = 256  # centers; of more, several are drawn at a time: one for each so many that are there
_CANDIDATES = 8  # drawn for each center


def first_centers(rows: Float[Tensor, "rows values"], codes: int, seed: int) -> Float[Tensor, "codes values"]:
    """`codes` different rows, each drawn with chances proportional to the squared distance to those drawn before.

    Of the candidates drawn, those are taken that lower the sum of distances most. TokenizerError where there are fewer
    different rows. Source: Arthur and Vassilvitskii, k-means++ (2007), greedy.
    """
    squares = rows.square().sum(dim=1)
    tiny = 1e-5 * squares[:, None]  # what rounding may leave of a distance of 0
    left = torch.full_like(squares, 1.0)
    chosen = rows[:0]
    while len(chosen) < codes:
        wanted = min(codes - len(chosen), 1 + len(chosen) // _ONE_BY_ONE)
        drawn = _drawn(left, wanted * _CANDIDATES, seed, len(chosen))
        if not len(drawn) or codes > len(rows):
            raise TokenizerError(
                f"only {len(chosen) or len(rows):,} of {len(rows):,} patches are different, too few for {codes:,} "
                "codes; give fewer codes, or more varied images"
            )
        points = torch.unique(rows[drawn], dim=0)  # rows may be equal
        to_each = _distances(rows, squares, points)
        to_each = to_each.masked_fill(to_each <= tiny, 0)
        nearer = to_each if not len(chosen) else torch.minimum(to_each, left[:, None])
        best = nearer.sum(dim=0, dtype=torch.float64).argsort(stable=True)[:wanted]
        chosen = torch.cat([chosen, points[best]])
        left = nearer[:, best].amin(dim=1)
    return chosen


def _drawn(left: Float[Tensor, " rows"], count: int, seed: int, place: int) -> Int[Tensor, " candidates"]:
    """Different rows, by chances proportional to `left`: as many as there are, at most `count`."""
    weights = left.cpu().double()
    ends = weights.cumsum(dim=0)
    points = torch.from_numpy(rng_at(seed, Stream.FIRST_CODES, place).random(count)) * ends[-1]
    found = torch.unique(torch.searchsorted(ends, points, right=True).clamp_max(len(left) - 1))
    drawn: Int[Tensor, " candidates"] = found[weights[found] > 0].to(left.device)
    return drawn


def _distances(
    rows: Float[Tensor, "rows values"], squares: Float[Tensor, " rows"], points: Float[Tensor, "points values"]
) -> Float[Tensor, "rows points"]:
    """Squared distances of all rows to a few points."""
    return (squares[:, None] + points.square().sum(dim=1) - 2 * rows @ points.t()).clamp_min(0)
