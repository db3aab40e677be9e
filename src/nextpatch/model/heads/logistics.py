"""Mixtures of logistic distributions cut at the levels of a pixel: an exact distribution over integers.

Source: PixelCNN++ (arXiv 1701.05517), section 2.1. Level v has what a logistic has from v - 1/2 to v + 1/2, the lowest
and the highest all that lies beyond them, so that each component sums to one, whatever its parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.model.init import Init

MIXTURES = 5  # more cost more than they gain: docs/decisions/0023-density.md
_START = -2.0  # logarithm of the scale that all components begin with, in half the range of levels
_BOUND = 9.0  # of that logarithm: a scale from 0.02 of a level, where 256 make 2, to 8,000 times the range


class Logistics(nn.Linear):
    """A linear layer to the parameters of a mixture: logits of its components, their centers and log scales.

    Levels lie from -1 to 1. Centers start evenly spread there.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__(width, 3 * MIXTURES)
        self.levels = levels

    def init_own(self, init: Init) -> None:
        """As a linear layer, with biases that make a broad distribution."""
        init.xavier_uniform(self.weight)
        start = [torch.zeros(MIXTURES), torch.linspace(-1, 1, MIXTURES), torch.full((MIXTURES,), _START)]
        init.exactly(self.bias, torch.cat(start))

    def nats(
        self, parameters: Float[Tensor, "*rows parameters"], level: Int[Tensor, "*rows"]
    ) -> Float[Tensor, "*rows"]:
        """-log of the probability of a level, float32 or wider.

        With a and b the standardized upper and lower edge, log(s(a) - s(b)) = log s(a) + log s(-b) + log(1 - exp(b-a)),
        which loses nothing in the tails.
        """
        weight, center, sharpness = _parts(parameters)
        v = level[..., None]
        middle = sharpness * (self._scaled(v, center.dtype) - center)
        half = sharpness / (self.levels - 1)
        above, below = v < self.levels - 1, v > 0
        found = F.logsigmoid(middle + half).where(above, 0.0) + F.logsigmoid(half - middle).where(below, 0.0)
        found = found + torch.log(-torch.expm1(-2 * half)).where(above & below, 0.0)
        return -torch.logsumexp(found + weight, dim=-1)

    def probabilities(self, parameters: Float[Tensor, "*rows parameters"]) -> Float[Tensor, "*rows levels"]:
        """Of all levels; they sum to one up to rounding, and none is negative: products, as in `nats`."""
        weight, center, sharpness = _parts(parameters)
        edges = self._scaled(torch.arange(self.levels - 1, device=center.device), center.dtype) + 1 / (self.levels - 1)
        distance = sharpness[..., None] * (edges - center[..., None])
        below, above = torch.sigmoid(distance), torch.sigmoid(-distance)
        within = -torch.expm1(-2 * sharpness / (self.levels - 1))[..., None]
        inner = below[..., 1:] * above[..., :-1] * within
        each = torch.cat([below[..., :1], inner, above[..., -1:]], dim=-1)
        return (each * weight.exp()[..., None]).sum(dim=-2)

    def _scaled(self, level: Tensor, kind: torch.dtype) -> Tensor:
        return level.to(kind) * (2 / (self.levels - 1)) - 1


def _parts(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log weights, centers, and one over the scales."""
    wide = parameters if parameters.dtype == torch.float64 else parameters.float()
    logits, center, scale = wide.chunk(3, dim=-1)
    return logits.log_softmax(dim=-1), center, torch.exp(-scale.clamp(-_BOUND, _BOUND))
