"""What is known of a patch tells what the rest of it is likely to be, at every step from noise to the patch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.model.heads.distribution import Known

REPEATS = 2  # of each step: forward, back by noise, and forward again
_PRODUCTS = 2  # of conjugate gradients; each costs one gradient of the network
_LEAST = 0.05  # added to covariances, which are those of standardized values and learned, not exact
_TINY = 1e-20  # of a square, where nothing is left to correct


def informed(
    guess: Callable[[Tensor], Tensor], noisy: Float[Tensor, "rows values"], known: Known
) -> Float[Tensor, "rows values"]:
    """The clean patch that is expected of a noisy one AND of what is known: `guess` gives the one without.

    Given a noisy patch, the covariance of the clean one is the gradient of its expected value by the noisy one, but for
    a factor (Tweedie's formula, of second order). So the guess is corrected as a normal distribution of this covariance
    would be: the error of its known values is told to the others by regression. Exact where values are normal; where
    they are not, nearly so at the late steps. `known` is standardized. Sources: Song et al. (PiGDM, ICLR 2023); Boys et
    al. (arXiv 2310.06721).
    """
    with torch.enable_grad():
        given = noisy.detach().requires_grad_()
        clean = guess(given)

        def covariance(vector: Tensor) -> Tensor:
            return torch.autograd.grad(clean, given, vector, retain_graph=True)[0]

        error = (known.values - clean.detach()).where(known.mask, 0.0)
        weights = _solved(lambda vector: covariance(vector).where(known.mask, 0.0) + _LEAST * vector, error)
        corrected = clean.detach() + covariance(weights)
    return known.values.where(known.mask, corrected)


def _solved(product: Callable[[Tensor], Tensor], wanted: Float[Tensor, "rows values"]) -> Float[Tensor, "rows values"]:
    """x of product(x) = wanted, row by row, by a few steps of conjugate gradients.

    Curvature is at least `_LEAST`, as it is of a covariance: that of a learned one may be anything.
    """
    found, left = torch.zeros_like(wanted), wanted
    towards, square = left, left.square().sum(dim=1, keepdim=True)
    for _ in range(_PRODUCTS):
        image = product(towards)
        least = _LEAST * towards.square().sum(dim=1, keepdim=True)
        step = square / (towards * image).sum(dim=1, keepdim=True).maximum(least).clamp_min(_TINY)
        found, left = found + step * towards, left - step * image
        after = left.square().sum(dim=1, keepdim=True)
        towards, square = left + after / square.clamp_min(_TINY) * towards, after
    return found
