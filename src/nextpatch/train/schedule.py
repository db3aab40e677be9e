"""The learning rate of every step: linear warm-up, then a cosine to `min_lr`, as a pure function of the step."""

from __future__ import annotations

import math

from nextpatch.core.errors import ConfigError
from nextpatch.runs.config import OptimConfig

PAPER_WARMUP = 31_250 / 1_250_000  # Table 10: 2.5 % of the run


def warmup_steps(optim: OptimConfig, steps: int) -> int:
    """Warm-up length of a run of `steps` steps; a negative config value means the paper's share of the run."""
    warmup = round(PAPER_WARMUP * steps) if optim.warmup_steps < 0 else optim.warmup_steps
    if warmup >= steps:
        raise ConfigError(f"optim.warmup_steps {warmup} must be below train.steps {steps}; lower it or train longer")
    return warmup


def lr_at(step: int, optim: OptimConfig, steps: int) -> float:
    """Learning rate of the update after `step` updates (0 .. steps - 1) of `steps`.

    Rises from lr / (warmup + 1) to lr at step `warmup`, then falls to `min_lr` at step `steps`: both ends lie just
    outside the run, so no update is spent at a rate of zero. Source: Table 10.
    """
    assert 0 <= step <= steps
    warmup = warmup_steps(optim, steps)
    if step < warmup:
        return optim.lr * (step + 1) / (warmup + 1)
    progress = (step - warmup) / (steps - warmup)
    return optim.min_lr + (optim.lr - optim.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))
