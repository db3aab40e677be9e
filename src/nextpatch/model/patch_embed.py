"""The patch embedding: images -> patches -> tokens, which know their place."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import Init
from nextpatch.model.layers import LayerNorm
from nextpatch.patches import patchify, sincos_positions


class PatchEmbed(nn.Module):
    """Token = LayerNorm(Linear(patch)) + position; the norm comes before the position is added."""

    positions: Tensor

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        dim = cfg.shape.embed_dim
        self.proj = nn.Linear(cfg.patch_dim, dim)
        self.norm = LayerNorm(dim)
        self.register_buffer("positions", sincos_positions(cfg.grid, dim), persistent=False)
        self._grid = cfg.grid

    def init_own(self, init: Init) -> None:
        """The table of positions."""
        self.positions.copy_(sincos_positions(self._grid, self.positions.shape[1]))

    def set_grid(self, grid: tuple[int, int]) -> None:
        """Change to images of another size: recomputes the table of positions."""
        self._grid, self.positions = grid, sincos_positions(grid, self.positions.shape[1])

    def forward(
        self, patches: Float[Tensor, "batch length values"], position: Int[Tensor, "*#batch length"] | None = None
    ) -> Float[Tensor, "batch length dim"]:
        """Tokens of patches at the raster places `position`, of all images or of each; default: of the first ones."""
        return self.content(patches) + self.places(patches.shape[1], position)

    def content(self, patches: Float[Tensor, "*rows values"]) -> Float[Tensor, "*rows dim"]:
        """Tokens that do not know their place yet."""
        out: Tensor = self.norm(self.proj(patches))
        return out

    def places(
        self, length: int, position: Int[Tensor, "*images length"] | None = None
    ) -> Float[Tensor, "*images length dim"]:
        """What tells them: the rows of the table of positions."""
        return self.positions[:length] if position is None else self.positions[position]

    @staticmethod
    def params(cfg: ModelConfig) -> int:
        """The projection with its bias, and the norm."""
        return (cfg.patch_dim + 3) * cfg.shape.embed_dim

    @staticmethod
    def flops(cfg: ModelConfig, tokens: int) -> float:
        """Operations for so many tokens."""
        return 2 * tokens * cfg.patch_dim * cfg.shape.embed_dim

    @staticmethod
    def kept_bytes(cfg: ModelConfig, tokens: int, width: int) -> float:
        """The patches, and the norm's input and statistics."""
        return tokens * (width * cfg.patch_dim + 4 * cfg.shape.embed_dim + 8)


def patches_of(
    images: Float[Tensor, "batch channels height width"], cfg: ModelConfig
) -> Float[Tensor, "batch patches values"]:
    """The patches of images in raster order; UserError for images that are not the model's."""
    if images.shape[1:] != (cfg.in_chans, *cfg.img_size):
        needs = f"{cfg.in_chans} x {cfg.img_size[0]} x {cfg.img_size[1]}"
        raise UserError(f"the model takes images of {needs}, got {' x '.join(map(str, images.shape[1:]))}")
    return patchify(images, cfg.patch_size)
