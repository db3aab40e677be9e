"""The interface of objectives that are told the classes of images."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from nextpatch.objective.objective import Draws


@runtime_checkable
class TakesLabels(Protocol):
    """An objective whose draws can hold the classes of the samples; whoever has both adds them, also in validation."""

    def labelled(self, draws: Draws, labels: Int[Tensor, " batch"]) -> Draws:
        """The draws with the labels (-1: none) that are told; as they are where the model knows no classes."""
        ...
