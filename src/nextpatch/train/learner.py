"""The interface between the training loop and a task: what a step computes, what is validated, what is saved."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from nextpatch.data.loader import Batch
from nextpatch.data.skipped import Bad
from nextpatch.runs.config import GuardConfig, TrainConfig
from nextpatch.train.state import TrainState
from nextpatch.train.step import Share

Stopped = Callable[[], object]  # asked between passes, on all ranks alike: whether to leave off
Shown = Callable[[Iterable[Batch], int], Iterator[Batch]]  # batches of which so many come, as they are taken


@dataclass(frozen=True)
class Task:
    """A training, whatever learns in it: where it writes, how long it is, and what goes on with it.

    `resume` is the command for that; `values` are those that the metric sinks get; `begins` is the step of the first
    entry that it writes down.
    """

    path: Path
    train: TrainConfig
    guard: GuardConfig
    clip_norm: float
    resume: str
    background_save: bool = False
    begins: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics_path(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"


@runtime_checkable
class Learner(Protocol):
    """What the loop trains. Every method but `keys`, `count` and `stamp` is called by all ranks alike.

    Two implement it: the pre-training of `nextpatch.tasks.pretrain.learner` and the fine-tuning.
    """

    advice: str  # what to do about a step that must not be taken

    @property
    def model(self) -> nn.Module:
        """The module whose gradients are clipped, by their norm."""
        ...

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer that updates it."""
        ...

    @property
    def watched(self) -> Sequence[Bad]:
        """Samples that could not be used so far."""
        ...

    def batches(self, state: TrainState, steps: int) -> Generator[Any, None, None]:
        """This rank's share of each of the `steps` batches to come after `state`, with all that chance decides."""
        ...

    def count(self, batch: Any) -> int:
        """How much a share weighs: its losses are summed, and divided by the sum of this over all ranks."""
        ...

    def set_rate(self, step: int) -> float:
        """Set the optimizer's learning rate for the update after `step` steps, and return it."""
        ...

    def accumulate(self, batch: Any, count: int) -> Share:
        """Add the gradients of the loss, whose denominator is `count`, to `.grad`; returns this rank's part of it."""
        ...

    def updated(self, images: int) -> None:
        """The optimizer has taken a step, on a batch that came after so many images."""
        ...

    def keys(self, batch: Any) -> list[list[str]]:
        """The names of a share's images, for each part of what `accumulate` returns."""
        ...

    def figures(self, images_per_s: float) -> dict[str, float]:
        """What a "train" entry says beside loss, rate and speed."""
        ...

    def validate(self, shown: Shown, stopped: Stopped, last: bool) -> Mapping[str, Any] | None:
        """The values of a "val" entry, `loss` among them; {} for none, None when it was stopped on the way.

        The `last` one is after the last step.         Raises what ends the run before such weights are saved.
        """
        ...

    def tensors(self) -> Mapping[str, Mapping[str, Tensor]]:
        """What a checkpoint holds, by group: the tensors themselves, to be saved and to be filled again."""
        ...

    def stamp(self) -> Mapping[str, Any]:
        """Plain values beside the state in a checkpoint, by which `resumed` knows its own."""
        ...

    def resumed(self, saved: Mapping[str, Any]) -> TrainState:
        """The state of a checkpoint with these plain values (collective); ConfigError if it is another training's."""
        ...

    def begun(self) -> TrainState:
        """The state before the first step."""
        ...
