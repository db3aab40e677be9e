"""A head of whole transformer blocks (row "Transformer" of Table 3e): it attends to what the trunk attends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.model.attention import Rows
from nextpatch.model.cache import BlockCache
from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Unit, Workload
from nextpatch.model.heads.mlp import MLPHead
from nextpatch.model.layers import Block


class TransformerHead(MLPHead):
    """The paper's head with transformer blocks in place of the MLP blocks: same projection, positions, width and depth.

    Its attention has the mask of the trunk, so that a prediction sees what its feature may see and nothing more. Keys
    and values need all tokens; the last block's queries, projection and MLP run at scored rows only.
    """

    packed: ClassVar[bool] = False

    @staticmethod
    def block(cfg: ModelConfig) -> Block:
        """Attention heads as wide as the trunk's."""
        return Block(cfg.shape.head_width, cfg.shape.head_heads)

    def hidden(
        self,
        rows: Float[Tensor, "batch length dim"],
        input_position: Int[Tensor, "*#rows"],
        target_position: Int[Tensor, "*#rows"],
        image_of_row: Int[Tensor, "*#rows"],
        mask: Float[Tensor, "#batch 1 length length"] | None = None,
    ) -> Float[Tensor, "batch length width"]:
        """At every place; only the input's position is added."""
        h = self.proj(rows) + self.positions[input_position]
        for block in self.blocks:
            h = block(h, mask)
        out: Tensor = self.norm(h)
        return out

    def hidden_rows(
        self,
        features: Float[Tensor, "batch length dim"],
        input_position: Int[Tensor, "*#batch length"],
        target_position: Int[Tensor, "*#batch length"],
        image: Int[Tensor, "batch length"],
        mask: Float[Tensor, "#batch 1 length length"] | None,
        rows: Rows,
    ) -> Float[Tensor, "rows width"]:
        """The last block at the rows only."""
        h = self.proj(features) + self.positions[input_position]
        for block in self.blocks[:-1]:
            h = block(h, mask)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        out: Tensor = self.norm(last.rows(h, rows))
        return out

    def extend(
        self,
        features: Float[Tensor, "batch new dim"],
        target_position: Int[Tensor, "batch new"],
        cache: Sequence[BlockCache],
        mask: Float[Tensor, "#batch 1 #new seen"] | None = None,
    ) -> Float[Tensor, "batch new width"]:
        """Each block with its own keys and values."""
        h = self.proj(features) + self.positions[target_position]
        for block, kept in zip(self.blocks, cache, strict=True):
            assert isinstance(block, Block)
            h = block.extend(h, kept, mask)
        out: Tensor = self.norm(h)
        return out

    @staticmethod
    def cached(cfg: ModelConfig) -> tuple[int, int, int]:
        """All blocks."""
        return cfg.shape.head_depth, cfg.shape.head_heads, cfg.shape.head_width

    @staticmethod
    def params(cfg: ModelConfig) -> int:
        """As the MLP head, with the attention's matrices and norms."""
        d, h = cfg.shape.embed_dim, cfg.shape.head_width
        blocks = cfg.shape.head_depth * Block.params(h)
        return d * h + h + blocks + 2 * h + h * cfg.outputs + cfg.outputs

    @staticmethod
    def flops(cfg: ModelConfig, work: Workload) -> float:
        """The projection and all blocks but the last for every token."""
        h, n = cfg.shape.head_width, work.tokens
        blocks = (cfg.shape.head_depth - 1) * Block.flops(h, n) + Block.rows_flops(h, n, work.rows)
        return TransformerHead.input_flops(cfg, work) + blocks + 2 * work.rows * h * cfg.outputs

    @staticmethod
    def input_flops(cfg: ModelConfig, work: Workload) -> float:
        """The projection's."""
        return 2 * work.tokens * cfg.shape.embed_dim * cfg.shape.head_width

    @staticmethod
    def kept_bytes(cfg: ModelConfig, work: Workload) -> float:
        """The inputs of the first and last linear layer, and the last norm's with its statistics."""
        d, h = cfg.shape.embed_dim, cfg.shape.head_width
        return work.tokens * work.width * d + work.rows * ((4 + work.width) * h + 8)

    @staticmethod
    def units(cfg: ModelConfig, work: Workload) -> list[Unit]:
        """The last block at the rows, then the others."""
        h, heads = cfg.shape.head_width, cfg.shape.head_heads
        rest = [Block.unit(h, heads, work)] * (cfg.shape.head_depth - 1)
        return [Block.unit(h, heads, work, rows=True), *rest]
