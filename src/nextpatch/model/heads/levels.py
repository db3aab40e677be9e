"""Pixels of 8 bits from inputs that were normalized in float32, exactly; whatever is no such pixel is refused."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.model.init import Init

LEVELS = 256
_NEAR = 0.05  # of a level: how far float32 may be off; half a level would be another pixel


class PixelLevels(nn.Module):
    """Mean and deviation of the data by channel, saved with the weights, and the way between pixels and levels.

    Input = (pixel - 255 mean) / (255 deviation), so level = round((input * deviation + mean) * 255). Float32 is off by
    less than 1e-4 of a level for every mean in [0, 1] and any deviation. Before `measure` these are 0 and 1.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("mean", "deviation"):
            self.register_buffer(name, torch.zeros(channels))

    def init_own(self, init: Init) -> None:
        """As pixels from 0 to 1."""
        self.mean.zero_()
        self.deviation.fill_(1.0)

    @torch.no_grad()
    def measure(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """The data's."""
        self.mean.copy_(torch.tensor(mean))
        self.deviation.copy_(torch.tensor(std))

    def of(self, patches: Float[Tensor, "*rows values"]) -> Int64[Tensor, "*rows values"]:
        """Levels of normalized patches, whose channels vary fastest.

        UserError for what was no pixel of 8 bits, or was normalized by another mean and deviation.
        """
        mean, deviation = self._spread(patches)
        scaled = (patches.to(mean.dtype) * deviation + mean) * (LEVELS - 1)
        found = scaled.round()
        exact = ((scaled - found).abs() <= _NEAR) & (found >= 0) & (found < LEVELS)  # false for not-a-number, too
        if not bool(exact.all()):
            raise UserError(
                "the head density weighs pixels of 8 bits, and these are none: images of more than 8 bits, mixed or "
                "half-precision inputs, or images normalized by another mean and std than the model's; give images of "
                "8 bits, normalized in float32 as the model's were"
            )
        return found.long()

    def nearest(self, patches: Float[Tensor, "*rows values"]) -> Float[Tensor, "*rows values"]:
        """Normalized patches as the pixels of 8 bits that are nearest to them."""
        mean, deviation = self._spread(patches)
        scaled = (patches.to(mean.dtype) * deviation + mean) * (LEVELS - 1)
        return self.pixels(scaled.round().clamp(0, LEVELS - 1).long()).to(mean.dtype)

    def pixels(self, levels: Int64[Tensor, "*rows values"]) -> Float[Tensor, "*rows values"]:
        """Normalized patches of levels; float64 where the model is."""
        mean, deviation = self._spread(levels)
        return (levels.to(mean.dtype) / (LEVELS - 1) - mean) / deviation

    def _spread(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        times = patches.shape[-1] // len(self.mean)
        wide = torch.float64 if torch.float64 in (patches.dtype, self.mean.dtype) else torch.float32
        return self.mean.to(wide).repeat(times), self.deviation.to(wide).repeat(times)
