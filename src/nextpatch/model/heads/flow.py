"""A head that is a flow from noise to patches: it learns the velocity, and follows it to draw one."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.denoising import DenoisingHead
from nextpatch.model.heads.distribution import Draw, Known
from nextpatch.model.heads.informed import REPEATS, informed
from nextpatch.model.heads.led import Led
from nextpatch.model.heads.noise import Noise

TIME, VALUES, START = 0, 1, 2  # streams of noise: times and noise in training, the noise that a sample begins as
BACK = 16  # streams from here on: the noise of going back, one for each step and repetition


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
        """The velocity followed in equal steps from noise times the temperature.

        Euler takes the velocity at the beginning of a step, Heun the mean of that and the one at its end. With values
        that are known the way is another one: see `_with_known`.
        """
        start = settings.temperature * noise.normal(START, len(self.standard.center)).to(condition.dtype)
        x, size = start, 1.0 / settings.steps
        velocity = Led(self, condition, unguided, settings.guidance, [n * size for n in range(settings.steps + 1)])
        if known is not None:
            return self.finished(self._with_known(start, velocity, noise, settings, known), known)
        for step in range(settings.steps):
            first = velocity(x, step)
            if settings.method == "heun":
                first = (first + velocity(x + size * first, step + 1)) / 2
            x = x + size * first
        return self.finished(x, None)

    def _with_known(
        self, x: Tensor, velocity: Led, noise: Noise, settings: Draw, known: Known
    ) -> Float[Tensor, "rows values"]:
        """Euler's steps towards the patch that is expected of x and of what is known.

        Each is taken `REPEATS` times, with noise between that leads from its end back to its beginning: the patch may
        still change its mind (RePaint, arXiv 2201.09865).
        """
        standard = Known(self.standard(known.values).to(x.dtype), known.mask)
        for step in range(settings.steps):
            time, after = step / settings.steps, (step + 1) / settings.steps

            def guess(noisy: Tensor, time: float = time, step: int = step) -> Tensor:
                return self.standard.within(noisy + (1 - time) * velocity(noisy, step))

            for again in range(REPEATS):
                if again:
                    kept = time / after
                    lost = settings.temperature * math.sqrt((1 - time) ** 2 - kept**2 * (1 - after) ** 2)
                    x = kept * x + lost * noise.normal(BACK + step * REPEATS + again, x.shape[1]).to(x.dtype)
                x = x + (after - time) / (1 - time) * (informed(guess, x, standard) - x)
        return x

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
