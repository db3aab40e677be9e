"""How far a long task has come: a live line on a terminal, a printed line every few seconds elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from nextpatch.core.console import current
from nextpatch.core.text import format_duration

_PLAIN_EVERY_S = 10.0
_PHASE_S = 2.0  # shorter ones are not worth a line


@contextmanager
def phase(what: str, console: Console | None = None) -> Iterator[None]:
    """Say what is done at the moment: something that moves on a terminal, elsewhere a line when it takes seconds."""
    console = console or current(stderr=True)
    if console.is_terminal:
        with console.status(what):
            yield
        return
    said = threading.Timer(_PHASE_S, console.print, (f"{what} ...",), {"soft_wrap": True, "highlight": False})
    said.daemon = True
    said.start()
    try:
        yield
    finally:
        said.cancel()


class LiveLine:
    """What is done of `total`, and figures: a line that moves on a terminal, and is printed now and then elsewhere.

    The first line off a terminal is printed after ten seconds, or at once with `at_once`. Enter it to show it.
    """

    def __init__(
        self,
        what: str,
        total: int,
        done: int = 0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        at_once: bool = False,
    ) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._printed_s = clock() - (_PLAIN_EVERY_S if at_once else 0.0)
        self._console = console or current(stderr=True)
        columns = (
            TextColumn("{task.description} {task.completed:,}/{task.total:,}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[line]}"),
        )
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task: TaskID = self._progress.add_task(what, total=total, completed=done, line="")

    def __enter__(self) -> LiveLine:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def move(self, done: int) -> None:
        """Move the bar of a live line; its figures stay as they were."""
        self._progress.update(self._task, completed=done)

    def restore(self, line: str) -> None:
        """Show these figures on a live line; nothing is printed elsewhere."""
        self._progress.update(self._task, line=line)

    def show(self, line: str, done: int | None = None, total: int | None = None, now: bool = False) -> None:
        """Show these figures, with what is `done` where it is given; off a terminal only when it is time, or `now`."""
        self._total = self._total if total is None else total
        self._progress.update(self._task, completed=done, total=self._total, line=line)
        if not self._console.is_terminal and (now or self._clock() - self._printed_s >= _PLAIN_EVERY_S):
            self._printed_s = self._clock()
            where = "" if done is None else f"{self._what} {done:,}/{self._total:,} · "
            self._console.print(f"{where}{line}", soft_wrap=True, highlight=False)


class Meter:
    """Things done of `total`, things per second of this session, and the time that the rest takes.

    Called with (done, total) it moves to there, so it can be handed to whoever reports so. What was done before this
    session, as `done` at the start, does not count for the speed.
    """

    def __init__(
        self,
        what: str,
        total: int,
        unit: str = "images",
        done: int = 0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._unit, self._clock = total, unit, clock
        self._first = self._done = done
        self._started_s = clock()
        self._live = LiveLine(what, total, done, console, clock)

    def __enter__(self) -> Meter:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started_s

    def add(self, count: int) -> None:
        """Count so many more as done."""
        self(self._done + count, self._total)

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        self._done, self._total = done, total
        self._live.show(self._line(), done, total)

    def _line(self) -> str:
        fresh = self._done - self._first
        rate = fresh / max(self.elapsed_s, 1e-9)
        if not fresh or not rate:
            return ""
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        return f"{shown} {self._unit}/s · {format_duration((self._total - self._done) / rate)} left"
