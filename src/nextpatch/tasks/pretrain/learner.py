"""Pre-training as the loop sees it: an objective's loss on a stream of images, and the same on those held out."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from typing import Any

from torch import Tensor

from nextpatch.config import ConfigError, to_dict
from nextpatch.core.text import shown
from nextpatch.data.loader import Batch, TrainStream
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.model.aim import AIM
from nextpatch.objective.cost import train_step_flops
from nextpatch.objective.objective import Draws, Objective, scored_count
from nextpatch.objective.registry import objective_of
from nextpatch.runs.inputs import differences, inputs_of
from nextpatch.runs.recipe import Recipe, recipe_digest
from nextpatch.runs.run import EMA, RunDir
from nextpatch.train.compute import Compute
from nextpatch.train.ema import AveragedWeights
from nextpatch.train.guard import GuardState
from nextpatch.train.heldout import HeldOut
from nextpatch.train.learner import Shown, Stopped, Task
from nextpatch.train.optimizer import build_optimizer, optimizer_tensors, set_lr
from nextpatch.train.schedule import lr_at
from nextpatch.train.showing import keep_samples
from nextpatch.train.state import TrainState
from nextpatch.train.step import Share, accumulate_gradients, draws_of
from nextpatch.train.validation import ValidationLoss, interruptible_loss, upside_down

Drawn = tuple[Batch, Draws]


class Pretraining:
    """A model, its optimizer and its images, by the run's recipe. Sample order, views and draws are pure functions of
    (seed, position). Source: section 4.1, Table 10.
    """

    advice = (
        "Look at these images; then continue with --resume and --guard.non-finite skip or --guard.spike skip, or try a "
        "lower optim.lr, a lower optim.clip_norm, or train.precision fp32, in a new run."
    )

    def __init__(self, model: AIM, stream: TrainStream, held_out: HeldOut, run: RunDir, ranks: Ranks = ALONE) -> None:
        recipe = run.recipe
        self.model, self.stream, self.held_out, self.run, self.ranks = model, stream, held_out, run, ranks
        self.recipe, self.compute, self.objective = recipe, Compute.of(recipe), objective_of(recipe.model)
        self.optimizer = build_optimizer(model, recipe.optim)
        self.averages = averaged(model, recipe)
        self.watched = (stream.bad, held_out.bad)
        self._micro = min(recipe.train.micro_batch_size, recipe.train.global_batch_size // ranks.size)
        self._frozen = not any(p.requires_grad for p in model.trunk.parameters())
        self._fetched_until = time.time()
        self._step = 0  # after the update that is under way

    def task(self) -> Task:
        """The run as the loop knows it."""
        recipe, path = self.recipe, self.run.path
        return Task(
            path, recipe.train, recipe.guard, recipe.optim.clip_norm, f"nextpatch pretrain --out {path} --resume",
            recipe.engine.background_save, values=to_dict(recipe),
        )  # fmt: skip

    def batches(self, state: TrainState, steps: int) -> Generator[Drawn, None, None]:
        """This rank's share of each batch, with its draws."""
        return drawn(self.objective, self.stream, self.recipe, state.position, steps)

    def count(self, batch: Drawn) -> int:
        """Its scored places."""
        return scored_count(self.objective, batch[1])

    def set_rate(self, step: int) -> float:
        """Warm-up, then a cosine."""
        self._step = step + 1
        lr = lr_at(step, self.recipe.optim, self.recipe.train.steps)
        set_lr(self.optimizer, lr)
        return lr

    def accumulate(self, batch: Drawn, count: int) -> Share:
        """The objective's loss, micro-batch by micro-batch."""
        return accumulate_gradients(self.objective, self.model, *batch, count, self._micro, self.compute)

    def updated(self, images: int) -> None:
        """The averaged weights follow."""
        if self.averages is not None:
            self.averages.update(images)

    def keys(self, batch: Drawn) -> list[list[str]]:
        """By micro-batch."""
        keys = batch[0].keys
        return [keys[start : start + self._micro] for start in range(0, len(keys), self._micro)]

    def figures(self, images_per_s: float) -> dict[str, float]:
        """Operations, and what came from other machines since the last time, in MiB a second."""
        found = {"tflops": images_per_s * train_step_flops(self.model.cfg, frozen_trunk=self._frozen) / 1e12}
        since, self._fetched_until = self._fetched_until, time.time()
        fetched = self.stream.fetched_bytes(since)
        if fetched is not None:
            found["fetched_mib_per_s"] = fetched / 2**20 / max(1e-9, self._fetched_until - since)
        return found

    def validate(self, shown: Shown, stopped: Stopped, last: bool) -> dict[str, Any] | None:
        """The loss on the held-out images, and its parts, and that of averaged weights as `ema_loss`; the last time
        also with the images upside down. Runs that generate draw samples then, at a few of these moments."""
        rounds = self.held_out.rounds
        found = self._loss(shown(self.held_out, rounds), stopped)
        if found is None:
            return None
        entry = found.entry()
        if self.averages is not None:
            with self.averages.in_place():
                average = self._loss(shown(self.held_out, rounds), stopped)
                self._keep_samples()
            if average is None:
                return None
            entry["ema_loss"] = average.loss
        else:
            self._keep_samples()
        flipped = self._loss(upside_down(shown(self.held_out, rounds)), stopped) if last else None
        if flipped is None:
            return None if last else entry
        return {**entry, **flipped.flipped_entry()}

    def _keep_samples(self) -> None:
        """With the weights as they are now, where one process holds them all."""
        if not self.ranks.spread:
            keep_samples(self.model, self.recipe, self.run.path, self._step)

    def _loss(self, batches: Iterable[Batch], stopped: Stopped) -> ValidationLoss | None:
        rounds = self.held_out.rounds
        return interruptible_loss(self.objective, self.model, batches, self.compute, self.ranks, rounds, stopped)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Model, optimizer, and averaged weights where there are any."""
        averages = {} if self.averages is None else {EMA: self.averages.tensors()}
        optimizer = optimizer_tensors(self.optimizer, self.model)
        return {"model": self.model.state_dict(), "optimizer": optimizer, **averages}

    def stamp(self) -> dict[str, Any]:
        """Of the recipe, what a run must go on with."""
        return {"seed": self.recipe.train.seed, "recipe_sha256": recipe_digest(self.recipe)}

    def begun(self) -> TrainState:
        """The start, on these images (collective)."""
        state, stream = TrainState(train_images=len(self.stream.mixture), data_digest=self.stream.digest), self.stream
        with self.ranks.raise_on_all():
            if self.ranks.is_main:
                val = self.held_out.source if self.recipe.data.val else None
                counts, labels = stream.mixture.counts.tolist(), bool(self.recipe.data.classes)
                state.images = inputs_of(stream.source, counts, val, labels)
        return state

    def resumed(self, saved: Mapping[str, Any]) -> TrainState:
        """The saved state; ConfigError when it is of another recipe or of other images."""
        beside, begun, known = dict(saved), self.begun(), self.run.digests()
        beside.pop("seed")
        if (digest := beside.pop("recipe_sha256")) not in known:
            raise ConfigError(
                f"{self.run.path}: recipe.toml is not the one that this run was started with; put it back"
            )
        state = TrainState(**{**beside, "guard": GuardState(**beside["guard"])})
        with self.ranks.raise_on_all():
            if self.ranks.is_main:
                _refuse_other_images(self.run, state, begun)
                if digest == known[0]:
                    self.run.keep_places()
        state.images, self._step = begun.images, state.step
        return state


def averaged(model: AIM, recipe: Recipe) -> AveragedWeights | None:
    """The averaged weights at their start, those of the model; None where the recipe wants none."""
    train = recipe.train
    return AveragedWeights(model, train.ema_half_life, train.global_batch_size) if train.ema_half_life else None


def drawn(
    objective: Objective, stream: TrainStream, recipe: Recipe, position: int, steps: int
) -> Generator[Drawn, None, None]:
    """This rank's share of so many batches from a position on, with its draws."""
    train = recipe.train
    with closing(stream.batches(position, train.global_batch_size)) as batches:
        for _ in range(steps):
            batch = next(batches)
            yield batch, draws_of(objective, train.seed, batch)


def _refuse_other_images(run: RunDir, state: TrainState, begun: TrainState) -> None:
    """ConfigError when a run would go on with other images than those that it began with, wherever they lie."""
    remedy = "restore the data as it was, give its new location with --data, or start a new run with another --out"
    if (state.train_images, state.data_digest) != (begun.train_images, begun.data_digest):
        raise ConfigError(
            f"{shown(', '.join(run.recipe.data.train))} gives {begun.train_images:,} training images, but gave "
            f"{state.train_images:,} when this run began, or they are other images; {remedy}"
        )
    if different := differences(state.images, begun.images):
        raise ConfigError(f"the images are not those that {shown(run.path)} began with: {different}; {remedy}")
