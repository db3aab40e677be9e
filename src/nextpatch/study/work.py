"""The commands of one run, one after the other, each in a process of its own; none is done again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextpatch.core.text import shown
from nextpatch.core.writer import InUseError, only_writer

PROGRAM = (sys.executable, "-m", "nextpatch.study.child")  # what a step's words are given to
_LOOK_S = 0.1
_LAST_LINES, _LINE = 4, 300  # of a log, that a failure is told by
Stopping = Callable[[], str]  # "": go on; "save": end after saving; "now": end at once


@dataclass(frozen=True)
class Step:
    """One command line, the file that is there when it has been done, and the output that it alone may write: a folder,
    or with `file` a file."""

    words: tuple[str, ...]
    result: Path
    writes: Path
    file: bool = False

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.result.is_file()


@dataclass(frozen=True)
class Work:
    """The steps of a run, by the name of its folder; `flops` are of its training."""

    name: str
    steps: tuple[Step, ...]
    log: Path
    flops: float = 0.0
    seed: int = 0

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return all(step.done for step in self.steps)


@dataclass(frozen=True)
class Ended:
    """How the work on a run ended: "done", "stopped" on request, or "failed" with the `reason`.

    `times` has a line for each command: which, how many seconds, on which host, with which exit code.
    """

    name: str
    how: str
    reason: str = ""
    times: tuple[dict[str, Any], ...] = ()


def perform(work: Work, env: Mapping[str, str], stopping: Stopping = lambda: "") -> Ended:
    """Do what is left of a run. A command that fails ends it; its output is in the log.

    Where another process writes to the same output - a study that shares the run, or the child of one that was killed -
    this waits for it.
    """
    times: list[dict[str, Any]] = []
    for step in work.steps:
        while not step.done:
            if stopping() or not _free(step, stopping):
                return Ended(work.name, "stopped", times=tuple(times))
            if step.done:
                break
            began_s = time.monotonic()
            code = _run(step, work.log, env, stopping)
            times.append(_time(work.name, step, time.monotonic() - began_s, code))
            if stopping() and not step.done:
                return Ended(work.name, "stopped", times=tuple(times))
            if not step.done and not _in_use(step):
                return Ended(work.name, "failed", _reason(step, work.log, code), tuple(times))
    return Ended(work.name, "done", times=tuple(times))


def _run(step: Step, log: Path, env: Mapping[str, str], stopping: Stopping) -> int:
    """The exit code of one command. Its terminal is the log, and Ctrl-C is for the study to pass on."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"$ nextpatch {' '.join(map(shown, step.words))}\n".encode())
        output.flush()
        with subprocess.Popen(
            [*PROGRAM, *step.words], stdin=subprocess.PIPE, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, **env},
        ) as process:  # fmt: skip
            return _watched(process, stopping)


def _watched(process: subprocess.Popen[bytes], stopping: Stopping) -> int:
    told = ""
    try:
        while True:
            try:
                return process.wait(_LOOK_S)
            except subprocess.TimeoutExpired:
                wanted = stopping()
            if wanted and wanted != told:
                told = wanted
                (process.kill if wanted == "now" else process.terminate)()
    except BaseException:  # as when Ray cancels its task: what is computed is saved
        process.terminate()
        process.wait()
        raise


def _in_use(step: Step) -> bool:
    try:
        with only_writer(step.writes, "study", file=step.file):
            return False
    except InUseError:
        return True


def _free(step: Step, stopping: Stopping) -> bool:
    """Wait until nobody else writes to the output; False where this is to stop before that."""
    while _in_use(step):
        if stopping():
            return False
        time.sleep(5 * _LOOK_S)
    return True


def _time(name: str, step: Step, elapsed_s: float, code: int) -> dict[str, Any]:
    return {"run": name, "command": step.words[0], "elapsed_s": round(elapsed_s, 2), "exit": code,
            "host": socket.gethostname(), "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z")}  # fmt: skip


def _reason(step: Step, log: Path, code: int) -> str:
    """What a command was, how it ended, and the last lines that it printed."""
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = [shown(line)[:_LINE] for line in lines[-_LAST_LINES:] if not line.startswith("$ ")]
    return "\n".join([f"nextpatch {step.words[0]} ended with {how}", *said])
