"""The loop's bookkeeping: what is measured, shown and saved between steps, and the clocks for it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

from nextpatch.dist.agreement import Agreed
from nextpatch.dist.ranks import Ranks
from nextpatch.runs.logs import Logs
from nextpatch.train.guard import Decision, decide_validation
from nextpatch.train.learner import Learner, Stopped, Task
from nextpatch.train.progress import Display, Throughput
from nextpatch.train.saving import Saver
from nextpatch.train.state import TrainState
from nextpatch.train.step import BadStepError, stopped

log = logging.getLogger(__name__)
_BESIDE = ("ema_loss", "bits_per_dim", "paper_loss", "perplexity", "accuracy")  # of a validation, shown behind its loss


class Recorder:
    """Entries, figures and checkpoints of one session of a run."""

    def __init__(
        self, learner: Learner, task: Task, logs: Logs, display: Display, state: TrainState, ranks: Ranks
    ) -> None:
        self.learner, self.guard, self.train = learner, task.guard, task.train
        self._validation_s = self._save_s = 0.0
        self.logs, self.display, self.state, self.ranks = logs, display, state, ranks
        self._grad_norm = 0.0
        self._began_s = time.monotonic() - state.elapsed_s
        self._throughput = Throughput()

    def trouble(self, decision: Decision, text: str) -> None:
        """Write down a bad step with its images; BadStepError when it is the run's last. One short line when it is not
        left out: clipping takes care of it, and the images are in metrics.jsonl."""
        if decision.action == "stop":
            raise stopped(text, self.learner.advice)
        if self.ranks.is_main and decision.action == "skip":
            log.warning("%s; the step was skipped", text)
        elif self.ranks.is_main:
            log.warning("step %d: %s; its images are in metrics.jsonl", self.state.step + 1, decision.trouble)
        self.logs.metric("guard", self.state.step + 1, action=decision.action, trouble=text)

    def stepped(self, agreed: Agreed, decision: Decision, images: int) -> None:
        """Count a step."""
        self.state.step += 1
        self.state.position += images
        if decision.action == "apply":
            self.state.losses.append(agreed.loss)
            self._grad_norm = agreed.grad_norm
        self._throughput.add(images)
        self.display.step(self.state.step)

    def log_training(self, lr: float) -> None:
        """A "train" entry: mean loss and speed since the last one; rate of the last step, gradient norm of the last
        one taken; nothing when every step since was skipped."""
        if not self.state.losses:
            return
        state, images_per_s = self.state, self._throughput.take()
        loss = math.fsum(state.losses) / len(state.losses)
        state.losses.clear()
        figures = self.learner.figures(images_per_s)
        self.logs.metric(
            "train", state.step, loss=loss, lr=lr, grad_norm=self._grad_norm, images=state.position,
            images_per_s=images_per_s, **figures, elapsed_s=self._elapsed_s(),
        )  # fmt: skip
        self.display.figures(state.step, loss, images_per_s, figures.get("tflops"), self._pauses_s())

    def validate(self, stopped: Stopped = lambda: False) -> bool:
        """A "val" entry; False, and none, when it was stopped on the way."""
        began_s = time.monotonic()
        with self._throughput.paused():
            found = self.learner.validate(self.display.validating, stopped, self.state.step == self.train.steps)
        if found is None:
            return False
        self._validation_s = time.monotonic() - began_s
        if found:
            self._validated(found)
        return True

    def _validated(self, found: Mapping[str, Any]) -> None:
        loss = float(found["loss"])
        self.state.validated(loss)
        self.logs.metric("val", self.state.step, **found, elapsed_s=self._elapsed_s())
        self.display.validated(loss, {name: found[name] for name in _BESIDE if name in found})
        decision = decide_validation(self.guard, loss)
        if decision.trouble:
            self.logs.metric("guard", self.state.step, action=decision.action, trouble=decision.trouble)
            if decision.action == "stop":
                raise BadStepError(f"step {self.state.step}: {decision.trouble}")
            if self.ranks.is_main:
                log.warning("step %d: %s", self.state.step, decision.trouble)

    def save(self, saver: Saver) -> None:
        """A checkpoint, after the metrics that lead up to it are on the disk."""
        began_s = time.monotonic()
        with self._throughput.paused():
            self.logs.sync()
            self.state.elapsed_s = self._elapsed_s()
            saver.save(self.state)
        self._save_s = time.monotonic() - began_s

    def _pauses_s(self) -> float:
        """What validations and checkpoints to come will take, if they take as long as the last ones."""
        train, step = self.train, self.state.step
        validations = -(-train.steps // train.val_every) - step // train.val_every
        saves = -(-train.steps // train.checkpoint_every) - step // train.checkpoint_every
        return validations * self._validation_s + saves * self._save_s

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s
