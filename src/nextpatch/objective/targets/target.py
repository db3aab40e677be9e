"""The interface of a target: what the head must output for a patch, its loss, and how it looks as an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from nextpatch.model.config import ModelConfig
from nextpatch.objective.chosen import Chosen
from nextpatch.objective.objective import Fill


@dataclass(frozen=True)
class TargetWords:
    """A target in words, as in `Words`."""

    predicted: str  # "Target: each patch ..."
    left_out: str  # "the target does not contain a patch's ..."; empty where nothing is missing
    guess: str  # "always predicting ..."


@runtime_checkable
class Target(Protocol):
    """One value of `model.target` (Table 3a). Images are normalized by the data's mean and std."""

    unit: str
    words: TargetWords

    def __init__(self, cfg: ModelConfig) -> None: ...

    @staticmethod
    def outputs(cfg: ModelConfig) -> int:
        """How many numbers the head outputs for a patch."""
        ...

    def wanted(self, chosen: Chosen) -> Tensor:
        """What is compared with the outputs for these patches: "*rows outputs", or "*rows" of codes."""
        ...

    def losses(self, predicted: Float[Tensor, "*rows outputs"], wanted: Tensor) -> Float[Tensor, "*rows"]:
        """The loss of each row, float32 or wider."""
        ...

    def loss_sum(self, predicted: Float[Tensor, "rows outputs"], wanted: Tensor) -> Float[Tensor, ""]:
        """The sum of `losses`, in the way that costs the least."""
        ...

    def guess(self) -> Float[Tensor, " outputs"]:
        """The best constant outputs, which do not depend on the image: their loss is the baseline."""
        ...

    def perfect(self, wanted: Tensor) -> Float[Tensor, "*rows outputs"]:
        """Outputs without an error."""
        ...

    def pixels(
        self, predicted: Float[Tensor, "*rows outputs"], chosen: Chosen, fill: Fill | None
    ) -> Float[Tensor, "*rows values"]:
        """Outputs for these patches as pixels; what the target leaves out comes from `fill`, or from the patches."""
        ...


@runtime_checkable
class TellsMore(Protocol):
    """A target that tells more in a validation than its loss."""

    def beside(self, predicted: Float[Tensor, "*rows outputs"], wanted: Tensor) -> dict[str, Float[Tensor, "*rows"]]:
        """Further values of each row, by name; their means over scored patches are taken."""
        ...

    def figures(self, loss: float, means: Mapping[str, float]) -> dict[str, float]:
        """What is told, by name, of the mean loss and of those means."""
        ...


@runtime_checkable
class MadeByProducts(Protocol):
    """A target that takes matrix products to make, before any loss is computed."""

    def wanted_flops(self, scored: float) -> float:
        """Operations of `wanted` for so many scored patches of an image, in float32, counted as in model/cost.py."""
        ...


@runtime_checkable
class StatesCost(Protocol):
    """A target whose loss keeps other bytes for backward than an error of 4 bytes for each output."""

    @staticmethod
    def row_bytes(cfg: ModelConfig, number: int) -> float:
        """Kept of a scored row, where a number in products has `number` bytes."""
        ...

    @staticmethod
    def fixed_bytes(cfg: ModelConfig, rows: float, number: int) -> float:
        """Kept or passing by once for a loss of so many rows."""
        ...
