"""How many parameters a model has and how many floating-point operations it costs: the sums over its parts.

A multiply-add counts as two operations and only matrix products count, as in `torch.utils.flop_counter`. Backward is
twice forward: once for the gradient of the weights and once for that of the input. What each part costs stands beside
its code. Parameters and shapes: Table 1 of the paper, section 4.2.
"""

from __future__ import annotations

from typing import NamedTuple

from nextpatch.model.aim import PatchEmbed, Trunk
from nextpatch.model.config import ModelConfig
from nextpatch.model.layers import Block
from nextpatch.model.names import HEADS


class Params(NamedTuple):
    """Learned values by part; the position tables are computed and do not count."""

    patch_embed: int
    trunk: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def count_params(cfg: ModelConfig) -> Params:
    """Parameters of the model: Table 1 gives `trunk` for the paper's sizes."""
    return Params(PatchEmbed.params(cfg), Trunk.params(cfg), HEADS[cfg.head].params(cfg))


def forward_flops(cfg: ModelConfig, blocks: int | None = None) -> float:
    """Operations of the features of one image from the first `blocks` blocks (default all): no head."""
    depth = cfg.shape.depth if blocks is None else blocks
    return PatchEmbed.flops(cfg, cfg.num_patches) + depth * Block.flops(cfg.shape.embed_dim, cfg.num_patches)


def expected_scored(cfg: ModelConfig) -> float:
    """Mean number of scored patches per image: K - S with S uniform on 1 .. K-1 is K/2; all K-1 when causal."""
    return cfg.num_patches / 2 if cfg.attention == "prefix" else cfg.num_patches - 1


def train_step_flops(cfg: ModelConfig, scored: float | None = None, frozen_trunk: bool = False) -> float:
    """Operations of forward and backward for one image with `scored` scored patches (default: expected).

    Counts what the packed loss needs and no more: K-1 tokens; in the last block keys and values everywhere but queries,
    projection and MLP at scored positions; the head there only, where it can be packed; no gradient for the pixels.
    """
    tokens, head = cfg.num_patches - 1, HEADS[cfg.head]
    rows = expected_scored(cfg) if scored is None else scored
    embed = PatchEmbed.flops(cfg, tokens)
    if not head.packed:
        rows = tokens
    trunk, above = Trunk.rows_flops(cfg, tokens, rows), head.flops(cfg, rows)
    if frozen_trunk:  # no backward through it, and none into the head's input
        return float(trunk + embed + 3 * above - head.input_flops(cfg, rows))
    return float(3 * (trunk + above) + 2 * embed)
