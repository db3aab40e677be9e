"""A head that is a flow from noise to patches: it learns the velocity, and follows it to draw one."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.denoising import DenoisingHead
from nextpatch.model.heads.distribution import Draw, Known
from nextpatch.model.heads.noise import Noise

TIME, VALUES, START = 0, 1, 2  # streams of noise: times and noise in training, the noise that a sample begins as


class FlowHead(DenoisingHead):
    """Rectified flow: x_t = (1 - t) e + t x with e normal and x a standardized patch; the network gives x - e.

    The loss is its squared error, the mean over values and over `model.draws` pairs (t, e) a patch, t logit-normal.
    Source: Liu et al. (arXiv 2209.03003); Esser et al. (arXiv 2403.03206) for the times.
    """

    unit: ClassVar[str] = "squared error of the velocity"
    guess: ClassVar[str] = "taking values as normal and independent, each with its own mean and deviation"

    def losses(
        self, condition: Float[Tensor, "rows width"], wanted: Float[Tensor, "rows values"], noise: Noise
    ) -> Float[Tensor, " rows"]:
        """Of each row, float32 or wider."""
        clean = self.standard(wanted)[:, None]
        time, noisy, velocity = _on_the_way(clean, noise, self.draws)
        found = self.denoised(noisy, condition[:, None], time)
        return (found - velocity.to(found.dtype)).square().mean(dim=(1, 2))

    def sample(
        self,
        condition: Float[Tensor, "rows width"],
        noise: Noise,
        settings: Draw,
        unguided: Float[Tensor, "rows width"] | None = None,
        known: Known | None = None,
    ) -> Float[Tensor, "rows values"]:
        """The velocity followed in equal steps from noise times the temperature; known values move on their own lines.

        Euler takes the velocity at the beginning of a step, Heun the mean of that and the one at its end.
        """
        start = settings.temperature * noise.normal(START, len(self.standard.center)).to(condition.dtype)
        x, size = start, 1.0 / settings.steps
        for step in range(settings.steps):
            time = step * size
            x = self._with_known(x, start, known, time)
            velocity = self.guided(x, condition, unguided, settings.guidance, time)
            if settings.method == "heun":
                ahead = self._with_known(x + size * velocity, start, known, time + size)
                last = self.guided(ahead, condition, unguided, settings.guidance, time + size)
                velocity = (velocity + last) / 2
            x = x + size * velocity
        return self.finished(x, known)

    def _with_known(self, x: Tensor, start: Tensor, known: Known | None, time: float) -> Tensor:
        if known is None:
            return x
        there = (1 - time) * start + time * self.standard(known.values).to(start.dtype)
        return x.where(~known.mask, there)

    @staticmethod
    def guess_losses(cfg: ModelConfig, wanted: Float[Tensor, "rows values"], noise: Noise) -> Float[Tensor, " rows"]:
        """Expected where each standardized value is normal by itself: 1 / (t^2 + (1 - t)^2), the mean over times.

        The best velocity is (2t - 1) / (t^2 + (1 - t)^2) x_t then.
        """
        time = _on_the_way(wanted[:, None], noise, cfg.draws)[0]
        return (1 / (time**2 + (1 - time) ** 2)).mean(dim=1)


def _on_the_way(
    clean: Float[Tensor, "rows 1 values"], noise: Noise, draws: int
) -> tuple[Float[Tensor, "rows draws"], Float[Tensor, "rows draws values"], Float[Tensor, "rows draws values"]]:
    """Times, noisy patches and velocities."""
    time = torch.sigmoid(noise.normal(TIME, draws).to(clean.dtype))
    e = noise.normal(VALUES, draws, clean.shape[-1]).to(clean.dtype)
    t = time[..., None]
    return time, (1 - t) * e + t * clean, clean - e
