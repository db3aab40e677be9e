"""The mask token: one learned token in the place of every masked patch, of objectives that mask."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nextpatch.model.config import ModelConfig
from nextpatch.model.init import Init
from nextpatch.model.patch_embed import PatchEmbed

STD = 0.02


class MaskToken(nn.Module):
    """Replaces the embedding of masked patches, before positions are added.

    A vector like a bias, so it has no weight decay. Starts normal with deviation 0.02.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(cfg.shape.embed_dim))

    def init_own(self, init: Init) -> None:
        """Normal; drawn after trunk and head, which begin the same with and without it."""
        init.normal(self.token, STD)

    def forward(
        self,
        embed: PatchEmbed,
        patches: Float[Tensor, "batch length values"],
        masked: Bool[Tensor, "batch length"],
        position: Int[Tensor, " length"] | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        """Tokens of all places: those of the patches are made everywhere, and replaced where these are masked."""
        content = embed.content(patches)
        replaced = content.where(~masked.to(content.device)[..., None], self.token.to(content.dtype))
        return replaced + embed.places(patches.shape[1], position)

    def packed(
        self,
        embed: PatchEmbed,
        patches: Float[Tensor, "batch length values"],
        masked: Bool[Tensor, "batch length"],
        position: Int[Tensor, " length"] | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        """The same; no masked patch is embedded."""
        batch, length, _ = patches.shape
        shown = (~masked).flatten().nonzero().squeeze(1).to(patches.device, non_blocking=True)
        content = embed.content(patches.flatten(0, 1).index_select(0, shown))
        everywhere = self.token.to(content.dtype).expand(batch * length, -1)
        tokens = everywhere.index_copy(0, shown, content).view(batch, length, -1)
        return tokens + embed.places(length, position)

    @staticmethod
    def kept_bytes(cfg: ModelConfig, embedded: int) -> float:
        """What autograd keeps of `packed` beside the embedding: its result, and where that goes."""
        return embedded * (4 * cfg.shape.embed_dim + 8) if cfg.mask_token else 0

    @staticmethod
    def params(cfg: ModelConfig) -> int:
        """One vector, where the objective has such a token."""
        return cfg.shape.embed_dim if cfg.mask_token else 0
