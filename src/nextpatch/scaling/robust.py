"""Huber's loss of log residuals, and sums of non-negative powers fitted by it for given exponents; many at a time."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

DELTA = 1e-3  # of Huber's loss on log L; Hoffmann et al. 2022, equation 3
_RIDGE = 1e-14  # of a column's own square: keeps equal columns apart


def huber(residual: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """Half the square within DELTA of zero, linear beyond."""
    size = np.abs(residual)
    inside = np.minimum(size, DELTA)
    found: Float[np.ndarray, ...] = inside * (size - 0.5 * inside)
    return found


def irls_weights(residual: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """Weights by which a square has the slope of Huber's loss at the residual, and lies nowhere below it."""
    found: Float[np.ndarray, ...] = DELTA / np.maximum(np.abs(residual), DELTA)
    return found


def non_negative(
    gram: Float[np.ndarray, "*batch k k"], right: Float[np.ndarray, "*batch k"]
) -> Float[np.ndarray, "*batch k"]:
    """The x >= 0 that minimizes x' gram x / 2 - right' x, exact: the best of all sets of values that are not 0.

    `gram` is positive semidefinite with a positive diagonal; k is 2 or 3, so there are three or seven sets.
    """
    scale = np.sqrt(np.diagonal(gram, axis1=-2, axis2=-1))
    unit = gram / (scale[..., :, None] * scale[..., None, :]) + _RIDGE * np.eye(gram.shape[-1])
    wanted = right / scale
    best, lowest = np.zeros_like(right), np.zeros(right.shape[:-1])
    columns = range(right.shape[-1])
    for size in range(1, len(columns) + 1):
        for chosen in combinations(columns, size):
            found = _solved(unit, wanted, list(chosen))
            value = -0.5 * (found * wanted[..., list(chosen)]).sum(-1)
            better: Bool[np.ndarray, "*batch"] = (found >= 0).all(-1) & (value < lowest)
            lowest = np.where(better, value, lowest)
            spread = np.zeros_like(best)
            spread[..., list(chosen)] = found
            best = np.where(better[..., None], spread, best)
    result: Float[np.ndarray, "*batch k"] = best / scale
    return result


def _solved(
    unit: Float[np.ndarray, "*batch k k"], wanted: Float[np.ndarray, "*batch k"], chosen: list[int]
) -> Float[np.ndarray, "*batch size"]:
    """The solution with the chosen columns alone. The diagonal is 1."""
    if len(chosen) == 1:
        return wanted[..., chosen]
    part, side = unit[..., chosen, :][..., :, chosen], wanted[..., chosen]
    return np.linalg.solve(part, side[..., None])[..., 0]


def linear_start(
    powers: Float[np.ndarray, "places n k"], loss: Float[np.ndarray, " n"], counts: Float[np.ndarray, "batch n"]
) -> Float[np.ndarray, "places batch k"]:
    """Least squares of relative residuals, for the powers of several exponents and several weightings of the runs."""
    return _normal(powers, 1 / loss, counts, np.ones_like(counts))


def linear_step(
    powers: Float[np.ndarray, "places n k"], loss: Float[np.ndarray, " n"],
    counts: Float[np.ndarray, "*#places batch n"],
    values: Float[np.ndarray, "places batch k"],
) -> Float[np.ndarray, "places batch k"]:  # fmt: skip
    """One step of iteratively reweighted least squares on log residuals, linearized at `values`."""
    predicted = values @ np.swapaxes(powers, 1, 2)
    residual = np.log(predicted / loss)
    found = _normal(powers, 1 / predicted, counts * irls_weights(residual), 1 - residual)
    return np.where((found > 0).any(-1, keepdims=True), found, values)


def _normal(
    powers: Float[np.ndarray, "places n k"], over: Float[np.ndarray, ...], weights: Float[np.ndarray, ...],
    target: Float[np.ndarray, ...],
) -> Float[np.ndarray, "places batch k"]:  # fmt: skip
    """The non-negative least squares of rows `powers * over` against `target`, by products over all rows at once."""
    places, n, k = powers.shape
    products = (powers[..., :, None] * powers[..., None, :]).reshape(places, n, k * k)
    gram = (weights * over**2) @ products
    return non_negative(gram.reshape(*gram.shape[:-1], k, k), (weights * over * target) @ powers)
