"""The network inside a patch: each value from those before it and from what is known of the patch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.model.heads.logistics import MIXTURES, Logistics
from nextpatch.model.init import Init
from nextpatch.model.layers import MLP, LayerNorm

FEATURES = 3  # numbers that a value is told by


class Earlier(nn.Linear):
    """A linear map from features of all values to a vector for each, whose weights from itself and later values are 0.

    Its weight is [values * width, values * FEATURES]; the part that is masked is never used.
    """

    def __init__(self, values: int, width: int) -> None:
        super().__init__(values * FEATURES, values * width, bias=False)
        self._values, self._width = values, width

    def init_own(self, init: Init) -> None:
        """Normal, scaled to the half of the values that is seen on average and to the vector of one."""
        init.normal(self.weight, (2 / (self._values * FEATURES + 2 * self._width)) ** 0.5)

    def forward(self, features: Float[Tensor, "rows features"]) -> Float[Tensor, "rows values width"]:
        """For all values at once."""
        before = torch.ones(self._values, self._values, device=features.device, dtype=self.weight.dtype).tril(-1)
        whole = self.weight.view(self._values, self._width, self._values, FEATURES) * before[:, None, :, None]
        return F.linear(features, whole.view_as(self.weight)).view(-1, self._values, self._width)

    def at(self, place: int, features: Float[Tensor, "rows earlier"]) -> Float[Tensor, "rows width"]:
        """For the value at one place, from the features of those before it."""
        seen = self.weight[place * self._width : (place + 1) * self._width, : place * FEATURES]
        return F.linear(features, seen)


class WithinBlock(nn.Module):
    """x += mlp(norm(x)), the same for every value."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.mlp = MLP(width, 2)

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Value by value."""
        out: Tensor = x + self.mlp(self.norm(x))
        return out


class Within(nn.Module):
    """A distribution over the values of a patch, integers from 0 to `levels` - 1, given a condition: exact.

    The vector of each value is a linear map of the condition plus a masked linear map of the values before it; residual
    MLP blocks, which all values share; a norm; and the parameters of a mixture of logistics. So all values of a patch
    go in one pass where they are known, and one after another where they are drawn. Sources: MADE (arXiv 1502.03509)
    for the masked map, PixelCNN++ (arXiv 1701.05517) for the mixture.
    """

    def __init__(self, condition: int, values: int, width: int, depth: int, levels: int = 256) -> None:
        super().__init__()
        self.values, self.width, self.levels = values, width, levels
        self.first = nn.Linear(condition, values * width)
        self.earlier = Earlier(values, width)
        self.blocks = nn.ModuleList(WithinBlock(width) for _ in range(depth))
        self.norm = LayerNorm(width)
        self.pred = Logistics(width, levels)

    def nats(
        self, condition: Float[Tensor, "rows condition"], values: Int[Tensor, "rows values"]
    ) -> Float[Tensor, "rows values"]:
        """-log of the probability of each value of patches that are known, float32 or wider."""
        begun = self.begin(condition)
        parameters = self._finished(begun + self.earlier(self._features(values, begun.dtype)))
        return self.pred.nats(parameters, values)

    def begin(self, condition: Float[Tensor, "rows condition"]) -> Float[Tensor, "rows values width"]:
        """What `step` needs of the condition, made once for a patch."""
        out: Tensor = self.first(condition).view(-1, self.values, self.width)
        return out

    def step(
        self, begun: Float[Tensor, "rows values width"], earlier: Int[Tensor, "rows place"]
    ) -> Float[Tensor, "rows levels"]:
        """Probabilities of the next value, from all values before it, float32 or wider."""
        place = earlier.shape[1]
        x = begun[:, place] + self.earlier.at(place, self._features(earlier, begun.dtype))
        return self.pred.probabilities(self._finished(x))

    def _finished(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows parameters"]:
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.pred(self.norm(x))
        return out

    def _features(self, values: Int[Tensor, "rows some"], dtype: torch.dtype) -> Float[Tensor, "rows features"]:
        """From -1 to 1, and whether it is the lowest or the highest level: these are common, and stand apart."""
        scaled = values.to(dtype) * (2 / (self.levels - 1)) - 1
        ends = ((values == end).to(dtype) for end in (0, self.levels - 1))
        return torch.stack([scaled, *ends], dim=-1).flatten(1)

    @staticmethod
    def params(condition: int, values: int, width: int, depth: int) -> int:
        """Biases at both ends, blocks without; norms."""
        ends = (condition + 1) * values * width + (width + 1) * 3 * MIXTURES
        return ends + FEATURES * values * values * width + depth * (4 * width * width + 2 * width) + 2 * width

    @staticmethod
    def macs(condition: int, values: int, width: int, depth: int) -> int:
        """Products of a patch; those with masked weights are computed too."""
        each = depth * 4 * width * width + 3 * MIXTURES * width + FEATURES * values * width + condition * width
        return values * each
