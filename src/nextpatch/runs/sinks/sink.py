"""What a metric sink is, and the thread that hands it the entries: it may fail, the run goes on."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nextpatch.core.errors import FileError
from nextpatch.core.files import write_json
from nextpatch.core.reading import read_json
from nextpatch.runs.sinks.names import SINKS

log = logging.getLogger(__name__)
_WAITING = 10_000  # entries; one that finds so many before it is lost to its sink
_PATIENCE_S = 10.0  # at the end of a session, for what a sink has not taken yet
Entry = tuple[str, int, Mapping[str, float]]


@runtime_checkable
class Sink(Protocol):
    """A service that shows figures."""

    run_id: str  # by which the service knows this run when it goes on
    replaces: bool  # whether it takes entries of the same steps again in place of the old ones

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Take an entry; steps never fall within a session."""

    def close(self) -> None:
        """Hand over what is left."""


@dataclass(frozen=True)
class Session:
    """What a sink is opened with: the run's directory, the steps done, its values, and its id when it was known."""

    path: Path
    step: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = ""


class Delivery:
    """The entries on their way to one sink, in a thread: whoever logs them waits for nothing and hears of no failure.

    The first failure is a warning, the others are counted and told at the end. `RUN/sinks/NAME.json` holds the id by
    which the service knows the run and the last entry that it took, so that a resumed run goes on as the same one and
    what it replays is not there twice. `earlier` are the entries of sessions before: those that the sink never took are
    handed over first.
    """

    def __init__(self, name: str, session: Session, earlier: Sequence[Entry] = ()) -> None:
        self.name, self.failures = name, 0
        self._path = session.path / "sinks" / f"{name}.json"
        self._last = self._mark = _read(self._path)
        self._sink = self._opened(replace(session, run_id=str(self._last.get("run_id", ""))))
        self._queue: queue.Queue[Entry | None] = queue.Queue(_WAITING + len(earlier))
        for entry in earlier:
            self._queue.put_nowait(entry)
        self._thread = threading.Thread(target=self._work, name=f"metrics to {name}", daemon=True)
        self._thread.start()

    def put(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Send an entry on its way."""
        try:
            self._queue.put_nowait((kind, step, values))
        except queue.Full:
            self._failed("it is too slow")

    def close(self) -> None:
        """Wait a little for what is left, and say what never arrived."""
        try:
            self._queue.put_nowait(None)
            self._thread.join(_PATIENCE_S)
        except queue.Full:
            pass
        if self._thread.is_alive():
            self._failed(f"{self._queue.qsize()} entries still wait for it")
        if self.failures:
            log.warning("%s failed %d times; metrics.jsonl holds all entries", self.name, self.failures)

    def _opened(self, session: Session) -> Sink | None:
        """In the thread that trains: what a service imports and starts is there before data workers are forked."""
        try:
            sink: Sink = SINKS[self.name](session)
            if not sink.replaces:
                self._remember({**self._last, "run_id": sink.run_id})
            return sink
        except (Exception, SystemExit) as error:
            self._failed(error)
            return None

    def _work(self) -> None:
        sink = self._sink
        while (entry := self._queue.get()) is not None:
            if sink is None:
                self.failures += 1
            elif sink.replaces or not _taken(entry, self._last):
                self._hand_over(sink, entry)
        if sink is not None:
            self._tried(sink.close)

    def _hand_over(self, sink: Sink, entry: Entry) -> None:
        kind, step, values = entry
        if self._tried(lambda: sink.log(kind, step, values)) and not sink.replaces:
            kinds = [*(self._mark["kinds"] if self._mark.get("step") == step else ()), kind]
            self._tried(lambda: self._remember({"run_id": sink.run_id, "step": step, "kinds": kinds}))

    def _remember(self, mark: dict[str, Any]) -> None:
        self._mark = mark
        write_json(self._path, mark)

    def _tried(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except (Exception, SystemExit) as error:
            self._failed(error)
            return False
        return True

    def _failed(self, why: object) -> None:
        self.failures += 1
        if self.failures == 1:
            log.warning("%s cannot record this run's figures (%s); the run and metrics.jsonl continue", self.name, why)


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Of an entry, what a chart can show: its single numbers."""
    return {name: value for name, value in values.items() if isinstance(value, int | float) and name != "step"}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as texts by dotted name."""
    found: dict[str, str] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": str(value)}
    return found


def _taken(entry: Entry, last: Mapping[str, Any]) -> bool:
    """Whether the sink took this entry in a session before."""
    kind, step, _ = entry
    until = last.get("step", -1)
    return step < until or (step == until and kind in last.get("kinds", ()))


def _read(path: Path) -> dict[str, Any]:
    """Id and last entry; nothing, with a note, where the file is damaged: the service then sees a new run."""
    if not path.exists():
        return {}
    try:
        return read_json(path, "what a metric sink took", "remove it; the service then gets a new run")
    except FileError as error:
        log.warning("%s", error)
        return {}
