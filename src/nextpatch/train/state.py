"""What a checkpoint holds, there and back: weights, optimizer state, and the few numbers beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from nextpatch.config import ConfigError
from nextpatch.core.text import shown
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.model.aim import AIM
from nextpatch.runs.checkpoint import BackgroundSaver, check_room, newest_checkpoint, prune, save_checkpoint
from nextpatch.runs.checkpoint.files import published
from nextpatch.runs.inputs import differences
from nextpatch.runs.recipe import recipe_digest
from nextpatch.runs.run import RunDir
from nextpatch.train.guard import GuardState
from nextpatch.train.optimizer import optimizer_tensors, prepare_state


@dataclass
class TrainState:
    """Where a run stands. Order, views and prefixes follow from (seed, position), so no generator is kept.

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


class Saver:
    """Writes the run's checkpoints, at once or beside the training, and removes the old ones."""

    def __init__(self, run: RunDir, ranks: Ranks) -> None:
        self._run, self._world = run, ranks
        self._beside = BackgroundSaver(ranks) if run.recipe.engine.background_save else None

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is waited for: on the way out of an error the other ranks may never come."""

    @property
    def failed(self) -> bool:
        """Whether a save beside the training has failed on this rank."""
        return self._beside is not None and self._beside.failure() is not None

    def save(self, model: AIM, optimizer: torch.optim.Optimizer, state: TrainState) -> None:
        """A checkpoint of this step (collective)."""
        train, folder = self._run.recipe.train, self._run.checkpoints
        tensors = _tensors(model, optimizer)
        self._check_room(tensors, 1)
        beside = {**asdict(state), "seed": train.seed, "recipe_sha256": recipe_digest(self._run.recipe)}
        if self._beside is not None:
            self._beside.start(folder, state.step, tensors, beside, train.keep_checkpoints, train.keep_every)
        else:
            save_checkpoint(folder, state.step, tensors, beside, self._world)
            prune(folder, train.keep_checkpoints, train.keep_every, self._world)

    def check_room(self, model: AIM, optimizer: torch.optim.Optimizer) -> None:
        """OSError on all ranks when the disk has no room for the checkpoints that this run will keep (collective)."""
        kept = self._run.recipe.train.keep_checkpoints + 1
        there = len(published(self._run.checkpoints))
        self._check_room(_tensors(model, optimizer), max(1, kept - there))

    def _check_room(self, tensors: Mapping[str, Mapping[str, Tensor]], checkpoints: int) -> None:
        needed = sum(t.numel() * t.element_size() for group in tensors.values() for t in group.values())
        with self._world.raise_on_all():
            if self._world.is_main:
                check_room(self._run.checkpoints, needed, checkpoints)

    def wait(self) -> None:
        """Return when the last save is done; raise on all ranks if it failed on any."""
        if self._beside is not None:
            with self._world.raise_on_all():
                self._beside.wait()


def _tensors(model: AIM, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    return {"model": model.state_dict(), "optimizer": optimizer_tensors(optimizer, model)}


def _refuse_other_images(run: RunDir, state: TrainState, begun: TrainState) -> None:
    """ConfigError when a run would go on with other images than those that it began with, wherever they lie."""
    remedy = "bring the data back to what it was, say where it is now by --data, or start a new run with another --out"
    if (state.train_images, state.data_digest) != (begun.train_images, begun.data_digest):
        raise ConfigError(
            f"{shown(', '.join(run.recipe.data.train))} gives {begun.train_images:,} training images, but gave "
            f"{state.train_images:,} when this run began, or they are other images; {remedy}"
        )
    if different := differences(state.images, begun.images):
        raise ConfigError(f"the images are not those that {shown(run.path)} began with: {different}; {remedy}")


def load_state(
    run: RunDir, model: AIM, optimizer: torch.optim.Optimizer, begun: TrainState, ranks: Ranks = ALONE
) -> TrainState:
    """Put the newest checkpoint that verifies into model and optimizer; `begun`, the start, when there is none.

    Saved by any number of ranks, read by any other. Raises ConfigError when the checkpoint is of another recipe or of
    other data than `begun` says.
    """
    prepare_state(optimizer)
    checkpoint = newest_checkpoint(run.checkpoints, mend=True, ranks=ranks)
    if checkpoint is None:
        return begun
    beside = dict(checkpoint.state)
    beside.pop("seed")
    known = run.digests()
    if (digest := beside.pop("recipe_sha256")) not in known:
        raise ConfigError(f"{run.path}: recipe.toml is not the one that this run was started with; put it back")
    state = TrainState(**{**beside, "guard": GuardState(**beside["guard"])})
    with ranks.raise_on_all():
        if ranks.is_main:
            _refuse_other_images(run, state, begun)
            if digest == known[0]:
                run.keep_places()
    state.images = begun.images
    checkpoint.load_into("model", model.state_dict(), ranks)
    checkpoint.load_into("optimizer", optimizer_tensors(optimizer, model), ranks)
    return state
