"""The parts a trunk and a head are made of: norm, MLP, attention, block."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.model.cost import Kernel, Recompute
from nextpatch.model.init import Init

LN_EPS = 1e-6
Mode = Literal["bidirectional", "prefix", "causal"]


@runtime_checkable
class HasGrid(Protocol):
    """A module with positions of its own, which are computed from the grid."""

    def set_grid(self, grid: tuple[int, int]) -> None:
        """Be of images of another size from here on."""
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


class Rows:
    """Which positions of each sequence are wanted: the last `window` of each, and of these a flat selection.

    `flat` indexes [batch * length] rows of the full sequences, `windowed` the [batch * window] rows of the windows.
    """

    def __init__(self, wanted: Tensor) -> None:
        """From a Bool[Tensor, "batch length"] whose rows are True from some position to the end."""
        batch, length = wanted.shape
        self.window = int(wanted.sum(dim=1).max())
        self.flat: Int[Tensor, " rows"] = wanted.flatten().nonzero().squeeze(1)
        self.image = self.flat // length
        self.position = self.flat % length
        self.windowed: Int[Tensor, " rows"] = self.image * self.window + self.position - (length - self.window)
        self.batch = batch

    def to(self, device: torch.device) -> Rows:
        """The same rows with their indices on `device`."""
        for name in ("flat", "image", "position", "windowed"):
            setattr(self, name, getattr(self, name).to(device, non_blocking=True))
        return self


class Attention(nn.Module):
    """Multi-head self-attention with a fused qkv and no biases (section 4.2, equation 3)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim, bias=False)

    def forward(
        self, x: Float[Tensor, "batch length dim"], mask: Float[Tensor, "#batch 1 length length"] | None
    ) -> Float[Tensor, "batch length dim"]:
        """Every position attends where the additive `mask` is 0 (everywhere when it is None)."""
        q, k, v = (self._split(part) for part in self.qkv(x).chunk(3, dim=-1))
        out: Tensor = self.proj(self._merge(attend(q, k, v, mask)))
        return out

    def rows(self, x: Float[Tensor, "batch length dim"], rows: Rows) -> Float[Tensor, "rows dim"]:
        """Causal attention for the wanted rows only: keys and values everywhere, queries and projection there.

        A scored position i >= S-1 sees k <= i and k < S, which is k <= i: no per-image mask is left.
        """
        batch, length, dim = x.shape
        w_q, w_kv = torch.split(self.qkv.weight, [dim, 2 * dim])
        k, v = (self._split(part) for part in F.linear(x, w_kv).chunk(2, dim=-1))
        packed = F.linear(x.reshape(-1, dim).index_select(0, rows.flat), w_q)
        padded = packed.new_zeros(batch * rows.window, dim).index_copy(0, rows.windowed, packed)
        q = self._split(padded.view(batch, rows.window, dim))
        causal = causal_mask(length, x.device)[length - rows.window :]
        seen = self._merge(attend(q, k, v, causal))
        out: Tensor = self.proj(seen.reshape(-1, dim).index_select(0, rows.windowed))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.num_heads, -1).transpose(1, 2)

    @staticmethod
    def _merge(x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)


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
        """The block's output at the wanted rows only, under causal attention."""
        kept = x.reshape(-1, x.shape[-1]).index_select(0, rows.flat) + self.attn.rows(self.norm_1(x), rows)
        out: Tensor = kept + self.mlp(self.norm_2(kept))
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
    def kept_bytes(
        dim: int, heads: int, length: int, width: int, kernel: Kernel = "fused", recompute: Recompute = "none"
    ) -> float:
        """What autograd keeps of `forward`: norms' inputs (float32) and statistics; what products and GELU keep.

        That is qkv's input and output 4 c d a token, proj's input c d, fc1's input c d, fc1's and GELU's output 8 c d.
        Computing "full" again leaves the block's input, "selective" the outputs of products and attention as well.
        """
        if recompute == "full":
            return length * 4 * dim
        if recompute == "selective":
            return length * (4 * dim + 10 * width * dim + 4 * heads)
        return length * (8 * dim + 14 * width * dim + 16) + _attention_bytes(dim, heads, length, length, width, kernel)

    @staticmethod
    def rows_kept_bytes(
        dim: int, heads: int, length: int, rows: float, suffix: int, width: int, kernel: Kernel = "fused"
    ) -> float:
        """The same of `rows`: on all tokens the norm and keys and values; on the `suffix`, the longest of the batch,
        queries and attention's output; per row the rest.
        """
        tokens = length * (4 * dim + 3 * width * dim + 8)
        own = rows * (4 * dim + 11 * width * dim + 8)
        return tokens + own + _attention_bytes(dim, heads, suffix, length, width, kernel) + suffix * 2 * width * dim


def _attention_bytes(dim: int, heads: int, queries: int, keys: int, width: int, kernel: Kernel) -> float:
    """Beyond qkv's output and proj's input: fused kernels keep 4 bytes a query and head (and in bfloat16 a copy of the
    mask); written out, the scaled queries and the probabilities, in bfloat16 in both formats.
    """
    if kernel == "written out":
        return queries * (width * dim + (6 if width == 2 else 4) * heads * keys)
    return queries * (4 * heads + (width * keys if width == 2 else 0))


def attention_mask(
    mode: Mode, prefix_len: Int[Tensor, " batch"] | None, length: int, device: torch.device
) -> Tensor | None:
    """The additive mask of a mode, None for attention to everything; UserError for a prefix without its lengths."""
    if mode == "bidirectional":
        return None
    if mode == "causal":
        return causal_mask(length, device)[None, None]
    if prefix_len is None:
        raise UserError("mode 'prefix' needs prefix_len, one length per image; or use 'bidirectional' or 'causal'")
    return prefix_mask(prefix_len, length, device)


def causal_mask(length: int, device: torch.device) -> Float[Tensor, "length length"]:
    """Additive mask: 0 where key <= query, -inf elsewhere."""
    return torch.full((length, length), float("-inf"), device=device).triu(1)


def prefix_mask(prefix_len: Int[Tensor, " batch"], length: int, device: torch.device) -> Tensor:
    """Additive [batch, 1, length, length]: 0 where key <= query or key < S, -inf elsewhere (Figure 3)."""
    key = torch.arange(length, device=device)
    in_prefix = key < prefix_len.to(device)[:, None, None, None]
    return causal_mask(length, device).expand(len(prefix_len), 1, -1, -1).masked_fill(in_prefix, 0.0)


def attend(
    q: Float[Tensor, "batch heads queries head_dim"],
    k: Float[Tensor, "batch heads keys head_dim"],
    v: Float[Tensor, "batch heads keys head_dim"],
    mask: Tensor | None,
) -> Float[Tensor, "batch heads queries head_dim"]:
    """Softmax attention with an additive mask: `scaled_dot_product_attention`, written out for bfloat16 on a CPU.

    There the fused kernel's backward is 2 to 10 times slower than two batched products around a float32 softmax
    (docs/log.md); the scores are rounded to bfloat16 once more, which stays within the format's own error.
    """
    mask = None if mask is None else mask.to(q.dtype)
    if q.dtype != torch.bfloat16 or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    masked = scores if mask is None else scores + mask
    # without a backward pass to keep float32 for, bfloat16 is written at once: the same rounding
    kind = torch.float32 if torch.is_grad_enabled() else v.dtype
    out: Tensor = masked.softmax(dim=-1, dtype=kind).to(v.dtype) @ v
    return out
