"""From started sequences to what the heads of a model make of them: everywhere, or at scored rows alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.model.attention import Rows
from nextpatch.model.heads.head import Head
from nextpatch.model.heads.paper import PaperHead, image_of
from nextpatch.model.low_res import at_places
from nextpatch.model.patch_embed import PatchEmbed
from nextpatch.model.start import Start, Started
from nextpatch.model.trunk import Trunk


class Generating(NamedTuple):
    """Of a model that generates. A head that is a distribution may have the paper's head beside it, which sees the same
    features, but nothing more of a low-resolution image.
    """

    patch_embed: PatchEmbed
    start: Start
    trunk: Trunk
    head: Head
    paper_head: PaperHead | None

    def everywhere(self, started: Started, mask: Tensor | None) -> Float[Tensor, "batch tokens outputs"]:
        """The heads' outputs at every token, each for the patch that comes next."""
        place, around = started.place, started.around
        features = self.trunk(self.start.sequence(self.patch_embed, started), mask)["post_trunk_norm"]
        told = self.start.told(features, None if around is None else at_places(around, place))
        outputs: Tensor = self.head(told, place, place, image_of(features), mask)
        if self.paper_head is None:
            return outputs
        return torch.cat([outputs, self.paper_head.everywhere(features, started)], dim=-1)

    def at_rows(
        self,
        loss: Callable[[Float[Tensor, "rows width"], Head], Float[Tensor, ""]],
        started: Started,
        mask: Tensor | None,
        rows: Rows,
        paper_loss: Callable[[Float[Tensor, "rows values"]], Float[Tensor, ""]] | None,
    ) -> Float[Tensor, ""]:
        """As `AIM.generate_rows`."""
        tokens, place, around = self.start.sequence(self.patch_embed, started), started.place, started.around
        if not self.head.packed:
            features = self.trunk(tokens, mask)["post_trunk_norm"]
            told = self.start.told(features, None if around is None else at_places(around, place))
            return loss(self.head.hidden_rows(told, place, place, image_of(features), mask, rows), self.head)
        features, there = self.trunk.rows(tokens, mask, rows), rows.of(place)
        told = self.start.told(features, None if around is None else around[rows.image, there])
        own = loss(self.head.hidden(told, there, there, rows.image), self.head)
        if self.paper_head is None or paper_loss is None:
            return own
        return own + paper_loss(self.paper_head.at(rows, features, started))
