"""The seam of a target: what the head must give for a patch, how wrong it is, and how it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from nextpatch.model.config import ModelConfig
from nextpatch.objective.objective import Fill


@dataclass(frozen=True)
class TargetWords:
    """A target in words, as in `Words`."""

    predicted: str  # "To predict: each patch ..."
    left_out: str  # "the target says nothing of a patch's ..."; empty where it says all
    guess: str  # "always guessing ..."


class Target(Protocol):
    """One value of `model.target` (Table 3a). Patches are "*rows values", normalized by the data's mean and std."""

    unit: str
    words: TargetWords

    def __init__(self, cfg: ModelConfig) -> None: ...

    @staticmethod
    def outputs(cfg: ModelConfig) -> int:
        """How many numbers the head gives for a patch."""
        ...

    def wanted(self, patches: Float[Tensor, "*rows values"]) -> Tensor:
        """What is compared with the outputs: "*rows outputs", or "*rows" of codes."""
        ...

    def losses(self, predicted: Float[Tensor, "*rows outputs"], wanted: Tensor) -> Float[Tensor, "*rows"]:
        """The loss of each row, float32 or wider."""
        ...

    def loss_sum(self, predicted: Float[Tensor, "rows outputs"], wanted: Tensor) -> Float[Tensor, ""]:
        """The sum of `losses`, in the way that costs the least."""
        ...

    def guess(self) -> Float[Tensor, " outputs"]:
        """The outputs of one who has not looked: the loss of these is the baseline."""
        ...

    def perfect(self, patches: Float[Tensor, "*rows values"]) -> Float[Tensor, "*rows outputs"]:
        """Outputs without an error."""
        ...

    def pixels(
        self,
        predicted: Float[Tensor, "*rows outputs"],
        patches: Float[Tensor, "*rows values"],
        fill: Fill | None,
    ) -> Float[Tensor, "*rows values"]:
        """The patches that outputs mean; what the target leaves out comes from `fill`, or from the true `patches`."""
        ...
