"""What a person sees while a run learns: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

_PLAIN_EVERY_S = 10.0


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

    def __init__(self, console: Console, steps: int, batch_size: int, step: int = 0) -> None:
        self._console, self._steps, self._batch_size = console, steps, batch_size
        self._val_loss = "-"
        self._printed_s = -_PLAIN_EVERY_S
        columns = (
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[line]}"),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task: TaskID = self._progress.add_task("", total=steps, completed=step, line="")

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, step: int) -> None:
        """Move the bar; the figures stay as they were."""
        self._progress.update(self._task, completed=step)

    def validated(self, loss: float) -> None:
        """Show this validation loss from now on."""
        self._val_loss = f"{loss:.4f}"

    def figures(self, step: int, loss: float, images_per_s: float, tflops: float) -> None:
        """Show the newest figures; off a terminal, print them every few seconds and at the end."""
        eta_s = (self._steps - step) * self._batch_size / images_per_s
        line = (
            f"loss {loss:.4f} · val {self._val_loss} · {images_per_s:,.0f} images/s · {tflops:.3g} TFLOP/s"
            f" · {_duration(eta_s)} left"
        )
        self._progress.update(self._task, completed=step, line=line)
        due = time.monotonic() - self._printed_s >= _PLAIN_EVERY_S or step == self._steps
        if not self._console.is_terminal and due:
            self._printed_s = time.monotonic()
            self._console.print(f"step {step}/{self._steps} · {line}", soft_wrap=True, highlight=False)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
