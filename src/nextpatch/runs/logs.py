"""What a run writes down as it goes: metrics.jsonl, its metric sinks, bad_samples.jsonl and log.txt."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from nextpatch.core.files import write_text
from nextpatch.core.reading import read_jsonl
from nextpatch.data.skipped import Bad
from nextpatch.runs.sinks.names import chosen
from nextpatch.runs.sinks.sink import Delivery, Entry, Session, numbers

log = logging.getLogger(__name__)


class Logs:
    """Entries of one run, appended after `step`; every line reaches the file at once, so a killed run loses none.

    `watched` are the bad samples that others find while the run goes on; leaving writes down what is new among them.
    Of several ranks only the leading one writes: `silent` turns all this into nothing. `sinks` names the services that
    get the numbers as well (see `nextpatch.runs.sinks.names`), and with them `values`, the run's configuration.
    """

    def __init__(
        self, path: Path, step: int = 0, watched: Sequence[Bad] = (), silent: bool = False,
        sinks: Sequence[str] = ("auto",), values: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._watched, self._silent = watched, silent
        if silent:
            return
        self._metrics = (path / "metrics.jsonl").open("a", encoding="utf-8", buffering=1)
        self._bad_path = path / "bad_samples.jsonl"
        self._bad_known = _keys(self._bad_path)
        session = Session(path, step, values or {})
        self._sinks = [Delivery(name, session, _earlier(path, name)) for name in chosen(sinks)]

    def __enter__(self) -> Logs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._silent:
            return
        self.bad_samples()
        self._metrics.close()
        for sink in self._sinks:
            sink.close()

    def metric(self, kind: str, step: int, **values: Any) -> None:
        """One line of metrics.jsonl; the single numbers of it also go to the sinks.

        A number that is not finite is null there, for JSON has none, and "not_finite" says of which value what it was.
        """
        if self._silent:
            return
        odd = {name: word for name, value in values.items() if (word := _not_finite(value))}
        plain = {name: _null(value) if name in odd else value for name, value in values.items()}
        more = {"not_finite": odd} if odd else {}
        self._metrics.write(json.dumps({"kind": kind, "step": step, **plain, **more}, allow_nan=False) + "\n")
        for sink in self._sinks:
            sink.put(kind, step, numbers(values))

    def bad_samples(self) -> None:
        """Name the samples that could not be used, each once in the life of the run."""
        if self._silent:
            return
        fresh = {key: entry for bad in self._watched for key, entry in bad.items() if key not in self._bad_known}
        if fresh:
            with self._bad_path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps({"key": key, **entry._asdict()}) + "\n" for key, entry in fresh.items())
            self._bad_known |= fresh.keys()

    def sync(self) -> None:
        """Metrics are on the disk: called before a checkpoint, which must not outlive them."""
        if not self._silent:
            os.fsync(self._metrics.fileno())


def entries_of(path: Path) -> list[dict[str, Any]]:
    """The entries of a metrics.jsonl in the order of their steps; what has no kind or no step is passed over and told.

    FileError for what cannot be read.
    """
    found = read_jsonl(path)
    known = [one for one in found if isinstance(one.get("kind"), str) and type(one.get("step")) is int]
    if odd := len(found) - len(known):
        log.warning("%s: %d lines without a kind and a step were passed over", path, odd)
    return sorted(known, key=lambda entry: entry["step"])


def truncate_metrics(path: Path, step: int) -> None:
    """Keep only entries up to `step`: a killed session may have written some after its last checkpoint."""
    if path.exists():
        kept = [entry for entry in entries_of(path) if entry["step"] <= step]
        write_text(path, "".join(json.dumps(entry) + "\n" for entry in kept))


def tell_missing(path: Path, step: int, begins: int = 0) -> None:
    """Warn when a run at `step` has no entry of its start, which every run writes: nothing else will show it.

    `begins` is the step of that entry.
    """
    if step <= begins:
        return
    first = min((entry["step"] for entry in entries_of(path)), default=step + 1)
    if first > begins:
        log.warning("%s holds nothing of the steps before %d: it was lost or changed", path, first)


def _not_finite(value: Any) -> str:
    """The first number in a value, or in a list of them, that is not finite, as a word; empty where all are."""
    numbers = value if isinstance(value, list | tuple) else [value]
    return next((str(n) for n in numbers if isinstance(n, float) and not math.isfinite(n)), "")


def _null(value: Any) -> Any:
    """None in place of every number that is not finite."""
    if isinstance(value, list | tuple):
        return [_null(one) for one in value]
    return None if _not_finite(value) else value


def _keys(path: Path) -> set[str]:
    """Keys already in bad_samples.jsonl; a last line torn by a kill is cut off, to be written again."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)
    return {entry["key"] for entry in read_jsonl(path) if isinstance(entry.get("key"), str)}


def _earlier(path: Path, sink: str) -> list[Entry]:
    """The entries of the sessions before, for a sink to take those that it lacks; TensorBoard's files have theirs."""
    if sink == "tensorboard":
        return []
    return [(entry["kind"], entry["step"], numbers(entry)) for entry in entries_of(path / "metrics.jsonl")]


class _ConsoleHandler(logging.Handler):
    """Messages above the live line of the same console; errors end the command and are printed by it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self.addFilter(lambda record: record.levelno < logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(self.format(record), soft_wrap=True, markup=False, highlight=False)


@contextmanager
def log_to(path: Path, console: Console) -> Iterator[None]:
    """Send what nextpatch logs to the file (with time and level) and to the console, while inside."""
    to_file = logging.FileHandler(path, encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handlers = (to_file, _ConsoleHandler(console))
    logger = logging.getLogger("nextpatch")
    level = logger.level
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
