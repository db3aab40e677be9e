"""The paper's loss beside that of a head that is a distribution: the same patches, normalized, by another head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.noise import Noise
from nextpatch.objective.chosen import Chosen
from nextpatch.objective.guess import HeadGuess
from nextpatch.objective.objective import Fill
from nextpatch.objective.targets.distribution import OfHead
from nextpatch.objective.targets.pixels import NormalizedPixels
from nextpatch.objective.targets.target import TargetWords
from nextpatch.patches import normalize_patches


class BesidePaper(OfHead):
    """The loss of the distribution plus `model.paper_loss` times the paper's, of every scored patch.

    Outputs are the condition and, behind it, the paper's head's. From the second patch on the paper's loss is that of
    the objective next_patch.
    """

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__(cfg)
        self._weight, self._count = cfg.paper_loss, cfg.patch_dim
        self._paper = NormalizedPixels(cfg)
        self.unit = f"{self.unit}, and {cfg.paper_loss:g} times the squared error of normalized patches"
        predicted = (
            "the pixels of each patch after the prefix, as a distribution; beside it normalized, as in the paper."
        )
        self.words = TargetWords(predicted, "", self.words.guess)

    def losses(
        self, model: AIM | None, predicted: Float[Tensor, "batch places outputs"], wanted: Tensor, noise: Noise | None
    ) -> Float[Tensor, "batch places"]:
        """Their sum; TypeError without a model."""
        own = super().losses(model, predicted[..., : -self._count], wanted, noise)
        return own + self._weight * self._of_paper(predicted, wanted)

    def paper_loss_sum(
        self, outputs: Float[Tensor, "rows values"], wanted: Float[Tensor, "rows values"]
    ) -> Float[Tensor, ""]:
        """The paper's part of the sum, of its head's outputs."""
        return self._weight * self._paper.loss_sum(outputs, normalize_patches(wanted))

    def pixels(
        self, model: AIM, outputs: Float[Tensor, "rows outputs"], chosen: Chosen, fill: Fill | None, noise: Noise | None
    ) -> Float[Tensor, "rows values"]:
        """By the distribution."""
        return super().pixels(model, outputs[:, : -self._count], chosen, fill, noise)

    def baseline(self) -> AIM:
        """One that knows the data's mean and deviation, and the mean of each patch."""
        return HeadGuess(self.cfg, torch.zeros(1 + self._count))

    def beside(self, predicted: Tensor, wanted: Tensor) -> dict[str, Float[Tensor, "batch places"]]:
        """The paper's loss, without its weight."""
        return {"paper_loss": self._of_paper(predicted, wanted)}

    def figures(self, loss: float, means: Mapping[str, float]) -> dict[str, float]:
        """Both losses, and what the head tells of its own."""
        own = loss - self._weight * means["paper_loss"]
        return {"distribution_loss": own, **means, **super().figures(own, means)}

    def _of_paper(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        return self._paper.losses(predicted[..., -self._count :], normalize_patches(wanted))
