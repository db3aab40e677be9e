"""How outputs are compared with patches: by a target, or in the objective of generation by a head that is one itself.

A target (codes, pixels) has losses of its own; a head that is a distribution has them in its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.head import Head
from nextpatch.model.heads.noise import Noise
from nextpatch.model.names import TARGETS
from nextpatch.objective.chosen import Chosen
from nextpatch.objective.guess import ConstantGuess
from nextpatch.objective.objective import Fill
from nextpatch.objective.targets.beside import BesidePaper
from nextpatch.objective.targets.distribution import OfHead
from nextpatch.objective.targets.loss import LossInPieces
from nextpatch.objective.targets.target import Target, TargetWords, TellsMore


@runtime_checkable
class Goal(Protocol):
    """What the objective of generation asks; `noise` is of the same rows, where chance is part of a loss."""

    unit: str

    @property
    def words(self) -> TargetWords:
        """As in `Words`."""
        ...

    def wanted(self, chosen: Chosen) -> Tensor:
        """What outputs for these patches are compared with."""
        ...

    def losses(
        self, model: AIM | None, predicted: Float[Tensor, "batch places outputs"], wanted: Tensor, noise: Noise | None
    ) -> Float[Tensor, "batch places"]:
        """The loss of each output of `predict`; TypeError where that takes a model."""
        ...

    def loss_sum(
        self, hidden: Float[Tensor, "rows width"], head: Head, wanted: Tensor, noise: Noise | None
    ) -> Float[Tensor, ""]:
        """The sum of the losses, of what the head's last layer gets."""
        ...

    def perfect(self, chosen: Chosen, fill: Fill | None) -> Float[Tensor, "*rows values"]:
        """These patches as outputs without an error show them."""
        ...

    def pixels(
        self, model: AIM, outputs: Float[Tensor, "rows outputs"], chosen: Chosen, fill: Fill | None, noise: Noise | None
    ) -> Float[Tensor, "rows values"]:
        """Outputs for these patches as pixels: the most probable, or drawn."""
        ...

    def baseline(self) -> AIM:
        """A model that outputs the same everywhere."""
        ...

    def beside(self, predicted: Tensor, wanted: Tensor) -> dict[str, Float[Tensor, "*rows"]]:
        """What a validation tells beside the loss."""
        ...

    def figures(self, loss: float, means: Mapping[str, float]) -> dict[str, float]:
        """What is made of the means of these."""
        ...


class ByTarget:
    """Outputs against a target."""

    def __init__(self, cfg: ModelConfig) -> None:
        self.cfg = cfg
        self.target: Target = TARGETS[cfg.target](cfg)
        self.unit = self.target.unit

    @property
    def words(self) -> TargetWords:
        """The target's."""
        return self.target.words

    def wanted(self, chosen: Chosen) -> Tensor:
        """The target of each."""
        return self.target.wanted(chosen)

    def losses(self, model: AIM | None, predicted: Tensor, wanted: Tensor, noise: Noise | None) -> Tensor:
        """No model needed."""
        return self.target.losses(predicted, wanted)

    def loss_sum(self, hidden: Tensor, head: Head, wanted: Tensor, noise: Noise | None) -> Tensor:
        """Of all outputs at once, or from the last layer in pieces, where the target can do so."""
        if isinstance(self.target, LossInPieces):
            assert isinstance(head.pred, nn.Linear)
            return self.target.hidden_loss_sum(hidden, head.pred, wanted)
        return self.target.loss_sum(head.pred(hidden), wanted)

    def perfect(self, chosen: Chosen, fill: Fill | None) -> Tensor:
        """What the target keeps of them."""
        return self.target.pixels(self.target.perfect(self.target.wanted(chosen)), chosen, fill)

    def pixels(self, model: AIM, outputs: Tensor, chosen: Chosen, fill: Fill | None, noise: Noise | None) -> Tensor:
        """The most probable code, the pixels as predicted."""
        return self.target.pixels(outputs, chosen, fill)

    def baseline(self) -> AIM:
        """The target's guess."""
        return ConstantGuess(self.cfg, self.target.guess())

    def beside(self, predicted: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """As the target says."""
        return self.target.beside(predicted, wanted) if isinstance(self.target, TellsMore) else {}

    def figures(self, loss: float, means: Mapping[str, float]) -> dict[str, float]:
        """As the target says."""
        return self.target.figures(loss, means) if isinstance(self.target, TellsMore) else {}


def goal_of(cfg: ModelConfig) -> Goal:
    """The one of a model: its head's own, or its target's."""
    if cfg.is_distribution:
        return BesidePaper(cfg) if cfg.paper_loss else OfHead(cfg)
    return ByTarget(cfg)
