"""Values drawn one after another although later ones are known: several candidates, weighed as they meet them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from nextpatch.model.heads.noise import Noise

CANDIDATES = 16
_VALUES, _CHOICE = 1, 2  # streams of noise
_LEAST = 1e-300  # a sum of weights that are all zero


def drawn_given(
    probabilities: Callable[[Tensor], Tensor],
    drawn: Callable[[Tensor, Tensor], Tensor],
    known: Int64[Tensor, "rows values"],
    mask: Bool[Tensor, "rows values"],
    chance: Float64[Tensor, "rows values"],
    noise: Noise,
) -> Int64[Tensor, "rows values"]:
    """Values of which those under `mask` are as in `known`, the others drawn given ALL of these.

    `probabilities` gives those of the next value, of the values before it, and `drawn` a value of them and of a number
    from 0 to 1; their rows are the candidates, those of a row side by side. Sequential Monte Carlo: a candidate's
    weight is the probability that it gave the known values which it met; where few carry all the weight they are
    multiplied. The more candidates, the nearer is what is drawn to the conditional distribution; without known values
    behind unknown ones it is that exactly: the first candidate, drawn by the numbers of `chance`. Source: Gordon,
    Salmond and Smith (1993).
    """
    rows, count = mask.shape
    numbers = noise.uniform(_VALUES, CANDIDATES, count).double()
    numbers[:, 0] = chance
    choice = noise.uniform(_CHOICE, count + 1).double()
    values = torch.zeros(rows, CANDIDATES, 0, dtype=torch.int64, device=mask.device)
    weights = torch.full((rows, CANDIDATES), 1 / CANDIDATES, dtype=torch.float64, device=mask.device)
    for place in range(count):
        found = probabilities(values.flatten(0, 1))
        there, given = mask[:, place, None], known[:, place, None].expand(-1, CANDIDATES)
        value = torch.where(there, given, drawn(found, numbers[:, :, place].flatten()).view(rows, CANDIDATES))
        met = found.gather(1, given.reshape(-1, 1)).view(rows, CANDIDATES)
        weights = torch.where(there, weights * met, weights)
        weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(_LEAST)
        values = torch.cat([values, value[..., None]], dim=2)
        few = there[:, 0] & (weights.square().sum(dim=1) > 2 / CANDIDATES)
        values, weights = _multiplied(values, weights, few, choice[:, place])
    best = _at(weights, choice[:, count:])
    best = best.where(_known_late(mask)[:, None], 0)
    return values.gather(1, best[..., None].expand(-1, -1, count))[:, 0]


def _multiplied(values: Tensor, weights: Tensor, few: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """Rows in which `few` carry the weight: as many candidates, each as often as its weight says, of equal weight."""
    steps = torch.arange(CANDIDATES, device=weights.device)
    chosen = _at(weights, (steps + number[:, None]) / CANDIDATES)
    again = values.gather(1, chosen[..., None].expand_as(values))
    return again.where(few[:, None, None], values), (1 / CANDIDATES + 0 * weights).where(few[:, None], weights)


def _at(
    weights: Float64[Tensor, "rows candidates"], numbers: Float64[Tensor, "rows some"]
) -> Int64[Tensor, "rows some"]:
    """The candidates at which the sum of the weights reaches these numbers, from 0 to 1."""
    total = weights.cumsum(dim=1)
    return torch.searchsorted(total, numbers * total[:, -1:]).clamp_max(weights.shape[1] - 1)


def _known_late(mask: Bool[Tensor, "rows values"]) -> Bool[Tensor, " rows"]:
    """Whether a known value comes behind one that is not."""
    return (mask & ((~mask).int().cumsum(dim=1) > 0)).any(dim=1)
