"""What a person sees while a run learns: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from rich.console import Console

from nextpatch.core.progress import LiveLine
from nextpatch.core.text import format_duration, plain

_LONG_S = 2.0
T = TypeVar("T")


class Throughput:
    """Images per second of training alone: the time inside `paused` (validation, checkpoints) does not count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start, self._paused_s, self._images = clock(), 0.0, 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time spent inside."""
        entered = self._clock()
        try:
            yield
        finally:
            self._paused_s += self._clock() - entered

    def add(self, images: int) -> None:
        """Count images that were trained on."""
        self._images += images

    def take(self) -> float:
        """Images per second since the last `take`."""
        now = self._clock()
        spent_s = max(now - self._start - self._paused_s, 1e-9)
        rate = self._images / spent_s
        self._start, self._paused_s, self._images = now, 0.0, 0
        return rate


class Display:
    """Steps, images/s, TFLOP/s, time left, loss and validation loss of a run of `steps` steps."""

    def __init__(
        self,
        console: Console,
        steps: int,
        batch_size: int,
        step: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._line = clock, ""
        self._first: tuple[int, float] | None = None  # step and time from which the speed is reckoned
        self._steps, self._batch_size = steps, batch_size
        self._val_loss, self._figures, self._step = "-", "", step
        self._live = LiveLine("step", steps, step, console, clock, at_once=True)

    def __enter__(self) -> Display:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def step(self, step: int) -> None:
        """Move the bar; the figures stay as they were, but where there are none yet, the speed so far is shown."""
        self._live.move(step)
        if self._line:
            return
        now = self._clock()
        if self._first is None:  # the first step of a session sets up what the others find ready
            self._first = (step, now)
        elif now > self._first[1]:
            step_s = (now - self._first[1]) / (step - self._first[0])
            left_s = (self._steps - step) * step_s
            self._live.show(f"{plain(step_s)} s a step · {format_duration(left_s)} left", step)

    def validating(self, batches: Iterable[T], rounds: int) -> Iterator[T]:
        """The batches, with how many of them were taken shown meanwhile."""
        began_s, waiting = self._clock(), self._first is None and not self._line
        for number, batch in enumerate(batches):
            if waiting or self._clock() - began_s > _LONG_S:  # off a terminal a short one is not worth a line
                self._live.show(f"validating: {number} of {rounds} batches")
            yield batch
        self._live.restore(self._line)

    def validated(self, loss: float, beside: Mapping[str, float] | None = None) -> None:
        """Show this validation loss from now on, with what was measured beside it; after the last step, which a
        validation follows, print it."""
        more = ", ".join(f"{name} {plain(value, 3)}" for name, value in (beside or {}).items())
        self._val_loss = f"{loss:.4f}" + (f" ({more})" if more else "")
        if self._figures:
            self._line = self._figures.format(self._val_loss)
            self._live.show(self._line, self._step, now=self._step == self._steps)

    def figures(self, step: int, loss: float, images_per_s: float, tflops: float | None, pauses_s: float = 0.0) -> None:
        """Show the newest figures; off a terminal, print them every few seconds. Those of the last step wait for its
        validation.

        `pauses_s`: what validations and checkpoints to come will take, beside the steps.
        """
        eta_s = (self._steps - step) * self._batch_size / images_per_s + pauses_s
        operations = "" if tflops is None else f" · {plain(tflops, 3)} TFLOP/s"
        self._step = step
        self._figures = (
            f"loss {loss:.4f} · val {{}} · {images_per_s:,.0f} images/s{operations} · {format_duration(eta_s)} left"
        )
        self._line = self._figures.format(self._val_loss)
        if step < self._steps:
            self._live.show(self._line, step)
