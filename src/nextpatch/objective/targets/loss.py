"""The loss of packed rows: from all outputs at once, or from the last layer in pieces, where a target can do so."""

from __future__ import annotations

from functools import partial
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nextpatch.model.aim import AIM
from nextpatch.model.attention import Rows
from nextpatch.objective.targets.target import Target


@runtime_checkable
class LossInPieces(Protocol):
    """A target whose outputs are so many that they must not be in memory for all rows at once."""

    def hidden_loss_sum(
        self, hidden: Float[Tensor, "rows width"], last: nn.Linear, wanted: Tensor
    ) -> Float[Tensor, ""]:
        """`loss_sum` of `last(hidden)`, without making all of it."""
        ...


def rows_loss(
    goal: Target,
    model: AIM,
    wanted: Tensor,
    patches: Float[Tensor, "batch length values"],
    mask: Tensor | None,
    rows: Rows,
    position: Int[Tensor, " length"] | None = None,
    target_position: Int[Tensor, " length"] | None = None,
    masked: Bool[Tensor, "batch length"] | None = None,
) -> Float[Tensor, ""]:
    """The sum of the target's losses at `rows`, against what is `wanted` there; the rest as in `AIM.predict_rows`."""
    at = (patches, mask, rows, position, target_position, masked)
    if isinstance(goal, LossInPieces):
        return model.loss_rows(partial(goal.hidden_loss_sum, wanted=wanted), *at)
    return goal.loss_sum(model.predict_rows(*at), wanted)
