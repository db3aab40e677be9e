"""The training state: the few numbers in a checkpoint beside weights and optimizer state."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from nextpatch.train.guard import GuardState


@dataclass
class TrainState:
    """Where a training stands. Order, views and prefixes follow from (seed, position), so no generator is kept.

    A step is an optimizer step done; a position is a sample consumed.
    """

    step: int = 0
    position: int = 0
    train_images: int = 0
    data_digest: str = ""  # of what the order of samples depends on
    images: dict[str, Any] = field(default_factory=dict)  # what `inputs_of` gives
    elapsed_s: float = 0.0
    losses: list[float] = field(default_factory=list)  # per step, since the last entry in metrics.jsonl
    guard: GuardState = field(default_factory=GuardState)
    best_val_loss: float | None = None
    best_val_step: int | None = None

    def validated(self, loss: float) -> None:
        """Remember the best validation loss."""
        if math.isfinite(loss) and (self.best_val_loss is None or loss < self.best_val_loss):
            self.best_val_loss, self.best_val_step = loss, self.step
