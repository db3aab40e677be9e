"""Batch norm over the batch of all ranks, so that it does not matter among how many a batch is divided."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.dist.ranks import Ranks


class RanksBatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` without affine, with the same names and values, whose batch are the rows of all ranks."""

    def __init__(self, dim: int, eps: float, ranks: Ranks) -> None:
        super().__init__(dim, eps=eps, affine=False)
        self._world = ranks

    def forward(self, rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
        """The rows normalized, and in training the running statistics brought on (collective, backward too)."""
        if not self.training:
            return super().forward(rows)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        count = self._world.all_sum(torch.tensor(float(len(rows)), dtype=torch.float64, device=rows.device)).float()
        mean = _all_sum(rows.sum(dim=0), self._world) / count
        centered = rows - mean
        var = _all_sum(centered.square().sum(dim=0), self._world) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        return centered * torch.rsqrt(var + self.eps)


class _AllSum(torch.autograd.Function):
    """A sum over all ranks whose gradient is one, too: each rank's loss depends on what the others gave."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.all_sum(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        found: Tensor = ctx.ranks.all_sum(gradient.contiguous())
        return found, None


def _all_sum(values: Tensor, ranks: Ranks) -> Tensor:
    found: Tensor = _AllSum.apply(values, ranks)
    return found
