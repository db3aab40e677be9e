"""The interface of heads that are a distribution over the next patch: a loss and samples of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from nextpatch.core.bounds import check_bounds
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.noise import Noise

Method = Literal["euler", "heun"]


@dataclass(frozen=True)
class Draw:
    """How a patch is drawn. What a head has no use for changes nothing there."""

    steps: int = 20
    """Steps from noise to a patch, of heads flow and diffusion."""
    method: Method = "euler"
    """How the flow is followed: euler, one evaluation a step, or heun, two."""
    temperature: float = 1.0
    """Scale of the noise: below 1 patches are more typical and less diverse."""
    guidance: float = 1.0
    """How far a patch is moved from what it is without a class to what it is with one; 1 is not at all."""

    def __post_init__(self) -> None:
        """ConfigError for values out of bounds."""
        check_bounds(self, steps=(1, 1000), temperature=(0.0, 100.0), guidance=(0.0, 100.0))


class Known(NamedTuple):
    """What is given of patches that are drawn: these values, where the mask is True."""

    values: Float[Tensor, "rows values"]
    mask: Bool[Tensor, "rows values"]


@runtime_checkable
class Distribution(Protocol):
    """A `Head` whose `hidden` is a condition, by which it weighs and draws patches.

    Patches are pixels normalized by the data's mean and deviation; what a head makes of them inside is its own.
    """

    unit: ClassVar[str]  # of the loss, in words
    guess: ClassVar[str]  # "the dotted line is the loss of ...": of who knows no image

    def measure(self, patches: Iterable[Tensor], mean: Sequence[float], std: Sequence[float]) -> None:
        """Learn, before training, how patches are scaled: kept in buffers that are saved with the weights.

        `patches`, "batch patches values", are of training images as training sees them, normalized by the data's `mean`
        and `std`.
        """
        ...

    def losses(
        self, condition: Float[Tensor, "rows width"], wanted: Float[Tensor, "rows values"], noise: Noise
    ) -> Float[Tensor, " rows"]:
        """The loss of each row, float32 or wider; by chance, if any, as `noise` has it."""
        ...

    def sample(
        self,
        condition: Float[Tensor, "rows width"],
        noise: Noise,
        settings: Draw,
        unguided: Float[Tensor, "rows width"] | None = None,
        known: Known | None = None,
    ) -> Float[Tensor, "rows values"]:
        """A patch for each row. `unguided` are the conditions without a class, from which guidance leads away; `known`
        values are as they are given, and the rest is drawn with them in sight. Not clamped to the range of pixels.
        """
        ...

    @staticmethod
    def guess_losses(cfg: ModelConfig, wanted: Float[Tensor, "rows values"], noise: Noise) -> Float[Tensor, " rows"]:
        """The losses of one that knows nothing but the data's mean and deviation."""
        ...


@runtime_checkable
class TellsFigures(Protocol):
    """Such a head whose loss is told in another unit, too."""

    @staticmethod
    def figures(cfg: ModelConfig, loss: float) -> dict[str, float]:
        """By name, of the mean loss of a patch."""
        ...
