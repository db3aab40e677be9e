"""How a run learns: optimizer, schedule, batch, precision (no torch here: `--help` reads this)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps"]


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
        if self.lr <= 0 or not 0 <= self.min_lr <= self.lr:
            raise ValueError(f"need 0 <= min_lr ({self.min_lr}) <= lr ({self.lr}) and lr above 0")
        if self.clip_norm <= 0:
            raise ValueError(f"clip_norm {self.clip_norm} must be above 0; give a large number to clip nothing")


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch, precision and upkeep of a run. A 0 (or `auto`) is chosen from the data and machine, and printed.

    A step is one optimizer step; a sample is one image. `micro_batch_size` cuts the global batch for memory only: loss
    and gradients do not depend on it. `threads`: CPU threads of torch (0: torch's own choice).
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
    log_every: int = 10
    threads: int = 0

    def __post_init__(self) -> None:
        if self.keep_checkpoints < 2:
            raise ValueError("keep_checkpoints must be at least 2: the crash that needs the newest may damage it")
        counts = ("steps", "global_batch_size", "micro_batch_size", "val_every", "checkpoint_every", "threads", "seed")
        for name in counts:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)} must not be negative")
        if self.log_every < 1:
            raise ValueError("log_every must be at least 1")
