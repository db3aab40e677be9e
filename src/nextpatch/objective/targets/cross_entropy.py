"""The cross-entropy of a linear layer's logits, summed over rows in pieces: all logits are never in memory at once.

The gradient of a piece is computed right behind its loss, so nothing is computed twice: as many operations as the plain
formulation takes, and the same result but for the order of sums.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

PIECE = 2**23  # logits in memory at a time


def cross_entropy(logits: Float[Tensor, "*rows codes"], codes: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """-log softmax(logits)[code] of each row, never in half precision."""
    wide = _wide(logits).flatten(0, -2)
    return F.cross_entropy(wide, codes.flatten(), reduction="none").view(codes.shape)


def cross_entropy_sum(
    hidden: Float[Tensor, "rows width"], last: nn.Linear, codes: Int[Tensor, " rows"]
) -> Float[Tensor, ""]:
    """The sum of `cross_entropy(last(hidden), codes)`; products in autocast's format, all else in float32 or wider.

    Its gradient can be asked for once. Memory: see `kept_bytes` and `passing_bytes`.
    """
    kind = hidden.device.type
    low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    bias = last.weight.new_zeros(len(last.weight)) if last.bias is None else last.bias
    with torch.autocast(kind, enabled=False):
        total: Tensor = _InPieces.apply(hidden, last.weight, bias, codes, low, torch.is_grad_enabled())
    return total


class _InPieces(torch.autograd.Function):
    """Loss and gradient, piece by piece."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, codes: Tensor, low: torch.dtype, differentiable: bool
    ) -> Tensor:
        """The sum; its gradients by `hidden`, `weight` and `bias` wait in `ctx`."""
        w, b, wide = weight.to(low), bias.to(low), _wide(hidden[:0]).dtype
        total = torch.zeros((), dtype=wide, device=hidden.device)
        ctx.found = _Gradients(hidden, weight, wide) if differentiable else None
        step = max(1, PIECE // len(weight))
        for start in range(0, len(hidden), step):
            rows = slice(start, start + step)
            part = hidden[rows].to(low)
            logits = F.linear(part, w, b).to(wide)
            total += F.cross_entropy(logits, codes[rows], reduction="sum")
            if ctx.found is not None:
                ctx.found.add(rows, part, w, logits, codes[rows])
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients times that of the sum; they are scaled in place, so they are there for one backward pass."""
        found, ctx.found = ctx.found, None
        if found is None:
            raise RuntimeError("the gradient of a cross-entropy in pieces can be asked for once")
        return found.hidden.mul_(outer), found.weight.mul_(outer), found.bias.mul_(outer), None, None, None


class _Gradients:
    """Gradients of the sum so far."""

    def __init__(self, hidden: Tensor, weight: Tensor, wide: torch.dtype) -> None:
        self.hidden = torch.empty_like(hidden)
        self.weight = torch.zeros_like(weight, dtype=wide)
        self.bias = torch.zeros(len(weight), dtype=wide, device=weight.device)

    def add(self, rows: slice, part: Tensor, weight: Tensor, logits: Tensor, codes: Tensor) -> None:
        """Those of a piece: d loss / d logits = softmax - one-hot."""
        by_logits = logits.softmax(dim=-1)
        by_logits.scatter_add_(1, codes[:, None], by_logits.new_full((len(codes), 1), -1.0))
        self.bias += by_logits.sum(dim=0)
        low = by_logits.to(part.dtype)
        self.hidden[rows] = low @ weight
        self.weight += low.t() @ part


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def kept_bytes(rows: float, width: int, codes: int) -> float:
    """What waits from forward to backward: the gradients by the rows, `width` wide, and by the layer."""
    return 4 * rows * width + 4 * codes * (width + 1)


def passing_bytes(rows: float, width: int, codes: int, number: int) -> float:
    """What forward makes and drops beside that, with `number` bytes of a number in products.

    The rows themselves; of a piece logits, softmax and what of both is in another format; the layer's weights in that
    format and a piece's share of their gradient.
    """
    piece = min(float(PIECE), rows * codes)
    return 4 * rows * width + piece * (8 + 2 * number) + 2 * number * codes * width
