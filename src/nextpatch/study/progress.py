"""How far a whole study has come, and how long the rest will take at the speed of the runs that have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console

from nextpatch.core.progress import LiveLine
from nextpatch.core.text import format_duration
from nextpatch.runs.logs import entries_of
from nextpatch.study.work import Ended, RunWork

_LOOK_EVERY_S = 5.0


class StudyProgress:
    """A line for the study: runs done, what is computed now and how far, the time that is left.

    The rest takes the operations of its trainings, at the operations per second of the runs that have ended in this
    session, measurements included, as many at a time as now. Before one has ended, no time is told.
    """

    def __init__(
        self, what: str, works: Sequence[RunWork], steps: Mapping[str, int], runs: Path, jobs: int, console: Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._works = {work.name: work for work in works}
        self._steps, self._runs, self._jobs, self._clock = steps, runs, jobs, clock
        self._began_s: dict[str, float] = {}
        self._ended: dict[str, float] = {}  # seconds, of those of this session
        self._left = {work.name for work in works if not work.done}
        self._looked_s = -_LOOK_EVERY_S
        self._live = LiveLine(what, len(works), len(works) - len(self._left), console, clock)
        self._console = console

    def __enter__(self) -> StudyProgress:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def began(self, name: str) -> None:
        """A run is worked on from now."""
        self._began_s[name] = self._clock()

    def ended(self, ended: Ended, said: str) -> None:
        """A run has ended; `said` goes above the line."""
        began_s = self._began_s.pop(ended.name, self._clock())
        if ended.how == "done":
            self._ended[ended.name] = self._clock() - began_s
        if ended.how != "stopped":
            self._left.discard(ended.name)
        self._console.print(said, markup=False, highlight=False, soft_wrap=True)
        self._looked_s = -_LOOK_EVERY_S
        self.look()

    def look(self) -> None:
        """Show how far it is, every few seconds."""
        if self._clock() - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = self._clock()
        parts = {name: self._share(name) for name in list(self._began_s)}
        at = ", ".join(
            f"{name} {100 * part:.0f} %" if part < 1 else f"measuring {name}" for name, part in parts.items()
        )
        left = self.left_s(parts)
        line = " · ".join(filter(None, (at, f"about {format_duration(left)} left" if left else "")))
        self._live.show(line, len(self._works) - len(self._left))

    def left_s(self, parts: Mapping[str, float]) -> float | None:
        """Seconds that the rest takes; `parts` are the shares of running trainings that are done."""
        spent = sum(self._ended.values())
        if not spent or not any(self._works[name].flops for name in self._ended):
            return None
        speed = sum(self._works[name].flops for name in self._ended) / spent
        rest = sum(self._works[name].flops * (1 - parts.get(name, 0.0)) for name in self._left)
        return rest / speed / max(1, min(self._jobs, len(self._left)))

    def _share(self, name: str) -> float:
        entries = entries_of(self._runs / name / "metrics.jsonl")
        return min(1.0, entries[-1]["step"] / self._steps[name]) if entries else 0.0  # a tokenizer has none
