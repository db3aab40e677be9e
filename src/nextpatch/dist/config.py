"""How the machines do the work: values that change speed and memory, and results by rounding alone (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nextpatch.core.bounds import check_bounds

Recompute = Literal["none", "selective", "full"]


@dataclass(frozen=True)
class EngineConfig:
    """Ranks are the processes of a run, one for each GPU; `replicate` x `shard` must be as many as there are.

    `shard` ranks hold one copy of weights, gradients and optimizer together, `replicate` copies are kept equal; 0 is
    chosen by the model's size and the machine. `activation_checkpointing`: what backward computes again instead of
    keeping. `background_save`: checkpoints are written while the training goes on. All of it may change on a resume.
    """

    replicate: int = 0
    shard: int = 0
    activation_checkpointing: Recompute = "none"
    compile: bool = False
    background_save: bool = False

    def __post_init__(self) -> None:
        check_bounds(self, replicate=(0, 2**20), shard=(0, 2**20))
