"""How the machines do the work: values that change speed and memory, and results by rounding alone (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass

from nextpatch.core.bounds import check_bounds
from nextpatch.model.cost import Recompute as Recompute


@dataclass(frozen=True)
class EngineConfig:
    """Ranks are the processes of a run, one for each GPU; `replicate` x `shard` must be as many as there are.

    All of it may change when a run is resumed.
    """

    replicate: int = 0
    """Number of replicas of the model, as in data parallelism (chosen from the model and the ranks)."""
    shard: int = 0
    """Ranks that share one copy of weights, gradients and optimizer state (chosen from the model and the ranks)."""
    activation_checkpointing: Recompute = "none"
    """Which activations the backward pass computes again, instead of keeping them in memory."""
    compile: bool = False
    """Compile each block: the start takes minutes longer, every step after it is faster."""
    background_save: bool = False
    """Write checkpoints while the training goes on."""

    def __post_init__(self) -> None:
        check_bounds(self, replicate=(0, 2**20), shard=(0, 2**20))
