"""The baseline of every objective, as a model: it outputs the same for all images."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig


class ConstantGuess(AIM):
    """The same outputs everywhere; looks at nothing, and has no parameters."""

    def __init__(self, cfg: ModelConfig, outputs: Float[Tensor, " outputs"]) -> None:
        nn.Module.__init__(self)
        self.cfg, self._outputs = cfg, outputs

    def predict(
        self,
        patches: Float[Tensor, "batch length values"],
        mask: Tensor | None,
        position: Tensor | None = None,
        target_position: Tensor | None = None,
        masked: Tensor | None = None,
    ) -> Float[Tensor, "batch length outputs"]:
        """What is always guessed."""
        return self._outputs.to(patches).expand(*patches.shape[:2], -1)
