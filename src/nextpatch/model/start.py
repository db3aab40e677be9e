"""The start token: one learned token before the first patch, which also says the class, of the objective generate."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.model.config import ModelConfig
from nextpatch.model.init import Init
from nextpatch.model.low_res import LowRes, at_places
from nextpatch.model.patch_embed import PatchEmbed

STD = 0.02


class Started(NamedTuple):
    """Sequences that a start token begins: their first patches, in the order, and the raster place of the patch that
    comes after each token, one more than patches; of each image, or of all. `labels`: classes, -1 for none.
    `around`: the neighborhoods of all patches, in raster order, in a low-resolution image, where one is told.
    """

    patches: Float[Tensor, "batch length values"]
    place: Int[Tensor, "*#batch tokens"]
    labels: Int[Tensor, " batch"] | None = None
    around: Float[Tensor, "batch all_patches around"] | None = None


class Start(nn.Module):
    """A learned vector, plus the embedding of the class where one is told; it has no place in the image.

    With an order that is drawn for each image, where the place of the next patch does not follow from the sequence,
    every token also gets a linear map of the position of the patch that comes next; with `upscale`, one of what
    surrounds that patch in a low-resolution image. Source: MAR and sigma-GPT. Vectors start normal with deviation 0.02.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        dim = cfg.shape.embed_dim
        self.token = nn.Parameter(torch.empty(dim))
        self.classes = nn.Parameter(torch.empty(cfg.classes, dim)) if cfg.classes else None
        self.next_place = nn.Linear(dim, dim, bias=False) if cfg.draws_order else None
        self.low_res = LowRes(cfg) if cfg.upscale else None

    def init_own(self, init: Init) -> None:
        """Normal; drawn after trunk and head, which begin the same with and without it."""
        init.normal(self.token, STD)
        if self.classes is not None:
            init.normal(self.classes, STD)

    def first(
        self,
        embed: PatchEmbed,
        labels: Int[Tensor, " batch"] | None,
        batch: int,
        first_target: Int[Tensor, "#batch"] | None = None,
        around: Float[Tensor, "batch 1 around"] | None = None,
    ) -> Float[Tensor, "batch 1 dim"]:
        """One token an image; -1 in `labels` is no class. For such an order `first_target` is the raster place of the
        first patch; `around` is its neighborhood in a low-resolution image. ValueError for labels where the model has
        no classes.
        """
        token = self.token.to(embed.positions.dtype).expand(batch, -1)
        if labels is not None:
            if self.classes is None:
                raise ValueError("labels were given to a model without classes")
            labels = labels.to(token.device)
            token = token + self.classes[labels.clamp_min(0)].where((labels >= 0)[:, None], 0)
        return self._towards(embed, token, first_target)[:, None] + self._told_token(around)

    def then(
        self,
        embed: PatchEmbed,
        patches: Float[Tensor, "batch length values"],
        position: Int[Tensor, "*#batch length"] | None = None,
        target_position: Int[Tensor, "*#batch length"] | None = None,
        around: Float[Tensor, "batch length around"] | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        """Tokens of patches at raster places `position` (default: the first ones); for such an order `target_position`
        are the places of the patches that come next, and `around` their neighborhoods in a low-resolution image.
        """
        return self._towards(embed, embed(patches, position), target_position) + self._told_token(around)

    def sequence(self, embed: PatchEmbed, started: Started) -> Float[Tensor, "batch tokens dim"]:
        """The tokens of all patches of `started` behind the start token."""
        place, count = started.place, 1 if started.labels is None else len(started.labels)
        first = self.first(embed, started.labels, count, place[..., 0].reshape(-1))
        rest = self.then(embed, started.patches, place[..., :-1], place[..., 1:])
        tokens = torch.cat([first.expand_as(rest[:, :1]), rest], dim=1)  # no size of a batch is fixed in a traced graph
        if started.around is None or self.low_res is None:
            return tokens
        return tokens + at_places(self.low_res.to_token(started.around), place)

    def around(self, images: Float[Tensor, "batch channels height width"]) -> Tensor | None:
        """The neighborhoods of all patches in low-resolution versions of images, "batch patches around", where the
        model is told of these.
        """
        return None if self.low_res is None else self.low_res.of(images)

    def told(
        self, features: Float[Tensor, "*rows dim"], around: Float[Tensor, "*rows around"] | None
    ) -> Float[Tensor, "*rows dim"]:
        """Features with the neighborhoods of the patches that they are to predict."""
        return features if around is None or self.low_res is None else features + self.low_res.to_feature(around)

    @staticmethod
    def whole(
        patches: Float[Tensor, "batch patches values"], order: Int[Tensor, " patches"] | None, around: Tensor | None
    ) -> Started:
        """ALL patches of images, in an order (default: raster), without a class: nothing comes next after the last one,
        which is told its own place.
        """
        order = torch.arange(patches.shape[1], device=patches.device) if order is None else order
        return Started(patches, torch.cat([order, order[-1:]]), around=around)

    def _towards(self, embed: PatchEmbed, tokens: Tensor, place: Int[Tensor, "*places"] | None) -> Tensor:
        """With where the next patch is, in a model that has to be told."""
        if self.next_place is None:
            return tokens
        if place is None:
            raise ValueError("with an order that is drawn every token has to be told where the next patch is")
        out: Tensor = tokens + self.next_place(embed.positions[place])
        return out

    def _told_token(self, around: Tensor | None) -> Tensor | float:
        return 0.0 if around is None or self.low_res is None else self.low_res.to_token(around)

    @staticmethod
    def params(cfg: ModelConfig) -> int:
        """The vectors and the maps, where the objective has such a token."""
        dim = cfg.shape.embed_dim
        if not cfg.start_token:
            return 0
        return dim * (1 + cfg.classes) + (dim * dim if cfg.draws_order else 0) + LowRes.params(cfg)

    @staticmethod
    def flops(cfg: ModelConfig, tokens: int) -> float:
        """Operations of the map, for so many tokens."""
        return 2 * tokens * cfg.shape.embed_dim**2 if cfg.start_token and cfg.draws_order else 0

    @staticmethod
    def kept_bytes(cfg: ModelConfig, tokens: int, width: int) -> float:
        """What autograd keeps: the positions that go into the map, where there is one."""
        return tokens * width * cfg.shape.embed_dim if cfg.start_token and cfg.draws_order else 0


def low_res_of(start: Start | None) -> LowRes | None:
    """What tells of a low-resolution image, of a model that enlarges."""
    return None if start is None else start.low_res
