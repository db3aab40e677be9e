"""The paper's head beside one that is a distribution: on the same features, for the paper's loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.model.attention import Rows
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.head import Head
from nextpatch.model.heads.mlp import MLPHead
from nextpatch.model.names import HEADS

if TYPE_CHECKING:
    from nextpatch.model.start import Started


class PaperHead(MLPHead):
    """`MLPHead` at the tokens of started sequences, each of which predicts the patch that comes next.

    A token has the position of its own patch, as in the paper, so that weights of its head fit; the start token, which
    has none, that of the first patch.
    """

    def everywhere(
        self, features: Float[Tensor, "batch tokens dim"], started: Started
    ) -> Float[Tensor, "batch tokens values"]:
        """Predictions at every token."""
        out: Tensor = self(features, _own_place(started), started.place, image_of(features))
        return out

    def at(self, rows: Rows, features: Float[Tensor, "rows dim"], started: Started) -> Float[Tensor, "rows values"]:
        """Predictions from the features of rows alone."""
        out: Tensor = self(features, rows.of(_own_place(started)), rows.of(started.place), rows.image)
        return out


def heads_of(cfg: ModelConfig) -> list[type[Head]]:
    """The kinds of all heads of a model, in the order of backward: what they cost is the sum."""
    return [*([PaperHead] if cfg.paper_loss else []), HEADS[cfg.head]]


def image_of(features: Float[Tensor, "batch tokens dim"]) -> Int[Tensor, "batch tokens"]:
    """The number of the image that each token is of."""
    return torch.arange(len(features), device=features.device)[:, None].expand(features.shape[:2])


def _own_place(started: Started) -> Tensor:
    return torch.cat([started.place[..., :1], started.place[..., :-1]], dim=-1)
