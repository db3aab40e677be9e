"""The one training loop: batch -> draws -> loss -> gradients -> update; measure, write down, save."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch
from rich.console import Console

from nextpatch.config import to_dict
from nextpatch.core.signals import StopSignals
from nextpatch.core.writer import InUse
from nextpatch.data.loader import Batch, TrainStream
from nextpatch.dist.agreement import agree
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.model.aim import AIM
from nextpatch.objective.objective import Draws, Objective, scored_count
from nextpatch.objective.registry import objective_of
from nextpatch.runs.export import EXPORTED, export_model
from nextpatch.runs.inputs import inputs_of
from nextpatch.runs.logs import Logs, tell_missing, truncate_metrics
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir
from nextpatch.train.bad import BadOfAll
from nextpatch.train.compute import Compute
from nextpatch.train.guard import decide
from nextpatch.train.heldout import HeldOut
from nextpatch.train.optimizer import build_optimizer, set_lr
from nextpatch.train.progress import Display
from nextpatch.train.recorder import Recorder
from nextpatch.train.schedule import lr_at
from nextpatch.train.state import Saver, TrainState, load_state
from nextpatch.train.step import (
    accumulate_gradients,
    describe_trouble,
    gradient_norm,
    update,
)  # fmt: skip

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: after all its steps, or early because a signal asked for it."""

    run: RunDir
    step: int
    signal: signal.Signals | None = None

    @property
    def exit_code(self) -> int:
        """For the shell: 0, or 128 + the signal (130 for Ctrl-C, 143 for SIGTERM)."""
        return 0 if self.signal is None else 128 + self.signal


def fit(
    model: AIM,
    stream: TrainStream,
    held_out: HeldOut,
    run: RunDir,
    console: Console,
    ranks: Ranks = ALONE,
    estimate: Callable[[int], str] | None = None,
) -> Outcome:
    """Train `model` as the run's recipe says, from the run's newest checkpoint or, without one, from its weights as
    they are; returns after the last step, or after the step in which one of SIGNALS came to any rank.

    A resumed run equals an uninterrupted one bit for bit: sample order, views and prefixes are pure functions of (seed,
    position), and the rest is in the checkpoint. Any number of ranks sees the same global batches. Raises BadStepError
    where the guard stops the run, before that update. `estimate` says how long the run takes from a
    step on. Source: section 4.1, Table 10.
    """
    recipe, compute, objective = run.recipe, Compute.of(run.recipe), objective_of(run.recipe.model)
    train, batch_size = recipe.train, recipe.train.global_batch_size
    micro_batch_size = min(train.micro_batch_size, batch_size // ranks.size)
    optimizer = build_optimizer(model, recipe.optim)
    begun = TrainState(train_images=len(stream.mixture), data_digest=stream.digest)
    with ranks.raise_on_all():
        if ranks.is_main:
            val = held_out.source if recipe.data.val else None
            begun.images = inputs_of(stream.source, stream.mixture.counts.tolist(), val)
    state = load_state(run, model, optimizer, begun, ranks)
    if ranks.is_main:
        truncate_metrics(run.metrics_path, state.step or -1)  # what a killed session wrote after its last checkpoint
        tell_missing(run.metrics_path, state.step)
    received: signal.Signals | None = None
    bad = BadOfAll(ranks, (stream.bad, held_out.bad))
    with (
        StopSignals(patient=ranks.spread) as stop,
        Saver(run, ranks) as saver,
        Logs(run.path, state.step, bad.watched, not ranks.is_main, train.sinks, to_dict(recipe)) as logs,
        Display(console, train.steps, batch_size, state.step) as display,
        closing(shared_batches(objective, stream, state, recipe, ranks)) as batches,
    ):
        saver.check_room(model, optimizer)
        book = Recorder(objective, model, stream, held_out, compute, logs, display, state, ranks, recipe)
        if estimate is not None and state.step < train.steps:
            log.info("%s", estimate(state.step))
        asked = partial(_asked, ranks, stop)
        if _validation_due(run, state, ranks) and not book.validate(asked):
            received = asked()
        for batch, draws, scored in batches if received is None else ():
            lr = lr_at(state.step, recipe.optim, train.steps)
            set_lr(optimizer, lr)
            share = accumulate_gradients(objective, model, batch, draws, scored, micro_batch_size, compute)
            loss, norm = torch.stack((share.total(), gradient_norm(model))).tolist()  # the only wait for the device
            agreed = agree(ranks, loss, norm, stop.received, saver.failed, bad.news)
            verdict = decide(recipe.guard, state.guard, agreed.loss, agreed.grad_norm)
            if verdict.trouble:
                trouble = describe_trouble(verdict.trouble, state.step + 1, share, batch, micro_batch_size, ranks)
                book.trouble(verdict, trouble)
            if verdict.action == "apply":
                update(model, optimizer, agreed.grad_norm, recipe.optim.clip_norm)
            optimizer.zero_grad(set_to_none=True)
            book.stepped(agreed, verdict, batch_size)

            received, last = agreed.signal, state.step == train.steps
            if last or state.step % train.log_every == 0:
                book.log_training(lr)
            if (last or state.step % train.val_every == 0) and not book.validate(_never if last else asked):
                received = received or asked()
            if agreed.failed_saves:
                saver.wait()
            if last or received or state.step % train.checkpoint_every == 0:
                book.save(saver, optimizer)
            if agreed.bad_samples:
                bad.share()
            logs.bad_samples()
            if received:
                break
        bad.share()
        saver.wait()
    if state.step == train.steps:
        with ranks.raise_on_all():
            if ranks.is_main:
                try:
                    export_model(run)
                except InUse as error:
                    log.warning("%s is not written: %s", EXPORTED, error)
    return _ended(run, state.step, received)


def _asked(ranks: Ranks, stop: StopSignals) -> signal.Signals | None:
    """The signal by which any rank was asked to stop (collective)."""
    found = [number for number in ranks.gather(stop.received) if number is not None]
    return signal.Signals(found[0]) if found else None


def _never() -> None:
    """Nobody asks: the last validation is always finished."""


def _validation_due(run: RunDir, state: TrainState, ranks: Ranks) -> bool:
    """Whether the validation of this step is still to be made: before step 0, or where it was stopped on the way."""
    train, due = run.recipe.train, state.step == 0
    if ranks.is_main and not due and state.step % train.val_every == 0:
        due = not any(entry["kind"] == "val" and entry["step"] == state.step for entry in run.read_metrics())
    return bool(ranks.broadcast(due))


def shared_batches(
    objective: Objective, stream: TrainStream, state: TrainState, recipe: Recipe, ranks: Ranks
) -> Generator[tuple[Batch, Draws, int], None, None]:
    """This rank's share of each batch to come with its draws, and the number of scored places on all ranks.

    Where one rank's data fails, all stop, at the same step.
    """
    train = recipe.train
    with closing(stream.batches(state.position, train.global_batch_size)) as batches:
        for _ in range(train.steps - state.step):
            failure: Exception | None = None
            scored = 0
            try:
                batch = next(batches)
                draws = objective.draw(train.seed, batch.positions)
                scored = scored_count(objective, draws)
            except Exception as error:
                failure = error
            everywhere, failures = ranks.sum([scored, failure is not None])
            if failures:
                with ranks.raise_on_all():
                    if failure is not None:
                        raise failure
            yield batch, draws, int(everywhere)


def _ended(run: RunDir, step: int, received: signal.Signals | None) -> Outcome:
    steps = run.recipe.train.steps
    if received and not step:
        log.info(
            "%s: stopped before the first step; begin with: nextpatch pretrain --out %s --resume",
            received.name,
            run.path,
        )
        return Outcome(run, step, received)
    if received and step < steps:
        log.info(
            "%s: stopped after step %d of %d and saved; go on with: nextpatch pretrain --out %s --resume",
            received.name, step, steps, run.path,
        )  # fmt: skip
        return Outcome(run, step, received)
    log.info("step %d of %d done; checkpoints in %s", step, steps, run.checkpoints)
    return Outcome(run, step)
