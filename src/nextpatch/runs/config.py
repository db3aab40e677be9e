"""How a run learns: optimizer, schedule, batch, precision (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from nextpatch.core.bounds import BATCH, COUNT, RATE, SEED, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag
from nextpatch.runs.sinks.names import SinkName, check_names

Weights = Annotated[
    str,
    Flag(
        "WEIGHTS",
        "a run (finished or not), apple/aim-600M (-1B, -3B, -7B), OWNER/NAME of the Hub, a folder or file of weights, "
        "BACKBONE.pth+HEAD.pth, timm:NAME, hf:NAME or torchhub:REPOSITORY:ENTRY",
    ),
]
Precision = Literal["auto", "fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
OnNonFinite = Literal["stop", "skip"]
OnSpike = Literal["ignore", "warn", "skip", "stop"]


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its cosine schedule; the defaults are the paper's (Table 10)."""

    lr: float = 1e-3
    """Peak learning rate."""
    min_lr: float = 0.0
    """Learning rate at the end of the run."""
    warmup_steps: int = -1
    """Steps of linear warm-up (default: 2.5 % of the run).

    The default -1 stands for this share.
    """
    weight_decay: float = 0.05
    """Weight decay of matrices; biases and norms have none."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the two moments."""
    eps: float = 1e-8
    """AdamW's epsilon, added to the denominator."""
    clip_norm: float = 1.0
    """Norm to which larger gradients are clipped."""

    def __post_init__(self) -> None:
        check_bounds(
            self, lr=RATE, min_lr=RATE, warmup_steps=(-1, COUNT[1]), weight_decay=RATE, betas=(0.0, 1 - 1e-9),
            eps=(1e-30, 1.0), clip_norm=(1e-12, 1e18),
        )  # fmt: skip
        if not 0 <= self.min_lr <= self.lr or self.lr == 0:
            raise ConfigError(f"need 0 <= min_lr ({self.min_lr}) <= lr ({self.lr}) and lr above 0")


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch, precision and upkeep of a run. A 0 (or "auto") is chosen from data and machine, and printed.

    A step is one optimizer step; a sample is one image.
    """

    steps: int = 0
    """Number of optimizer steps (chosen from the number of images)."""
    global_batch_size: int = 0
    """Images in one step, over all ranks (chosen from the number of images)."""
    micro_batch_size: int = 0
    """Images that a rank computes at a time (chosen from the memory).

    It divides the rank's part of the global batch, to save memory; loss and gradients do not depend on it.
    """
    precision: Precision = "auto"
    """Number format of matrix products (chosen from the machine)."""
    device: Device = "auto"
    """Where to compute (chosen from the machine)."""
    seed: int = 0
    """Seed of initial weights, order of the images, crops, and prefixes or masks."""
    val_every: int = 0
    """Steps between validations (chosen from the length of the run)."""
    checkpoint_every: int = 0
    """Steps between checkpoints (chosen from the length of the run)."""
    keep_checkpoints: int = 2
    """Number of newest checkpoints to keep on the disk."""
    keep_every: int = 0
    """Checkpoints of steps that are a multiple of this are never deleted; 0: none."""
    log_every: int = 10
    """Steps between entries in metrics.jsonl."""
    threads: int = 0
    """CPU threads of PyTorch (chosen from the machine)."""
    init: Weights = ""
    """Weights to begin with (default: random weights)."""
    freeze_trunk: bool = False
    """Train only the head, as nextpatch fit-head does, and with the objective generate the start token."""
    minutes: float = 0.0
    """Train as many steps as fit into this time, in minutes, report included (default: by the number of steps).

    The speed is measured on this machine before step 0.
    """
    ema_half_life: float = 0.0
    """Average the weights over the last so many images, by half each time; 0: do not average.

    The averages are what a finished run exports and what is probed, embedded and sampled with: they generate better
    than the weights of the last step, which stay in the checkpoints (export --raw). Early in a run the half-life is a
    twentieth of the images seen so far, if that is less (Karras et al. 2022). Each validation also measures their loss
    (ema_loss), which doubles its time; they take 4 bytes a parameter of memory.
    """
    sinks: tuple[SinkName, ...] = ("auto",)
    """Where to write the figures, besides metrics.jsonl; auto: into TensorBoard files, if it is installed."""

    def __post_init__(self) -> None:
        check_bounds(
            self, steps=COUNT, minutes=(0.0, 1e7), global_batch_size=BATCH, micro_batch_size=BATCH, seed=SEED,
            val_every=COUNT, checkpoint_every=COUNT, keep_checkpoints=(0, COUNT[1]), keep_every=COUNT,
            log_every=(1, COUNT[1]), threads=(0, 4096),
            ema_half_life=(0.0, 1e12),
        )  # fmt: skip
        if self.keep_checkpoints < 2:
            raise ConfigError("keep_checkpoints must be at least 2, because a crash may damage the newest one")
        check_names(self.sinks)
        if self.freeze_trunk and not self.init:
            raise ConfigError("freeze_trunk needs init: training only the head of a random trunk is of no use")


@dataclass(frozen=True)
class GuardConfig:
    """What to do about a step whose loss or gradients are not finite, or far above those of the steps before it."""

    non_finite: OnNonFinite = "stop"
    """What to do if the loss or the gradients of a step are not finite: stop the run, or skip the step."""
    spike: OnSpike = "warn"
    """What to do if the loss or the gradient norm of a step is far above that of the steps before it.

    A spike is a loss more than `sigmas` standard deviations above the mean of the last `window` steps, once half of
    them are there; or a gradient norm whose logarithm is, if it is more than 8 times the usual one or the loss rises
    too. "skip" leaves weights and optimizer as they are and goes on with the next batch.
    """
    sigmas: float = 6.0
    """Standard deviations above the mean from which on a step counts as a spike."""
    window: int = 128
    """Number of previous steps that a step is compared with."""
    max_skips: int = 3
    """Number of skipped steps in a row after which the run stops."""

    def __post_init__(self) -> None:
        check_bounds(self, sigmas=(1e-3, 1e6), window=(4, 10**6), max_skips=(1, 10**6))
