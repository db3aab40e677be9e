"""Patches on a common scale: each value of a patch by its own mean and deviation, measured once and saved."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.model.init import Init

_LEAST = 0.1  # of the deviation of all values together: a value that hardly varies must not be blown up


class Standard(nn.Module):
    """(value - center) / scale, with the range in which values were met. Buffers, saved with the weights.

    Until `measure` the center is 0, the scale 1 and the range open.
    """

    center: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, values: int) -> None:
        super().__init__()
        for name in ("center", "scale", "low", "high"):
            self.register_buffer(name, torch.zeros(values))

    def init_own(self, init: Init) -> None:
        """Nothing is changed by it yet."""
        self.center.zero_()
        self.scale.fill_(1.0)
        self.low.fill_(-torch.finfo(torch.float32).max)
        self.high.fill_(torch.finfo(torch.float32).max)

    @torch.no_grad()
    def measure(self, patches: Iterable[Tensor]) -> None:
        """Mean, deviation and range of each value of patches "batch patches values", summed in float64.

        ValueError where there are none.
        """
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        low, high = torch.full_like(self.low, torch.inf), torch.full_like(self.high, -torch.inf)
        for batch in patches:
            rows = batch.flatten(0, -2).to(self.center.device, torch.float64)
            count, total, squares = count + len(rows), total + rows.sum(dim=0).cpu(), squares + (rows**2).sum(0).cpu()
            low, high = torch.minimum(low, rows.amin(0).to(low)), torch.maximum(high, rows.amax(0).to(high))
        if not count:
            raise ValueError("no patches were given to measure")
        mean = total / count
        variance = (squares / count - mean**2).clamp_min(0.0)
        least = _LEAST * (squares.sum() / count / len(mean) - mean.mean() ** 2).clamp_min(1e-12).sqrt()
        for name, found in (
            ("center", mean), ("scale", torch.maximum(variance.sqrt(), least)), ("low", low), ("high", high),
        ):  # fmt: skip
            getattr(self, name).copy_(found)

    def forward(self, patches: Float[Tensor, "*rows values"]) -> Float[Tensor, "*rows values"]:
        """Patches on this scale, in float32 or wider."""
        wide = patches if patches.dtype == torch.float64 else patches.float()
        return (wide - self.center) / self.scale

    def back(self, standard: Float[Tensor, "*rows values"]) -> Float[Tensor, "*rows values"]:
        """The inverse."""
        return standard * self.scale + self.center

    def within(self, standard: Float[Tensor, "*rows values"]) -> Float[Tensor, "*rows values"]:
        """No further from the middle than values were ever met."""
        return standard.clamp(self(self.low), self(self.high))
