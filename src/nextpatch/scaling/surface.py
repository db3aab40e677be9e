"""The loss over parameters and patches, and where a budget of operations is spent best; for many fits at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Draws = Float[np.ndarray, " draws"]


@dataclass(frozen=True)
class Cost:
    """Operations of a training: factor * N^exponent * D, fitted to the runs; `worst` is its largest relative error."""

    factor: float
    exponent: float
    worst: float

    def patches(self, params: Draws, flops: float) -> Draws:
        """Patches that a budget allows a model."""
        return flops / (self.factor * params**self.exponent)


class Surface(NamedTuple):
    """E + A N^-alpha + B D^-beta, of every draw."""

    floor: Draws
    params_factor: Draws
    alpha: Draws
    patches_factor: Draws
    beta: Draws

    def loss(self, params: Draws | float, patches: Draws | float) -> Draws:
        """The loss of models of N `params` that saw D `patches`."""
        return self.floor + self.params_factor * params**-self.alpha + self.patches_factor * patches**-self.beta

    @property
    def bends(self) -> np.ndarray:
        """Of which draws a budget has an optimum: both terms are there, and fall."""
        return (self.params_factor > 0) & (self.patches_factor > 0) & (self.alpha > 0) & (self.beta > 0)


class Frontier(NamedTuple):
    """The least loss of a budget C, E + G C^-gamma, at N = K C^params_share and D ~ C^patches_share; NaN of draws that
    have none."""

    flops_factor: Draws
    gamma: Draws
    params_at_one: Draws
    params_share: Draws
    patches_share: Draws

    def params(self, flops: float) -> Draws:
        """The best N for a budget."""
        found: Draws = self.params_at_one * flops**self.params_share
        return found


def frontier(surface: Surface, cost: Cost) -> Frontier:
    """Where d/dN of the loss is 0 at equal operations: alpha A N^-alpha = rho beta B D^-beta, with C ~ N^rho D."""
    bends = surface.bends
    _, a, alpha, b, beta = (np.where(bends, values, np.nan) for values in surface)
    both = alpha + cost.exponent * beta
    share = beta / both
    at_one = (alpha * a / (cost.exponent * beta * b)) ** (1 / both) * cost.factor**-share
    factor = a * at_one**-alpha * (1 + alpha / (cost.exponent * beta))
    return Frontier(factor, alpha * share, at_one, share, 1 - cost.exponent * share)


def fit_cost(params: Draws, patches: Draws, flops: Draws) -> Cost:
    """The power of N that tells operations per patch best, by least squares of logs; N itself of one size."""
    x, y = np.log(params), np.log(flops / patches)
    spread = x - x.mean()
    exponent = float(spread @ y / (spread @ spread)) if np.any(spread) else 1.0
    level = float(np.mean(y - exponent * x))
    worst = float(np.max(np.abs(np.expm1(level + exponent * x - y))))
    return Cost(float(np.exp(level)), exponent, worst)
