"""Saving and loading the checkpoints of a training: the learner's tensors and values, and the training state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.runs.checkpoint import BackgroundSaver, check_disk_space, newest_checkpoint, prune, save_checkpoint
from nextpatch.runs.checkpoint.files import published
from nextpatch.train.learner import Learner, Task
from nextpatch.train.optimizer import prepare_state
from nextpatch.train.state import TrainState


class Saver:
    """Writes the checkpoints, at once or beside the training, and removes the old ones.

    It has no end of its own: on the way out of an error the other ranks may never come.
    """

    def __init__(self, task: Task, learner: Learner, ranks: Ranks) -> None:
        self._task, self._learner, self._world = task, learner, ranks
        self._beside = BackgroundSaver(ranks) if task.background_save else None

    @property
    def failed(self) -> bool:
        """Whether a save beside the training has failed on this rank."""
        return self._beside is not None and self._beside.failure() is not None

    def save(self, state: TrainState) -> None:
        """A checkpoint of this step (collective)."""
        train, folder, tensors = self._task.train, self._task.checkpoints, self._learner.tensors()
        self._check_room(tensors, 1)
        beside = {**asdict(state), **self._learner.stamp()}
        if self._beside is not None:
            self._beside.start(folder, state.step, tensors, beside, train.keep_checkpoints, train.keep_every)
        else:
            save_checkpoint(folder, state.step, tensors, beside, self._world)
            prune(folder, train.keep_checkpoints, train.keep_every, self._world)

    def check_disk_space(self) -> None:
        """OSError on all ranks when the disk has no room for the checkpoints that are to be kept (collective)."""
        kept = self._task.train.keep_checkpoints + 1
        there = len(published(self._task.checkpoints))
        self._check_room(self._learner.tensors(), max(1, kept - there))

    def _check_room(self, tensors: Mapping[str, Mapping[str, Tensor]], checkpoints: int) -> None:
        needed = sum(t.numel() * t.element_size() for group in tensors.values() for t in group.values())
        with self._world.raise_on_all():
            if self._world.is_main:
                check_disk_space(self._task.checkpoints, needed, checkpoints)

    def wait(self) -> None:
        """Return when the last save is done; raise on all ranks if it failed on any."""
        if self._beside is not None:
            with self._world.raise_on_all():
                self._beside.wait()


def load_state(folder: Path, learner: Learner, ranks: Ranks = ALONE) -> TrainState:
    """Fill the learner's tensors from the newest checkpoint that verifies; its state, or the start's without one.

    Saved by any number of ranks, read by any other.
    """
    prepare_state(learner.optimizer)
    checkpoint = newest_checkpoint(folder, mend=True, ranks=ranks)
    if checkpoint is None:
        return learner.begun()
    state = learner.resumed(checkpoint.state)
    for group, tensors in learner.tensors().items():
        checkpoint.load_into(group, tensors, ranks)
    return state
