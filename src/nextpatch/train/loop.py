"""The one training loop: batch -> loss -> gradients -> update; measure, write down, save."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console

from nextpatch.core.signals import StopSignals
from nextpatch.dist.agreement import Agreed, agree
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.runs.logs import Logs, entries_of, tell_missing, truncate_metrics
from nextpatch.train.bad import BadOfAll
from nextpatch.train.guard import decide
from nextpatch.train.learner import Learner, Task
from nextpatch.train.progress import Display
from nextpatch.train.recorder import Recorder
from nextpatch.train.saving import Saver, load_state
from nextpatch.train.state import TrainState
from nextpatch.train.step import describe_trouble, gradient_norm, update

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a training ended: after all its steps, or early because a signal asked for it."""

    step: int
    signal: signal.Signals | None = None
    elapsed_s: float = 0.0  # of all sessions

    @property
    def exit_code(self) -> int:
        """For the shell: 0, or 128 + the signal (130 for Ctrl-C, 143 for SIGTERM)."""
        return 0 if self.signal is None else 128 + self.signal


def fit(
    learner: Learner, task: Task, console: Console, ranks: Ranks = ALONE, estimate: Callable[[int], str] | None = None
) -> Outcome:
    """Train as the task says, from its newest checkpoint or, without one, from the weights as they are; returns after
    the last step, or after the step in which one of SIGNALS came to any rank.

    A resumed training equals an uninterrupted one bit for bit: what chance decides is a pure function of (seed,
    position), and the rest is in the checkpoint. Any number of ranks sees the same global batches. Raises BadStepError
    where the guard stops it, before that update. `estimate` says how long it takes from a step on.
    """
    state = load_state(task.checkpoints, learner, ranks)
    if ranks.is_main:
        truncate_metrics(task.metrics_path, state.step or -1)  # what a killed session wrote after its last checkpoint
        tell_missing(task.metrics_path, state.step, task.begins)
    bad = BadOfAll(ranks, learner.watched)
    with (
        StopSignals(patient=ranks.spread) as stop,
        Logs(task.path, state.step, bad.watched, not ranks.is_main, task.train.sinks, task.values) as logs,
        Display(console, task.train.steps, task.train.global_batch_size, state.step) as display,
    ):
        saver = Saver(task, learner, ranks)
        saver.check_disk_space()
        book = Recorder(learner, task, logs, display, state, ranks)
        if estimate is not None and state.step < task.train.steps:
            log.info("%s", estimate(state.step))
        received = _Session(learner, task, ranks, state, book, saver, stop, bad).run()
        bad.share()
        saver.wait()
    return _ended(task, state, received)


@dataclass
class _Session:
    """What a session's steps have in common."""

    learner: Learner
    task: Task
    ranks: Ranks
    state: TrainState
    book: Recorder
    saver: Saver
    stop: StopSignals
    bad: BadOfAll

    def run(self) -> signal.Signals | None:
        """The validation that is due, and every step that is left; the signal that ended it early."""
        train, state = self.task.train, self.state
        due = _validation_due(self.task, state, self.ranks)
        if due and not self.book.validate(self._asked) and (received := self._asked()):
            return received
        left = train.steps - state.step
        with closing(together(self.learner.batches(state, left), self.learner.count, left, self.ranks)) as batches:
            for batch, count in batches:
                lr = self.learner.set_rate(state.step)
                if received := self._kept(self._step(batch, count), lr):
                    return received
        return None

    def _step(self, batch: Any, count: int) -> Agreed:
        """One optimizer step, or what the guard makes of it."""
        learner, task, ranks, state = self.learner, self.task, self.ranks, self.state
        share = learner.accumulate(batch, count)
        loss, norm = torch.stack((share.total(), gradient_norm(learner.model))).tolist()  # the only wait for the device
        agreed = agree(ranks, loss, norm, self.stop.received, self.saver.failed, self.bad.news)
        verdict = decide(task.guard, state.guard, agreed.loss, agreed.grad_norm)
        if verdict.trouble:
            trouble = describe_trouble(verdict.trouble, state.step + 1, share, learner.keys(batch), ranks)
            self.book.trouble(verdict, trouble)
        if verdict.action == "apply":
            update(learner.model, learner.optimizer, agreed.grad_norm, task.clip_norm)
            learner.updated(state.position)
        learner.optimizer.zero_grad(set_to_none=True)
        self.book.stepped(agreed, verdict, task.train.global_batch_size)
        return agreed

    def _kept(self, agreed: Agreed, lr: float) -> signal.Signals | None:
        """Write down, validate and save where it is time; the signal by which to end here."""
        train, state, book = self.task.train, self.state, self.book
        received, last = agreed.signal, state.step == train.steps
        if last or state.step % train.log_every == 0:
            book.log_training(lr)
        if (last or state.step % train.val_every == 0) and not book.validate(_never if last else self._asked):
            received = received or self._asked()
        if agreed.failed_saves:
            self.saver.wait()
        if last or received or state.step % train.checkpoint_every == 0:
            book.save(self.saver)
        if agreed.bad_samples:
            self.bad.share()
        book.logs.bad_samples()
        return received

    def _asked(self) -> signal.Signals | None:
        """The signal by which any rank was asked to stop (collective)."""
        found = [number for number in self.ranks.gather(self.stop.received) if number is not None]
        return signal.Signals(found[0]) if found else None


def _never() -> None:
    """Nobody asks: the last validation is always finished."""


def _validation_due(task: Task, state: TrainState, ranks: Ranks) -> bool:
    """Whether the validation of this step is still to be made: before step 0, or where it was stopped on the way."""
    due = state.step == 0
    if ranks.is_main and not due and state.step % task.train.val_every == 0:
        entries = entries_of(task.metrics_path)
        due = not any(entry["kind"] == "val" and entry["step"] == state.step for entry in entries)
    return bool(ranks.broadcast(due))


def together(
    batches: Generator[Any, None, None], count: Callable[[Any], int], steps: int, ranks: Ranks
) -> Generator[tuple[Any, int], None, None]:
    """This rank's share of each batch to come, and what it weighs on all ranks together.

    Where one rank's data fails, all stop, at the same step.
    """
    with closing(batches):
        for _ in range(steps):
            failure: Exception | None = None
            own = 0
            try:
                batch = next(batches)
                own = count(batch)
            except Exception as error:
                failure = error
            everywhere, failures = ranks.sum([own, failure is not None])
            if failures:
                with ranks.raise_on_all():
                    if failure is not None:
                        raise failure
            yield batch, int(everywhere)


def _ended(task: Task, state: TrainState, received: signal.Signals | None) -> Outcome:
    steps, step = task.train.steps, state.step
    if received and not step:
        log.info("%s: stopped before the first step; start again with: %s", received.name, task.resume)
        return Outcome(step, received, state.elapsed_s)
    if received and step < steps:
        log.info(
            "%s: stopped after step %d of %d and saved; continue with: %s", received.name, step, steps, task.resume
        )  # fmt: skip
        return Outcome(step, received, state.elapsed_s)
    log.info("step %d of %d done; checkpoints in %s", step, steps, task.checkpoints)
    return Outcome(step, None, state.elapsed_s)
