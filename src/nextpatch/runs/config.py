"""How a run learns: optimizer, schedule, batch, precision (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nextpatch.core.bounds import BATCH, COUNT, RATE, SEED, check_bounds
from nextpatch.core.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
OnNonFinite = Literal["stop", "skip"]
OnSpike = Literal["ignore", "warn", "skip", "stop"]


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its cosine schedule; the defaults are the paper's (Table 10). `warmup_steps` -1: 2.5 % of the run."""

    lr: float = 1e-3
    min_lr: float = 0.0
    warmup_steps: int = -1
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        check_bounds(
            self, lr=RATE, min_lr=RATE, warmup_steps=(-1, COUNT[1]), weight_decay=RATE, betas=(0.0, 1 - 1e-9),
            eps=(1e-30, 1.0), clip_norm=(1e-12, 1e18),
        )  # fmt: skip
        if not 0 <= self.min_lr <= self.lr or self.lr == 0:
            raise ConfigError(f"need 0 <= min_lr ({self.min_lr}) <= lr ({self.lr}) and lr above 0")


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch, precision and upkeep of a run. A 0 (or `auto`) is chosen from the data and machine, and printed.

    With `minutes` the number of steps is the one that fits into so much time, measured on this machine before step 0.
    A step is one optimizer step; a sample is one image. `micro_batch_size` cuts each rank's share of the global batch,
    for memory only: loss and gradients do not depend on it. Of the checkpoints the newest `keep_checkpoints` are kept,
    and for ever those whose step is a multiple of `keep_every` (0: none). `threads`: CPU threads of torch (0: torch's
    own choice). `init`: weights to begin with (empty: random), as `nextpatch.load` takes them; `freeze_trunk`: only the
    pixel head learns.
    """

    steps: int = 0
    global_batch_size: int = 0
    micro_batch_size: int = 0
    precision: Precision = "auto"
    device: Device = "auto"
    seed: int = 0
    val_every: int = 0
    checkpoint_every: int = 0
    keep_checkpoints: int = 2
    keep_every: int = 0
    log_every: int = 10
    threads: int = 0
    init: str = ""
    freeze_trunk: bool = False
    minutes: float = 0.0

    def __post_init__(self) -> None:
        check_bounds(
            self, steps=COUNT, minutes=(0.0, 1e7), global_batch_size=BATCH, micro_batch_size=BATCH, seed=SEED,
            val_every=COUNT, checkpoint_every=COUNT, keep_checkpoints=(0, COUNT[1]), keep_every=COUNT,
            log_every=(1, COUNT[1]), threads=(0, 4096),
        )  # fmt: skip
        if self.keep_checkpoints < 2:
            raise ConfigError("keep_checkpoints must be at least 2: the crash that needs the newest may damage it")
        if self.freeze_trunk and not self.init:
            raise ConfigError("freeze_trunk needs init: a trunk of random weights is not worth a head")


@dataclass(frozen=True)
class GuardConfig:
    """What to do about a step whose loss or gradients are not finite, or far above those of the steps before it.

    A spike: a loss more than `sigmas` standard deviations above the mean of the last `window` steps, once half of them
    are there; or a gradient norm whose logarithm is, if it is more than 8 times the usual one or the loss rises too.
    "skip" leaves weights and optimizer as they are and goes on with the next batch, but
    stops after `max_skips` skipped steps in a row.
    """

    non_finite: OnNonFinite = "stop"
    spike: OnSpike = "warn"
    sigmas: float = 6.0
    window: int = 128
    max_skips: int = 3

    def __post_init__(self) -> None:
        check_bounds(self, sigmas=(1e-3, 1e6), window=(4, 10**6), max_skips=(1, 10**6))
