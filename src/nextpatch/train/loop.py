"""The one training loop: batch -> prefixes -> loss -> gradients -> update; measure, write down, save."""

from __future__ import annotations

import logging
import math
import signal
import time
from dataclasses import asdict, dataclass
from itertools import islice

import torch
from rich.console import Console

from nextpatch.data.loader import TrainStream
from nextpatch.model.aim import AIM
from nextpatch.model.count import train_step_flops
from nextpatch.train.compute import Compute
from nextpatch.train.heldout import HeldOut
from nextpatch.train.logs import Logs
from nextpatch.train.optimizer import build_optimizer, set_lr
from nextpatch.train.progress import Display, Throughput
from nextpatch.train.run import RunDir
from nextpatch.train.schedule import lr_at
from nextpatch.train.signals import StopSignals
from nextpatch.train.state import TrainState, load_state, save_state
from nextpatch.train.step import StepResult, accumulate_gradients, prefix_lengths, update
from nextpatch.train.validation import validation_loss

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


def fit(model: AIM, stream: TrainStream, held_out: HeldOut, run: RunDir, console: Console) -> Outcome:
    """Train `model` as the run's recipe says, from the run's newest checkpoint or, without one, from its weights as
    they are; returns after the last step, or after the step in which SIGINT or SIGTERM came.

    A resumed run equals an uninterrupted one bit for bit: sample order, views and prefixes are pure functions of (seed,
    position), and the rest is in the checkpoint. Raises NonFiniteError before an update with a loss or gradient that is
    not finite. Source: section 4.1, Table 10.
    """
    recipe, compute = run.recipe, Compute.of(run.recipe)
    train, batch_size = recipe.train, recipe.train.global_batch_size
    optimizer = build_optimizer(model, recipe.optim)
    begun = TrainState(train_images=len(stream.mixture), data_digest=stream.digest)
    state = load_state(run, model, optimizer, begun)
    run.truncate_metrics(state.step if state.step else -1)  # what a killed session wrote after its last checkpoint
    with (
        StopSignals() as stop,
        Logs(run.path, state.step, (stream.bad, held_out.bad)) as logs,
        Display(console, train.steps, batch_size, state.step) as display,
    ):
        book = _Book(model, stream, held_out, compute, logs, display, state)
        if state.step == 0:
            book.validate()
        for batch in islice(stream.batches(state.position, batch_size), train.steps - state.step):
            lr = lr_at(state.step, recipe.optim, train.steps)
            set_lr(optimizer, lr)
            prefix_len = prefix_lengths(model.cfg, train.seed, batch.positions)
            loss = accumulate_gradients(model, batch, prefix_len, train.micro_batch_size, compute)
            result = update(model, optimizer, loss, recipe.optim.clip_norm, batch, state.step + 1)
            book.stepped(result, len(batch.keys))

            last = state.step == train.steps
            if last or state.step % train.log_every == 0:
                book.log_training(lr, result.grad_norm)
            if last or state.step % train.val_every == 0:
                book.validate()
            if last or stop.received or state.step % train.checkpoint_every == 0:
                book.save(run, optimizer)
            logs.bad_samples()
            if stop.received:
                break
    return _ended(run, state.step, stop.received)


class _Book:
    """The loop's bookkeeping: what is measured, shown and saved between steps, and the clocks for it."""

    def __init__(
        self, model: AIM, stream: TrainStream, held_out: HeldOut, compute: Compute, logs: Logs, display: Display,
        state: TrainState,
    ) -> None:  # fmt: skip
        self.model, self.stream, self.held_out, self.compute = model, stream, held_out, compute
        self.logs, self.display, self.state = logs, display, state
        self._began_s = time.monotonic() - state.elapsed_s
        self._throughput = Throughput()
        self._fetched_until = time.time()

    def stepped(self, result: StepResult, images: int) -> None:
        """Count a step."""
        self.state.step += 1
        self.state.position += images
        self.state.losses.append(result.loss)
        self._throughput.add(images)
        self.display.step(self.state.step)

    def log_training(self, lr: float, grad_norm: float) -> None:
        """A "train" entry: mean loss and speed since the last one; rate and gradient norm of the last step."""
        state, images_per_s = self.state, self._throughput.take()
        loss = math.fsum(state.losses) / len(state.losses)
        state.losses.clear()
        tflops = images_per_s * train_step_flops(self.model.cfg) / 1e12
        self.logs.metric(
            "train", state.step, loss=loss, lr=lr, grad_norm=grad_norm, images=state.position,
            images_per_s=images_per_s, tflops=tflops, **self._fetched(), elapsed_s=self._elapsed_s(),
        )  # fmt: skip
        self.display.figures(state.step, loss, images_per_s, tflops)

    def _fetched(self) -> dict[str, float]:
        """What came from other machines since the last entry, in MiB per second; nothing where no data is far."""
        since, self._fetched_until = self._fetched_until, time.time()
        fetched = self.stream.fetched_bytes(since)
        if fetched is None:
            return {}
        return {"fetched_mib_per_s": fetched / 2**20 / max(1e-9, self._fetched_until - since)}

    def validate(self) -> None:
        """A "val" entry."""
        with self._throughput.paused():
            result = validation_loss(self.model, self.held_out, self.compute)
        self.state.validated(result.loss)
        self.logs.metric("val", self.state.step, **asdict(result), elapsed_s=self._elapsed_s())
        self.display.validated(result.loss)

    def save(self, run: RunDir, optimizer: torch.optim.Optimizer) -> None:
        """A checkpoint, after the metrics that lead up to it are on the disk."""
        with self._throughput.paused():
            self.logs.sync()
            self.state.elapsed_s = self._elapsed_s()
            save_state(run, self.model, optimizer, self.state)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s


def _ended(run: RunDir, step: int, received: signal.Signals | None) -> Outcome:
    steps = run.recipe.train.steps
    if received and step < steps:
        log.info(
            "%s: stopped after step %d of %d and saved; go on with: nextpatch pretrain --out %s --resume",
            received.name, step, steps, run.path,
        )  # fmt: skip
        return Outcome(run, step, received)
    log.info("step %d of %d done; checkpoints in %s", step, steps, run.checkpoints)
    return Outcome(run, step)
