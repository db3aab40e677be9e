"""In the place of a target, for heads that are a distribution over patches: the weights weigh and draw them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.distribution import Distribution, Draw, TellsFigures
from nextpatch.model.heads.head import Head
from nextpatch.model.heads.noise import Noise
from nextpatch.model.names import HEADS
from nextpatch.objective.chosen import Chosen
from nextpatch.objective.guess import HeadGuess
from nextpatch.objective.objective import Fill
from nextpatch.objective.targets.target import TargetWords


class OfHead:
    """Patches as they are, compared and drawn by the head; see `objective.goal.Goal`."""

    def __init__(self, cfg: ModelConfig) -> None:
        self.cfg = cfg
        self.kind: type[Distribution] = HEADS[cfg.head]
        self.unit = self.kind.unit
        self.words = TargetWords("the pixels of each patch after the prefix, as a distribution.", "", self.kind.guess)

    @staticmethod
    def outputs(cfg: ModelConfig) -> int:
        """Values of a patch."""
        return cfg.patch_dim

    def wanted(self, chosen: Chosen) -> Float[Tensor, "*rows values"]:
        """The patches themselves."""
        return chosen.patches

    def losses(
        self, model: AIM | None, predicted: Float[Tensor, "batch places width"], wanted: Tensor, noise: Noise | None
    ) -> Float[Tensor, "batch places"]:
        """By the model's head; TypeError without one."""
        if model is None:
            raise TypeError(f"the head {self.cfg.head} compares with its own weights: give the model")
        condition, patches = predicted.flatten(0, 1), wanted.flatten(0, 1)
        losses = model.of_head(lambda head: _losses(head, condition, patches, noise))
        return losses.view(predicted.shape[:2])

    def loss_sum(
        self, hidden: Float[Tensor, "rows width"], head: Head, wanted: Float[Tensor, "rows values"], noise: Noise | None
    ) -> Float[Tensor, ""]:
        """Of scored rows."""
        return _losses(head, hidden, wanted, noise).sum()

    def perfect(self, chosen: Chosen, fill: Fill | None) -> Float[Tensor, "*rows values"]:
        """Nothing is left out."""
        return chosen.patches

    def pixels(
        self, model: AIM, outputs: Float[Tensor, "rows width"], chosen: Chosen, fill: Fill | None, noise: Noise | None
    ) -> Float[Tensor, "rows values"]:
        """One sample each."""
        return model.of_head(lambda head: _sample(head, outputs, noise)).to(chosen.images.dtype)

    def baseline(self) -> AIM:
        """One that knows the data's mean and deviation."""
        return HeadGuess(self.cfg)

    def beside(self, predicted: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def figures(self, loss: float, means: Mapping[str, float]) -> dict[str, float]:
        """As the head says."""
        return self.kind.figures(self.cfg, loss) if isinstance(self.kind, TellsFigures) else {}

    @staticmethod
    def row_bytes(cfg: ModelConfig, number: int) -> float:
        """Counted with the head; beside the paper's, its error."""
        return 4 * cfg.patch_dim if cfg.paper_loss else 0

    @staticmethod
    def fixed_bytes(cfg: ModelConfig, rows: float, number: int) -> float:
        """None."""
        return 0


def _losses(head: nn.Module, condition: Tensor, wanted: Tensor, noise: Noise | None) -> Tensor:
    assert isinstance(head, Distribution)
    assert noise is not None
    return head.losses(condition, wanted, noise)


def _sample(head: nn.Module, condition: Tensor, noise: Noise | None) -> Tensor:
    assert isinstance(head, Distribution)
    assert noise is not None
    with torch.autocast(condition.device.type, enabled=False):
        return head.sample(condition, noise, Draw())
