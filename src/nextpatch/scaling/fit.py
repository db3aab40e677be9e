"""Fit loss = E + sum of A_j x_j^-a_j to runs: exponents on a grid by variable projection, then polished to the optimum.

For given exponents the rest is a non-negative problem of two or three values. So the grid is over the exponents
alone, and what is found depends on no start value. The two known faults of the published fit of Hoffmann et al. 2022
(Besiroglu et al. 2024: an optimizer that stopped early, and starts) have no place here. Many weightings of the
same runs, as a bootstrap draws them, are fitted together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int

from nextpatch.scaling.polish import polished
from nextpatch.scaling.robust import huber, linear_start, linear_step

LEAST, MOST = -2.0, 4.0  # of exponents
_GRID = (-2.0, -1.0, -0.5, -0.2, -0.05, *np.geomspace(0.02, 4.0, 26))
_STEPS = 4  # of reweighting at a point of the grid: enough to tell good from bad
_STARTS = 3  # of each weighting, that are polished
_TOGETHER = 1000  # problems at a time: a few megabytes
_TIE = 1e-9  # where a factor is 0 its exponent changes rounding alone: such a plain is no valley


@dataclass(frozen=True)
class PowerFit:
    """Of every weighting: `floor` E, `factors` A_j in the units of x_j, `exponents` a_j, and the mean Huber loss.

    `settled`: whether no step lowers the loss any more. A term whose factor is 0 has the exponent 0: the loss does not
    depend on it.
    """

    floor: Float[np.ndarray, " batch"]
    factors: Float[np.ndarray, "batch terms"]
    exponents: Float[np.ndarray, "batch terms"]
    objective: Float[np.ndarray, " batch"]
    settled: Bool[np.ndarray, " batch"]


def fit_powers(
    inputs: Float[np.ndarray, "n terms"], loss: Float[np.ndarray, " n"], counts: Float[np.ndarray, "batch n"]
) -> PowerFit:
    """The fit of one or two terms to `n` runs, each counted as often as `counts` says; all values are positive."""
    logs = np.log(inputs)
    center = logs.mean(0)
    logs, counts = logs - center, counts / counts.sum(1, keepdims=True)
    exponents, values = _starts(logs, loss, counts)
    starts = exponents.shape[1]
    repeated = np.repeat(counts, starts, axis=0)
    found = polished(
        logs, np.log(loss), repeated, exponents.reshape(-1, logs.shape[1]),
        values.reshape(-1, logs.shape[1] + 1), (LEAST, MOST),
    )  # fmt: skip
    best = found.objective.reshape(-1, starts).argmin(1) + starts * np.arange(len(counts))
    powers, values = found.exponents[best], found.values[best]
    gone = values[:, 1:] <= 0
    factors = np.where(gone, 0.0, values[:, 1:] * np.exp(np.where(gone, 0.0, powers) * center))
    return PowerFit(values[:, 0], factors, np.where(gone, 0.0, powers), found.objective[best], found.settled[best])


def _starts(
    logs: Float[np.ndarray, "n terms"], loss: Float[np.ndarray, " n"], counts: Float[np.ndarray, "batch n"]
) -> tuple[Float[np.ndarray, "batch starts terms"], Float[np.ndarray, "batch starts k"]]:
    """The best valleys of the grid of each weighting: exponents, and E with the factors."""
    terms = logs.shape[1]
    places = np.array(list(product(_GRID, repeat=terms)))
    objective = np.empty((len(counts), len(places)))
    values = np.empty((len(counts), len(places), terms + 1))
    for first in range(0, len(places), size := max(1, _TOGETHER // len(counts))):
        part = slice(first, first + size)
        powers = np.exp(-places[part, None, :] * logs)
        powers = np.concatenate([np.ones((*powers.shape[:2], 1)), powers], axis=2)
        found = linear_start(powers, loss, counts)
        for _ in range(_STEPS):
            found = linear_step(powers, loss, counts, found)
        residuals = np.log(found @ np.swapaxes(powers, 1, 2) / loss)
        values[:, part] = np.swapaxes(found, 0, 1)
        objective[:, part] = (counts * huber(residuals)).sum(2).T
    chosen = _valleys(objective, terms)
    return places[chosen], np.take_along_axis(values, chosen[..., None], axis=1)


def _valleys(objective: Float[np.ndarray, "batch places"], terms: int) -> Int[np.ndarray, "batch starts"]:
    """Places of the grid that are lower than all their neighbors, the lowest first; then the lowest of the others."""
    cube = objective.reshape(-1, *[len(_GRID)] * terms)
    padded = np.pad(cube, [(0, 0)] + [(1, 1)] * terms, constant_values=np.inf)
    valley = np.ones(cube.shape, bool)
    for shift in product((-1, 0, 1), repeat=terms):
        if any(shift):
            window = tuple(slice(1 + s, 1 + s + len(_GRID)) for s in shift)
            valley &= cube < padded[(slice(None), *window)] * (1 - _TIE)
    order = np.argsort(np.where(valley, 0.0, 1e9).reshape(objective.shape) + objective, axis=1, kind="stable")
    return order[:, :_STARTS]
