"""A head that is a diffusion from patches to noise: it learns the noise, and takes it away step by step to draw one."""

from __future__ import annotations

import math
from itertools import pairwise
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

STEPS = 1000  # of training
TIME, VALUES, START, STEP = 0, 1, 2, 16  # streams of noise; from the last on, one for each step of sampling
BACK = 4096  # streams from here on: the noise of going back, one for each step and repetition


class DiffusionHead(DenoisingHead):
    """x_s = sqrt(a_s) x + sqrt(1 - a_s) e with e normal and x a standardized patch; the network gives e.

    a_s falls along a squared cosine over 1,000 steps. The loss is the squared error of e, the mean over values and over
    `model.draws` pairs (s, e) a patch, s uniform. Source: MAR (arXiv 2406.11838); Nichol and Dhariwal (2102.09672).
    """

    unit: ClassVar[str] = "squared error of the noise"
    guess: ClassVar[str] = "taking values as normal and independent, each with its own mean and deviation"

    def losses(
        self, condition: Float[Tensor, "rows width"], wanted: Float[Tensor, "rows values"], noise: Noise
    ) -> Float[Tensor, " rows"]:
        """Of each row, float32 or wider."""
        step, _, noisy, e = _on_the_way(self.standard(wanted)[:, None], noise, self.draws)
        found = self.denoised(noisy, condition[:, None], step.to(noisy.dtype) / STEPS)
        return (found - e.to(found.dtype)).square().mean(dim=(1, 2))

    def sample(
        self,
        condition: Float[Tensor, "rows width"],
        noise: Noise,
        settings: Draw,
        unguided: Float[Tensor, "rows width"] | None = None,
        known: Known | None = None,
    ) -> Float[Tensor, "rows values"]:
        """Ancestral sampling over evenly spaced steps of training; all noise is scaled by the temperature.

        At each step the clean patch is guessed, within the range that values were met in, and the next one is drawn
        given that guess. What is known corrects the guess, and each step is taken `REPEATS` times, as the flow does.
        """
        values = len(self.standard.center)
        x = settings.temperature * noise.normal(START, values).to(condition.dtype)
        standard = None if known is None else Known(self.standard(known.values).to(x.dtype), known.mask)
        remains, steps = _remaining(), _spaced(settings.steps)
        noise_of = Led(self, condition, unguided, settings.guidance, [step / STEPS for step in steps[:-1]])
        for number, (step, after) in enumerate(pairwise(steps)):
            a, b = float(remains[step]), float(remains[after]) if after >= 0 else 1.0

            def guess(noisy: Tensor, number: int = number, a: float = a) -> Tensor:
                e = noise_of(noisy, number)
                return self.standard.within((noisy - math.sqrt(1 - a) * e) / math.sqrt(a))

            for again in range(1 if standard is None else REPEATS):
                stream = STEP + number
                if again:
                    stream = BACK + 2 * (number * REPEATS + again)
                    lost = settings.temperature * math.sqrt(1 - a / b)
                    x = math.sqrt(a / b) * x + lost * noise.normal(stream, values).to(x.dtype)
                clean = guess(x) if standard is None else informed(guess, x, standard)
                x = _nearer(x, clean, a, b)
                if after >= 0:
                    deviation = settings.temperature * math.sqrt((1 - a / b) * (1 - b) / (1 - a))
                    x = x + deviation * noise.normal(stream + bool(again), values).to(x.dtype)
        return self.finished(x, known)

    @staticmethod
    def guess_losses(cfg: ModelConfig, wanted: Float[Tensor, "rows values"], noise: Noise) -> Float[Tensor, " rows"]:
        """Expected where each standardized value is normal by itself, and the best noise sqrt(1 - a) x_s: a, the mean
        over steps.
        """
        return _on_the_way(wanted[:, None], noise, cfg.draws)[1].mean(dim=(1, 2))


def _on_the_way(clean: Float[Tensor, "rows 1 values"], noise: Noise, draws: int) -> tuple[Tensor, ...]:
    """Steps "rows draws", what remains of the patch then "rows draws 1", noisy patches and their noise."""
    step = (noise.uniform(TIME, draws) * STEPS).long().clamp_max(STEPS - 1)
    a = _remaining().to(clean.device)[step][..., None].to(clean.dtype)
    e = noise.normal(VALUES, draws, clean.shape[-1]).to(clean.dtype)
    return step, a, a.sqrt() * clean + (1 - a).sqrt() * e, e


def _nearer(x: Tensor, clean: Tensor, a: float, b: float) -> Float[Tensor, "rows values"]:
    """The mean of the noisy patch of which b remains, given one of which a does and the clean one."""
    return (math.sqrt(b) * (1 - a / b) * clean + math.sqrt(a / b) * (1 - b) * x) / (1 - a)


def _remaining() -> Float[Tensor, " steps"]:
    """a_s: the share of the patch's variance that is left at each step, float64; betas are at most 0.999."""
    at = torch.arange(STEPS + 1, dtype=torch.float64) / STEPS
    whole = ((at + 0.008) / 1.008 * math.pi / 2).cos().square()
    return (whole[1:] / whole[:-1]).clamp_min(0.001).cumprod(dim=0)


def _spaced(steps: int) -> list[int]:
    """So many steps of training from the last to the first, and -1 behind them."""
    return [*torch.linspace(STEPS - 1, 0, steps).round().long().tolist(), -1] if steps > 1 else [STEPS - 1, -1]
