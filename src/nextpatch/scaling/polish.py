"""Bring fits of power sums to the optimum: Newton's method on Huber's loss, held back where it would rise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from nextpatch.scaling.robust import DELTA, huber, irls_weights, linear_step

_MOST_STEPS = 5000
_SMALL = 1e-11  # a step that changes no value by more than this, relatively, is none
_STUCK = 1e12  # damping at which no smaller step lowers the loss either: rounding is all that is left
_LITTLE, _IDLE = 1e-8, 10  # so many steps, each of which lowers the loss by less than this share, end it as well
_RIDGE = 1e-12
_PROJECTIONS = 2


@dataclass
class Polished:
    """Of every problem: the exponents, E with the factors of the centered inputs, and the mean Huber loss.

    `settled`: whether no step lowers it any more."""

    exponents: Float[np.ndarray, "batch terms"]
    values: Float[np.ndarray, "batch k"]
    objective: Float[np.ndarray, " batch"]
    settled: Bool[np.ndarray, " batch"]


def polished(
    logs: Float[np.ndarray, "n terms"], target: Float[np.ndarray, " n"], counts: Float[np.ndarray, "batch n"],
    exponents: Float[np.ndarray, "batch terms"], values: Float[np.ndarray, "batch k"], bounds: tuple[float, float],
) -> Polished:  # fmt: skip
    """From `exponents` and `values` down to the nearest optimum; `counts` sum to 1, `target` is log L.

    A step solves with a blend of Huber's own curvature (Newton: fast at the end) and that of reweighted squares (which
    nowhere lies below the loss: it falls from anywhere). The blend goes to the first while steps succeed, and to the
    second, then to short steps, while they fail.
    """
    start = _objective(logs, target, counts, exponents, values)
    found = Polished(exponents.copy(), values.copy(), start, np.zeros(len(counts), bool))
    damping, idle = np.ones(len(counts)), np.zeros(len(counts), int)
    open_: Int[np.ndarray, " open"] = np.arange(len(counts))
    for _ in range(_MOST_STEPS):
        if not len(open_):
            break
        now, then = found.values[open_], found.exponents[open_]
        step = _step(logs, target, counts[open_], then, now, damping[open_], bounds)
        k = now.shape[1]
        powers = np.clip(then + step[:, k:], *bounds)
        new = _projected(logs, target, counts[open_], powers, np.maximum(now + step[:, :k], 0.0))
        objective = _objective(logs, target, counts[open_], powers, new)
        better: Any = np.less(objective, found.objective[open_])
        little = found.objective[open_] - objective < _LITTLE * found.objective[open_]
        idle[open_] = np.where(better, np.where(little, idle[open_] + 1, 0), idle[open_])
        moved = _moved(now, new, then, powers)
        accepted = open_[better]
        found.values[accepted], found.exponents[accepted] = new[better], powers[better]
        found.objective[accepted] = objective[better]
        damping[open_] = np.where(better, np.maximum(damping[open_] / 4, 1e-9), damping[open_] * 8)
        goes_on: Any = (moved > _SMALL) & (damping[open_] < _STUCK) & (idle[open_] < _IDLE)
        found.settled[open_[~goes_on]] = True
        open_ = open_[goes_on]
    return found


def _projected(
    logs: Float[np.ndarray, "n terms"], target: Float[np.ndarray, " n"], counts: Float[np.ndarray, "batch n"],
    exponents: Float[np.ndarray, "batch terms"], values: Float[np.ndarray, "batch k"],
) -> Float[np.ndarray, "batch k"]:  # fmt: skip
    """E and the factors brought nearer to the best for the exponents, which are another curve than a step's line."""
    ones = np.ones((len(counts), len(target), 1))
    powers = np.concatenate([ones, _powers(logs, exponents)], axis=2)
    sound: Any = (_predicted(powers[..., 1:], values) > 0).all(1)
    found = np.where(sound[:, None], values, 1.0)[:, None]
    for _ in range(_PROJECTIONS):
        found = linear_step(powers, np.exp(target), counts[:, None], found)
    return np.where(sound[:, None], found[:, 0], values)


def _moved(
    now: Float[np.ndarray, "batch k"], new: Float[np.ndarray, "batch k"], then: Float[np.ndarray, "batch terms"],
    powers: Float[np.ndarray, "batch terms"],
) -> Float[np.ndarray, " batch"]:  # fmt: skip
    """The largest change of any value, in parts of all of them together, or of any exponent."""
    size = now.sum(1) + 1e-300
    moved: Float[np.ndarray, " batch"] = np.maximum(
        (np.abs(new - now) / size[:, None]).max(1), np.abs(powers - then).max(1)
    )
    return moved


def _objective(
    logs: Float[np.ndarray, "n terms"], target: Float[np.ndarray, " n"], counts: Float[np.ndarray, "batch n"],
    exponents: Float[np.ndarray, "batch terms"], values: Float[np.ndarray, "batch k"],
) -> Float[np.ndarray, " batch"]:  # fmt: skip
    """The mean Huber loss; infinite where the sum is not positive."""
    predicted = _predicted(_powers(logs, exponents), values)
    sound: Any = (predicted > 0).all(1) & np.isfinite(predicted).all(1)
    residual = np.log(np.where(sound[:, None], predicted, 1.0)) - target
    return np.where(sound, (counts * huber(residual)).sum(1), np.inf)


def _powers(
    logs: Float[np.ndarray, "n terms"], exponents: Float[np.ndarray, "batch terms"]
) -> Float[np.ndarray, "batch n terms"]:
    found: Float[np.ndarray, "batch n terms"] = np.exp(-exponents[:, None, :] * logs)
    return found


def _predicted(
    powers: Float[np.ndarray, "batch n terms"], values: Float[np.ndarray, "batch k"]
) -> Float[np.ndarray, "batch n"]:
    found: Float[np.ndarray, "batch n"] = values[:, :1] + np.einsum("bnt,bt->bn", powers, values[:, 1:])
    return found


def _step(
    logs: Float[np.ndarray, "n terms"], target: Float[np.ndarray, " n"], counts: Float[np.ndarray, "batch n"],
    exponents: Float[np.ndarray, "batch terms"], values: Float[np.ndarray, "batch k"],
    damping: Float[np.ndarray, " batch"], bounds: tuple[float, float],
) -> Float[np.ndarray, "batch unknowns"]:  # fmt: skip
    """The change of E, the factors and the exponents; none of those that stand at a bound and would leave it."""
    powers = _powers(logs, exponents)
    predicted = _predicted(powers, values)
    residual = np.log(predicted) - target
    ones = np.ones((*predicted.shape, 1))
    slopes = np.concatenate([ones, powers, -values[:, None, 1:] * logs * powers], axis=2) / predicted[..., None]
    pull = counts * np.clip(residual, -DELTA, DELTA)
    gradient = np.einsum("bnp,bn->bp", slopes, pull)
    blend = np.minimum(damping, 1.0)[:, None]
    curved = counts * ((1 - blend) * (np.abs(residual) <= DELTA) + blend * irls_weights(residual)) - (1 - blend) * pull
    hessian = np.swapaxes(slopes * curved[..., None], 1, 2) @ slopes
    _add_bends(hessian, logs, powers, values, (1 - blend) * pull / predicted)
    at_least = np.concatenate([values <= 0, exponents <= bounds[0]], axis=1)
    at_most = np.concatenate([np.zeros_like(values, bool), exponents >= bounds[1]], axis=1)
    flat = np.concatenate([np.zeros_like(values, bool), values[:, 1:] <= 0], axis=1)
    held = (at_least & (gradient > 0)) | (at_most & (gradient < 0)) | flat
    return _solved(hessian, gradient, held, damping)


def _add_bends(
    hessian: Float[np.ndarray, "batch p p"], logs: Float[np.ndarray, "n terms"],
    powers: Float[np.ndarray, "batch n terms"], values: Float[np.ndarray, "batch k"],
    pull: Float[np.ndarray, "batch n"],
) -> None:  # fmt: skip
    """Add to the curvature what the sum's own second derivatives, by factor and exponent, make of the residuals."""
    k = values.shape[1]
    once = np.einsum("bn,nt,bnt->bt", pull, logs, powers)
    twice = np.einsum("bn,nt,bnt->bt", pull, logs**2, powers) * values[:, 1:]
    for term in range(logs.shape[1]):
        hessian[:, 1 + term, k + term] -= once[:, term]
        hessian[:, k + term, 1 + term] -= once[:, term]
        hessian[:, k + term, k + term] += twice[:, term]


def _solved(
    hessian: Float[np.ndarray, "batch p p"], gradient: Float[np.ndarray, "batch p"], held: np.ndarray,
    damping: Float[np.ndarray, " batch"],
) -> Float[np.ndarray, "batch p"]:  # fmt: skip
    """Minus the inverse of the damped curvature times the gradient, in units in which the curvature's diagonal is 1."""
    diagonal = np.diagonal(hessian, axis1=1, axis2=2)
    scale = np.where(held | (diagonal <= 0), 1.0, np.sqrt(np.maximum(diagonal, 1e-300)))
    free = ~held
    unit = hessian / (scale[:, :, None] * scale[:, None, :]) * (free[:, :, None] & free[:, None, :])
    ridge = _RIDGE + np.maximum(damping - 1, 0.0) * 1e-8
    unit = unit * np.maximum(damping, 1.0)[:, None, None] ** 0.5 + ridge[:, None, None] * np.eye(unit.shape[1])
    unit = unit + np.where(held, 1.0, 0.0)[:, :, None] * np.eye(unit.shape[1])
    step = np.linalg.solve(unit, np.where(held, 0.0, -gradient / scale)[..., None])[..., 0]
    return step / scale
