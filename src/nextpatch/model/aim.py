"""The autoregressive image model: patches -> tokens -> features -> predictions."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.model.config import ModelConfig
from nextpatch.model.layers import MLP, Block, LayerNorm, Mode, Rows, attention_mask
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

    def forward(self, patches: Float[Tensor, "batch length values"]) -> Float[Tensor, "batch length dim"]:
        """Tokens of the first `length` patches of each image."""
        out: Tensor = self.norm(self.proj(patches)) + self.positions[: patches.shape[1]]
        return out


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

    def layer_names(self) -> list[str]:
        """Every name that `forward` knows, in order of depth."""
        return ["tokens", *(f"block_{i}" for i in range(len(self.blocks))), "post_trunk_norm"]


class HeadBlock(nn.Module):
    """x += mlp(norm(x)), each position by itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)
        self.mlp = MLP(dim)

    def forward(self, x: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
        """Residual MLP."""
        out: Tensor = x + self.mlp(self.norm(x))
        return out


class PixelHead(nn.Module):
    """Linear -> positions -> residual MLP blocks -> norm -> linear to the P * P * C values of the next patch.

    Positions are those of the INPUT token. Source: section 4.2, Table 4.
    """

    positions: Tensor

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        s = cfg.shape
        self.proj = nn.Linear(s.embed_dim, s.head_width)
        self.blocks = nn.ModuleList(HeadBlock(s.head_width) for _ in range(s.head_depth))
        self.norm = LayerNorm(s.head_width)
        self.pred = nn.Linear(s.head_width, cfg.patch_dim)
        self.register_buffer("positions", sincos_positions(cfg.grid, s.head_width), persistent=False)

    def forward(
        self, x: Float[Tensor, "*rows dim"], position: Int[Tensor, "*rows"] | None = None
    ) -> Float[Tensor, "*rows values"]:
        """Predictions from trunk features; `position` says which raster position each row has (default: 0, 1, ...)."""
        where = self.positions[: x.shape[-2]] if position is None else self.positions.index_select(0, position)
        h = self.proj(x) + where
        for block in self.blocks:
            h = block(h)
        out: Tensor = self.pred(self.norm(h))
        return out


class NoPixelHead(nn.Module):
    """In the place of the pixel head of a model that has none, as the released ones: asked to predict, it refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()

    def forward(self, x: Tensor, position: Tensor | None = None) -> Tensor:
        """UserError, always."""
        raise UserError("these weights have no pixel head and can predict nothing; fit one with: nextpatch fit-head")


class AIM(nn.Module):
    """Trunk and pixel head of AIM (sections 4.1 and 4.2) for images of any channel count and any grid.

    Images are float, "batch channels height width", already normalized by the data's mean and std. Parameters are
    undefined until `init_weights` or a checkpoint fills them. Without `pixel_head` the model gives features only.
    """

    def __init__(self, cfg: ModelConfig, pixel_head: bool = True) -> None:
        super().__init__()
        self.cfg = cfg
        self.patch_embed = PatchEmbed(cfg)
        self.trunk = Trunk(cfg)
        self.head = PixelHead(cfg) if pixel_head else NoPixelHead()

    def layer_names(self) -> list[str]:
        """Every name that `features` knows, in order of depth."""
        return self.trunk.layer_names()

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        mode: Mode = "bidirectional",
        prefix_len: Int[Tensor, " batch"] | None = None,
        layers: Sequence[str] = ("post_trunk_norm",),
    ) -> dict[str, Float[Tensor, "batch patches dim"]]:
        """Named features; downstream use is bidirectional (section 4.2). Raises UserError for an unknown layer."""
        known = self.layer_names()
        if unknown := [name for name in layers if name not in known]:
            raise UserError(f"no layer {', '.join(unknown)}; this model has {', '.join(known)}")
        tokens = self.patch_embed(patches_of(images, self.cfg))
        mask = attention_mask(mode, prefix_len, tokens.shape[1], tokens.device)
        out: dict[str, Tensor] = self.trunk(tokens, mask, layers)
        return out

    def features(
        self,
        images: Float[Tensor, "batch channels height width"],
        layers: Sequence[str],
        mode: Mode = "bidirectional",
        prefix_len: Int[Tensor, " batch"] | None = None,
    ) -> dict[str, Float[Tensor, "batch patches dim"]]:
        """`forward`, for callers who always name their layers."""
        return self.forward(images, mode, prefix_len, layers)

    def predict(
        self, patches: Float[Tensor, "batch length values"], mask: Float[Tensor, "#batch 1 length length"] | None
    ) -> Float[Tensor, "batch length outputs"]:
        """The head's outputs at every place of a sequence of patches; `mask` says what each may attend to."""
        trunk_out = self.trunk(self.patch_embed(patches), mask)["post_trunk_norm"]
        out: Tensor = self.head(trunk_out)
        return out

    def predict_rows(
        self, patches: Float[Tensor, "batch length values"], mask: Tensor | None, rows: Rows
    ) -> Float[Tensor, "rows outputs"]:
        """The same at `rows` alone, packed: all that is computed for them and for nothing else."""
        out: Tensor = self.head(self.trunk.rows(self.patch_embed(patches), mask, rows), rows.position)
        return out


def patches_of(
    images: Float[Tensor, "batch channels height width"], cfg: ModelConfig
) -> Float[Tensor, "batch patches values"]:
    """The patches of images in raster order; UserError for images that are not the model's."""
    if images.shape[1:] != (cfg.in_chans, *cfg.img_size):
        needs = f"{cfg.in_chans} x {cfg.img_size[0]} x {cfg.img_size[1]}"
        raise UserError(f"the model takes images of {needs}, got {' x '.join(map(str, images.shape[1:]))}")
    return patchify(images, cfg.patch_size)
