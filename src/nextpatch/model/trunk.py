"""The trunk: blocks and the final norm, whole or at scored rows."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.model.attention import Rows
from nextpatch.model.cache import KeyValueCache
from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Workload
from nextpatch.model.layers import Block, LayerNorm


class Trunk(nn.Module):
    """Blocks and the final norm."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        s = cfg.shape
        self.blocks = nn.ModuleList(Block(s.embed_dim, s.num_heads) for _ in range(s.depth))
        self.post_trunk_norm = LayerNorm(s.embed_dim)

    def forward(
        self,
        x: Float[Tensor, "batch length dim"],
        mask: Float[Tensor, "#batch 1 length length"] | None,
        layers: Sequence[str] = ("post_trunk_norm",),
    ) -> dict[str, Tensor]:
        """The outputs named in `layers`: "tokens", "block_0" .. (raw residual stream), "post_trunk_norm".

        Nothing after the last layer asked for is computed.
        """
        found = {"tokens": x} if "tokens" in layers else {}
        for i, block in enumerate(self.blocks):
            if len(found) == len(set(layers)):
                return found
            x = block(x, mask)
            if f"block_{i}" in layers:
                found[f"block_{i}"] = x
        if "post_trunk_norm" in layers:
            found["post_trunk_norm"] = self.post_trunk_norm(x)
        return found

    def rows(self, x: Float[Tensor, "batch length dim"], mask: Tensor | None, rows: Rows) -> Float[Tensor, "rows dim"]:
        """The final norm's output at scored rows; the last block's queries, projection and MLP run only there."""
        for block in self.blocks[:-1]:
            x = block(x, mask)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        out: Tensor = self.post_trunk_norm(last.rows(x, rows))
        return out

    def extend(
        self,
        x: Float[Tensor, "batch new dim"],
        cache: KeyValueCache,
        mask: Float[Tensor, "#batch 1 #new seen"] | None = None,
    ) -> Float[Tensor, "batch new dim"]:
        """The final norm's output at new tokens, which see those in the cache and, where `mask` is None, each other.

        Equal to `forward` over all tokens with the same visibility; tokens that came before must not see later ones.
        """
        for block, kept in zip(self.blocks, cache.blocks, strict=True):
            assert isinstance(block, Block)
            x = block.extend(x, kept, mask)
        out: Tensor = self.post_trunk_norm(x)
        return out

    def layer_names(self) -> list[str]:
        """Every name that `forward` knows, in order of depth."""
        return ["tokens", *(f"block_{i}" for i in range(len(self.blocks))), "post_trunk_norm"]

    @staticmethod
    def params(cfg: ModelConfig) -> int:
        """The blocks and the final norm."""
        return cfg.shape.depth * Block.params(cfg.shape.embed_dim) + 2 * cfg.shape.embed_dim

    @staticmethod
    def rows_flops(cfg: ModelConfig, tokens: int, rows: float) -> float:
        """Operations of `rows`."""
        d = cfg.shape.embed_dim
        return (cfg.shape.depth - 1) * Block.flops(d, tokens) + Block.rows_flops(d, tokens, rows)

    @staticmethod
    def frozen_flops(cfg: ModelConfig, tokens: int, rows: float) -> float:
        """Operations of the gradient of `rows` by its input alone, where blocks do not learn."""
        d = cfg.shape.embed_dim
        return (cfg.shape.depth - 1) * Block.frozen_flops(d, tokens) + Block.frozen_flops(d, tokens, rows)

    @staticmethod
    def kept_bytes(cfg: ModelConfig, work: Workload, packed: bool) -> float:
        """What autograd keeps of `rows`, or, where not `packed`, of `forward`: the final norm's input and statistics,
        and the blocks, of which the last may be there at its rows only.
        """
        d, heads = cfg.shape.embed_dim, cfg.shape.num_heads
        last = (Block.rows_kept_bytes if packed else Block.kept_bytes)(d, heads, work)
        normed = (work.rows if packed else work.tokens) * (4 * d + 8)
        return (cfg.shape.depth - 1) * Block.kept_bytes(d, heads, work) + last + normed
