"""What a checkpoint holds, there and back: weights, optimizer state, and the few numbers beside them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field

import torch

from nextpatch.config import ConfigError, dumps_toml, to_dict
from nextpatch.model.aim import AIM
from nextpatch.train.checkpoint import newest_checkpoint, prune, save_checkpoint
from nextpatch.train.optimizer import load_optimizer_tensors, optimizer_tensors
from nextpatch.train.recipe import Recipe
from nextpatch.train.run import RunDir


@dataclass
class TrainState:
    """Where a run stands. Order, views and prefixes follow from (seed, position), so no generator is kept.

    A step is an optimizer step done; a position is a sample consumed.
    """

    step: int = 0
    position: int = 0
    train_images: int = 0
    data_digest: str = ""  # of what the order of samples depends on
    elapsed_s: float = 0.0
    losses: list[float] = field(default_factory=list)  # per step, since the last entry in metrics.jsonl
    best_val_loss: float | None = None
    best_val_step: int | None = None

    def validated(self, loss: float) -> None:
        """Remember the best validation loss."""
        if self.best_val_loss is None or loss < self.best_val_loss:
            self.best_val_loss, self.best_val_step = loss, self.step


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256 of the recipe's TOML text."""
    return hashlib.sha256(dumps_toml(to_dict(recipe)).encode()).hexdigest()


def save_state(run: RunDir, model: AIM, optimizer: torch.optim.Optimizer, state: TrainState) -> None:
    """Write a checkpoint of this step, then remove the oldest beyond `keep_checkpoints`."""
    tensors = {"model": model.state_dict(), "optimizer": optimizer_tensors(optimizer, model)}
    beside = {**asdict(state), "seed": run.recipe.train.seed, "recipe_sha256": recipe_digest(run.recipe)}
    save_checkpoint(run.checkpoints, state.step, tensors, beside)
    prune(run.checkpoints, run.recipe.train.keep_checkpoints)


def load_state(run: RunDir, model: AIM, optimizer: torch.optim.Optimizer, begun: TrainState) -> TrainState:
    """Put the newest checkpoint that verifies into model and optimizer; `begun`, the start, when there is none.

    Raises ConfigError when the checkpoint is of another recipe or of other data than `begun` says.
    """
    checkpoint = newest_checkpoint(run.checkpoints, mend=True)
    if checkpoint is None:
        return begun
    beside = dict(checkpoint.state)
    beside.pop("seed")
    if beside.pop("recipe_sha256") != recipe_digest(run.recipe):
        raise ConfigError(f"{run.path}: recipe.toml is not the one that this run was started with; put it back")
    state = TrainState(**beside)
    if (state.train_images, state.data_digest) != (begun.train_images, begun.data_digest):
        raise ConfigError(
            f"{', '.join(run.recipe.data.train)} gives {begun.train_images:,} training images, but gave "
            f"{state.train_images:,} when this run began, or they are other images; bring the data back to what it "
            "was, or start a new run with another --out"
        )
    model.load_state_dict(checkpoint.tensors("model"))
    load_optimizer_tensors(optimizer, model, checkpoint.tensors("optimizer"))
    return state
