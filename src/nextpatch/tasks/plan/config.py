"""What is asked of a plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from nextpatch.core.bounds import COUNT, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.core.fields import Flag
from nextpatch.dist.config import Recompute
from nextpatch.model.config import ModelConfig
from nextpatch.tasks.plan.gpus import Gpu

MODES: tuple[Recompute, ...] = ("none", "selective", "full")


@dataclass(frozen=True)
class PlanConfig:
    """A run on so many GPUs, and what share of their peak is expected."""

    model: ModelConfig
    """The model to train."""
    gpu: Gpu
    """What one GPU can do."""
    gpus: int = 8
    """Number of GPUs in all."""
    gpus_per_node: int = 8
    """Number of GPUs in one machine."""
    global_batch_size: Annotated[int, Flag(name="batch")] = 4096
    """Images in one step, over all GPUs (default: as the recipe says, else 4096)."""
    steps: int = 1_250_000
    """Number of steps of the run (default: as the recipe says, else 1250000)."""
    mfu: float = 0.4
    """Share of the GPU's peak speed that you expect to reach."""
    usable: float = 0.9
    """Share of the GPU's memory that training may use; the rest is for CUDA, NCCL and fragments."""
    averages: bool = False
    """Whether averages of the weights are kept beside them (train.ema_half_life)."""
    modes: tuple[Recompute, ...] = field(default=MODES)
    """Kinds of activation checkpointing to compare."""

    def __post_init__(self) -> None:
        check_bounds(
            self, gpus=(1, 10**6), gpus_per_node=(1, 10**4), global_batch_size=(1, 2**24), steps=(1, COUNT[1]),
            mfu=(1e-6, 1.0), usable=(1e-6, 1.0),
        )  # fmt: skip
        if self.global_batch_size % self.gpus:
            raise ConfigError(f"a batch of {self.global_batch_size} does not divide among {self.gpus} GPUs")
