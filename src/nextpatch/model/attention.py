"""Self-attention: at every place or at chosen rows alone, its masks, and what it costs in memory."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.model.cache import BlockCache
from nextpatch.model.cost import Workload

Mode = Literal["bidirectional", "prefix", "causal"]


class Rows:
    """Which positions of each sequence are wanted: `flat` indexes [batch * length] rows of the full sequences.

    Queries at them are laid into windows of equal length, as long as the most that are wanted of a sequence:
    `windowed` indexes the [batch * window] rows of these. `dense`: every window is full.
    """

    def __init__(self, wanted: Tensor, causal: bool = True) -> None:
        """From a Bool[Tensor, "batch length"]; with `causal` its rows are True from some position to the end.

        `causal` says what a row sees: all positions up to its own, or every position.
        """
        self.batch, length = wanted.shape
        self.window = int(wanted.sum(dim=1).max())
        self.flat: Int[Tensor, " rows"] = wanted.flatten().nonzero().squeeze(1)
        self.image = self.flat // length
        self.position = self.flat % length
        place = self.position - (length - self.window) if causal else wanted.cumsum(dim=1).flatten()[self.flat] - 1
        self.windowed: Int[Tensor, " rows"] = self.image * self.window + place
        self.dense = len(self.flat) == self.batch * self.window
        self._causal = causal

    def mask(self, length: int, device: torch.device) -> Float[Tensor, "window length"] | None:
        """What the queries of a window attend to in their sequence, additive; None for everything."""
        return causal_mask(length, device)[length - self.window :] if self._causal else None

    def of(self, values: Int[Tensor, "*#batch length"]) -> Int[Tensor, " rows"]:
        """Those of the values that are at these rows; values of one sequence are those of all."""
        return values.expand(self.batch, -1).reshape(-1)[self.flat]

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
        """Attention for the wanted rows only: keys and values everywhere, queries and projection there.

        Under prefix attention a scored position i >= S-1 sees k <= i and k < S, which is k <= i: no per-image mask is
        left.
        """
        batch, length, dim = x.shape
        w_q, w_kv = torch.split(self.qkv.weight, [dim, 2 * dim])
        k, v = (self._split(part) for part in F.linear(x, w_kv).chunk(2, dim=-1))
        packed = F.linear(x.reshape(-1, dim).index_select(0, rows.flat), w_q)
        if not rows.dense:
            packed = packed.new_zeros(batch * rows.window, dim).index_copy(0, rows.windowed, packed)
        q = self._split(packed.view(batch, rows.window, dim))
        seen = self._merge(attend(q, k, v, rows.mask(length, x.device))).reshape(-1, dim)
        out: Tensor = self.proj(seen if rows.dense else seen.index_select(0, rows.windowed))
        return out

    def extend(
        self, x: Float[Tensor, "batch new dim"], cache: BlockCache, mask: Float[Tensor, "#batch 1 #new seen"] | None
    ) -> Float[Tensor, "batch new dim"]:
        """Attention of new tokens to those in the cache and to themselves; theirs are put into it.

        `mask` is additive, over all tokens with the new ones last; None for attention to everything.
        """
        q, k, v = (self._split(part) for part in self.qkv(x).chunk(3, dim=-1))
        out: Tensor = self.proj(self._merge(attend(q, *cache.put(k, v), mask)))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.num_heads, -1).transpose(1, 2)

    @staticmethod
    def _merge(x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)


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


def attention_bytes(heads: int, queries: int, work: Workload) -> float:
    """Beyond qkv's output and proj's input: fused kernels keep 4 bytes a query and head (and in bfloat16 a copy of the
    mask); written out, the probabilities, in bfloat16 in both formats, and scaled queries in the place of queries.
    """
    if work.kernel == "written out":
        return queries * (6 if work.width == 2 else 4) * heads * work.tokens
    return queries * (4 * heads + (2 * work.tokens if work.width == 2 and work.mask else 0))
