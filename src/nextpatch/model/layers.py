"""The parts a trunk and a head are made of: norm, MLP, block."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.model.attention import Attention, Rows, attention_bytes
from nextpatch.model.cache import BlockCache
from nextpatch.model.cost import Unit, Workload
from nextpatch.model.init import Init

LN_EPS = 1e-6


@runtime_checkable
class HasGrid(Protocol):
    """A module with positions of its own, which are computed from the grid."""

    def set_grid(self, grid: tuple[int, int]) -> None:
        """Change to images of another size: recomputes the table of positions."""
        ...


class LayerNorm(nn.LayerNorm):
    """LayerNorm with weight, bias and eps 1e-6 whose input is never half precision.

    bfloat16 inputs give weight gradients that are 2-40 % off on CPU, so they are widened first. Source: section 4.2;
    the eps is the released models'.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=LN_EPS)

    def init_own(self, init: Init) -> None:
        """Weight 1, bias 0."""
        self.weight.fill_(1.0)
        self.bias.zero_()

    def forward(self, x: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
        """Normalize the last axis in float32 (float64 stays float64)."""
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        return F.layer_norm(wide, self.normalized_shape, self.weight.to(wide.dtype), self.bias.to(wide.dtype), self.eps)


class MLP(nn.Module):
    """fc2(gelu(fc1(x))): exact GELU, no bias (section 4.2)."""

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim, bias=False)
        self.fc2 = nn.Linear(ratio * dim, dim, bias=False)

    def forward(self, x: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
        """Row by row."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """x += proj(attention(norm_1(x))); x += mlp(norm_2(x)): pre-norm, nothing else (section 4.2)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm_1 = LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm_2 = LayerNorm(dim)
        self.mlp = MLP(dim)

    def forward(
        self, x: Float[Tensor, "batch length dim"], mask: Float[Tensor, "#batch 1 length length"] | None
    ) -> Float[Tensor, "batch length dim"]:
        """The block at every position; the residual stream keeps the dtype of `x`."""
        x = x + self.attn(self.norm_1(x), mask)
        out: Tensor = x + self.mlp(self.norm_2(x))
        return out

    def rows(self, x: Float[Tensor, "batch length dim"], rows: Rows) -> Float[Tensor, "rows dim"]:
        """The block's output at the wanted rows only."""
        kept = x.reshape(-1, x.shape[-1]).index_select(0, rows.flat) + self.attn.rows(self.norm_1(x), rows)
        out: Tensor = kept + self.mlp(self.norm_2(kept))
        return out

    def extend(
        self, x: Float[Tensor, "batch new dim"], cache: BlockCache, mask: Float[Tensor, "#batch 1 #new seen"] | None
    ) -> Float[Tensor, "batch new dim"]:
        """The block's output at new tokens, which see those in the cache: as in `Attention.extend`."""
        x = x + self.attn.extend(self.norm_1(x), cache, mask)
        out: Tensor = x + self.mlp(self.norm_2(x))
        return out

    @staticmethod
    def weights(dim: int) -> int:
        """Learned values of its matrices: qkv 3 d^2, proj 1, fc1 4, fc2 4."""
        return 12 * dim * dim

    @staticmethod
    def params(dim: int) -> int:
        """The same with both norms."""
        return Block.weights(dim) + 4 * dim

    @staticmethod
    def flops(dim: int, length: int) -> float:
        """Operations of `forward` over a sequence; attention is 2 n^2 d for the scores and as much for the sum."""
        return 2 * length * Block.weights(dim) + 4 * length * length * dim

    @staticmethod
    def rows_flops(dim: int, length: int, rows: float) -> float:
        """Operations of `rows`: keys and values everywhere, queries, projection and MLP at the rows."""
        return 2 * (length * 2 + rows * 10) * dim * dim + 4 * rows * length * dim

    @staticmethod
    def frozen_flops(dim: int, length: int, rows: float | None = None) -> float:
        """Operations of the gradient by the block's input alone, behind `forward` or `rows`: none by weights, which are
        as many again, but all of attention, whose two factors both come from the input.
        """
        if rows is None:
            return Block.flops(dim, length) + 4 * length * length * dim
        return Block.rows_flops(dim, length, rows) + 4 * rows * length * dim

    @staticmethod
    def kept_bytes(dim: int, heads: int, work: Workload) -> float:
        """What autograd keeps of `forward`: norms' inputs (float32) and statistics; what products and GELU keep.

        That is qkv's input and output 4 c d a token, proj's input c d, fc1's input c d, fc1's and GELU's output 8 c d.
        Computing "full" again leaves the block's input, "selective" the outputs of products and attention as well.
        """
        length, width = work.tokens, work.width
        if work.recompute == "full":
            return length * 4 * dim
        if work.recompute == "selective":
            return length * (4 * dim + 10 * width * dim + 4 * heads)
        return length * (8 * dim + 14 * width * dim + 16) + attention_bytes(heads, length, work)

    @staticmethod
    def rows_kept_bytes(dim: int, heads: int, work: Workload) -> float:
        """The same of `rows`: on all tokens the norm and keys and values; on the longest of the batch queries, and
        attention's output apart from the rows; per row the rest. Computed again, it leaves its input.
        """
        if work.recompute != "none":
            return Block.kept_bytes(dim, heads, work._replace(recompute="full"))
        width, padded = work.width, 2 if work.longest > work.rows and work.kernel == "fused" else 1
        tokens = work.tokens * (4 * dim + 3 * width * dim + 8)
        own = work.rows * (4 * dim + 11 * width * dim + 8)
        return tokens + own + attention_bytes(heads, work.longest, work) + work.longest * padded * width * dim

    @staticmethod
    def unit(dim: int, heads: int, work: Workload, rows: bool = False) -> Unit:
        """The block in backward, after `forward`, or after `rows`."""
        kept = Block.rows_kept_bytes if rows else Block.kept_bytes
        again = 0.0 if work.recompute == "none" else Block.kept_bytes(dim, heads, work._replace(recompute="none"))
        scores = heads * work.tokens**2 if work.kernel == "written out" else 0
        return Unit(Block.weights(dim), kept(dim, heads, work), work.tokens * dim, again, scores)
