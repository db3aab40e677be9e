"""The baseline of every objective, as a model: it outputs the same for all images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.absent import NoHead
from nextpatch.model.heads.distribution import Draw, Known
from nextpatch.model.heads.head import Head
from nextpatch.model.heads.noise import Noise
from nextpatch.model.names import HEADS
from nextpatch.model.start import Started


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

    def around(self, images: Float[Tensor, "batch channels height width"]) -> None:
        """Nothing is told."""

    def generate(self, started: Started, mask: Tensor | None) -> Float[Tensor, "batch tokens outputs"]:
        """The same, at the start token too."""
        batch, length, _ = started.patches.shape
        return self._outputs.to(started.patches).expand(batch, length + 1, -1)


class HeadGuess(ConstantGuess):
    """The same for a head that is a distribution: it knows the mean and the deviation of the data, and no condition."""

    def __init__(self, cfg: ModelConfig, outputs: Tensor | None = None) -> None:
        super().__init__(cfg, torch.zeros(1) if outputs is None else outputs)

    def of_head(self, compute: Callable[[Head], Tensor]) -> Tensor:
        """Of a head that only guesses."""
        return compute(_Guess(self.cfg))


class _Guess(NoHead):
    """A distribution that has no weights."""

    unit: ClassVar[str] = ""
    guess: ClassVar[str] = ""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__(cfg)
        self.cfg = cfg

    def measure(self, patches: Iterable[Tensor], mean: Sequence[float], std: Sequence[float]) -> None:
        """Patches are normalized already."""

    def losses(self, condition: Tensor, wanted: Tensor, noise: Noise) -> Tensor:
        """As the head says."""
        found: Tensor = HEADS[self.cfg.head].guess_losses(self.cfg, wanted, noise)
        return found

    def sample(
        self, condition: Tensor, noise: Noise, settings: Draw, unguided: Tensor | None = None,
        known: Known | None = None,
    ) -> Tensor:  # fmt: skip
        """The data's mean."""
        return torch.zeros(len(condition), self.cfg.patch_dim, device=condition.device)

    guess_losses = staticmethod(lambda cfg, wanted, noise: HEADS[cfg.head].guess_losses(cfg, wanted, noise))
