"""How many parameters a model has and how many floating-point operations its features cost: the sums over its parts.

A multiply-add counts as two operations and only matrix products count, as in `torch.utils.flop_counter`. What each part
costs stands beside its code; what a training step costs follows from the objective (objective/cost.py). Parameters and
shapes: Table 1 of the paper, section 4.2.
"""

from __future__ import annotations

from typing import NamedTuple

from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.paper import PaperHead
from nextpatch.model.layers import Block
from nextpatch.model.low_res import LowRes
from nextpatch.model.mask_token import MaskToken
from nextpatch.model.names import HEADS
from nextpatch.model.patch_embed import PatchEmbed
from nextpatch.model.start import Start
from nextpatch.model.trunk import Trunk


class Params(NamedTuple):
    """Learned values by part; the position tables are computed and do not count."""

    patch_embed: int
    trunk: int
    head: int
    mask_token: int = 0
    start: int = 0
    paper_head: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def count_params(cfg: ModelConfig) -> Params:
    """Parameters of the model: Table 1 gives `trunk` for the paper's sizes."""
    return Params(
        PatchEmbed.params(cfg), Trunk.params(cfg), HEADS[cfg.head].params(cfg), MaskToken.params(cfg),
        Start.params(cfg), PaperHead.params(cfg) if cfg.paper_loss else 0,
    )  # fmt: skip


def forward_flops(cfg: ModelConfig, blocks: int | None = None) -> float:
    """Operations of the features of one image from the first `blocks` blocks (default all): no head."""
    depth = cfg.shape.depth if blocks is None else blocks
    tokens = PatchEmbed.flops(cfg, cfg.num_patches) + Start.flops(cfg, cfg.tokens)
    tokens += LowRes.flops(cfg, cfg.num_patches)
    return tokens + depth * Block.flops(cfg.shape.embed_dim, cfg.tokens)
