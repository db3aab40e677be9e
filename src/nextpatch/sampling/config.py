"""How images are sampled (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from nextpatch.core.bounds import BATCH, check_bounds
from nextpatch.core.fields import Flag

GuidanceSchedule = Literal["constant", "rising"]
Method = Literal["euler", "heun"]


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Everything that an image depends on beside weights, seed and its own number."""

    guidance: float = 1.0
    """How far images are moved away from what they are without their class; 1 is not at all. Needs classes."""
    guidance_schedule: GuidanceSchedule = "constant"
    """Guidance along the sequence: constant, or rising from none at the first patch to all of it at the last."""
    temperature: float = 1.0
    """Scale of the noise, or divisor of the logits of codes: below 1 images are more typical and less diverse."""
    steps: int = 20
    """Steps from noise to a patch, of heads flow and diffusion."""
    method: Method = "euler"
    """How a flow is followed: euler, one evaluation a step, or heun, two."""
    top_k: int = 0
    """Most probable codes among which one is drawn, of models that predict codes (default: all)."""
    top_p: float = 1.0
    """Share of the probability that the most probable codes among which one is drawn hold together."""
    average: Annotated[int, Flag("N")] = 1
    """Alternatives that are averaged to one image, its expected value; 1 is a sample."""
    batch_size: int = 0
    """Images computed together, fewer filled up to as many, so that an image is the same whatever number is asked for
    (default: 16 on a CPU, 64 elsewhere).

    Of another batch size images are the same up to the rounding of floating-point numbers.
    """

    def __post_init__(self) -> None:
        check_bounds(
            self, guidance=(0.0, 100.0), temperature=(0.0, 100.0), steps=(1, 1000), top_k=(0, 2**20), top_p=(1e-6, 1.0),
            average=(1, 10**4), batch_size=(0, BATCH[1]),
        )  # fmt: skip

    def guidance_at(self, turn: int, turns: int) -> float:
        """The scale at the `turn`-th of so many patches, counted from 0."""
        if self.guidance_schedule == "constant":
            return self.guidance
        return 1.0 + (self.guidance - 1.0) * (turn + 1) / turns
