"""What is asked of a plan."""

from __future__ import annotations

from dataclasses import dataclass, field

from nextpatch.core.bounds import COUNT, check_bounds
from nextpatch.core.errors import ConfigError
from nextpatch.dist.config import Recompute
from nextpatch.model.config import ModelConfig
from nextpatch.tasks.plan.gpus import Gpu

MODES: tuple[Recompute, ...] = ("none", "selective", "full")


@dataclass(frozen=True)
class PlanConfig:
    """A run of `steps` steps of `global_batch_size` images on so many GPUs, and what share of their peak is expected.

    `usable` is the share of a GPU's memory that training may take: the rest is for CUDA, NCCL and fragments.
    """

    model: ModelConfig
    gpu: Gpu
    gpus: int = 8
    gpus_per_node: int = 8
    global_batch_size: int = 4096
    steps: int = 1_250_000
    mfu: float = 0.4
    usable: float = 0.9
    modes: tuple[Recompute, ...] = field(default=MODES)

    def __post_init__(self) -> None:
        check_bounds(
            self, gpus=(1, 10**6), gpus_per_node=(1, 10**4), global_batch_size=(1, 2**24), steps=(1, COUNT[1]),
            mfu=(1e-6, 1.0), usable=(1e-6, 1.0),
        )  # fmt: skip
        if self.global_batch_size % self.gpus:
            raise ConfigError(f"a batch of {self.global_batch_size} does not divide among {self.gpus} GPUs")
