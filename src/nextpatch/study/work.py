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

PROGRAM = (sys.executable, "-m", "nextpatch.study.child")  # what a command's words are given to
_LOOK_S = 0.1
_LAST_LINES, _LINE = 4, 1000  # of a log, that a failure is told by
Stopping = Callable[[], str]  # "": go on; "save": end after saving; "now": end at once


@dataclass(frozen=True)
class Command:
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
class RunWork:
    """The commands of a run, by the name of its folder; `flops` are of its training."""

    name: str
    commands: tuple[Command, ...]
    log: Path
    flops: float = 0.0
    seed: int = 0

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return all(command.done for command in self.commands)


@dataclass(frozen=True)
class Ended:
    """How the work on a run ended: "done", "stopped" on request, or "failed" with the `reason`.

    `times` has a line for each command: which, how many seconds, on which host, with which exit code.
    """

    name: str
    how: str
    reason: str = ""
    times: tuple[dict[str, Any], ...] = ()


def perform(work: RunWork, env: Mapping[str, str], stopping: Stopping = lambda: "") -> Ended:
    """Do what is left of a run. A command that fails ends it; its output is in the log.

    Where another process writes to the same output - a study that shares the run, or the child of one that was killed -
    this waits for it.
    """
    times: list[dict[str, Any]] = []
    for command in work.commands:
        while not command.done:
            if stopping() or not _free(command, stopping):
                return Ended(work.name, "stopped", times=tuple(times))
            if command.done:
                break
            began_s = time.monotonic()
            code = _run(command, work.log, env, stopping)
            times.append(_time(work.name, command, time.monotonic() - began_s, code))
            if stopping() and not command.done:
                return Ended(work.name, "stopped", times=tuple(times))
            if not command.done and not _in_use(command):
                return Ended(work.name, "failed", _reason(command, work.log, code), tuple(times))
    return Ended(work.name, "done", times=tuple(times))


def _run(command: Command, log: Path, env: Mapping[str, str], stopping: Stopping) -> int:
    """The exit code of one command. Its terminal is the log, and Ctrl-C is for the study to pass on."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"$ nextpatch {' '.join(map(shown, command.words))}\n".encode())
        output.flush()
        with subprocess.Popen(
            [*PROGRAM, *command.words], stdin=subprocess.PIPE, stdout=output,
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


def _in_use(command: Command) -> bool:
    try:
        with only_writer(command.writes, "study", file=command.file):
            return False
    except InUseError:
        return True


def _free(command: Command, stopping: Stopping) -> bool:
    """Wait until nobody else writes to the output; False where this is to stop before that."""
    while _in_use(command):
        if stopping():
            return False
        time.sleep(5 * _LOOK_S)
    return True


def _time(name: str, command: Command, elapsed_s: float, code: int) -> dict[str, Any]:
    return {"run": name, "command": command.words[0], "elapsed_s": round(elapsed_s, 2), "exit": code,
            "host": socket.gethostname(), "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z")}  # fmt: skip


def _reason(command: Command, log: Path, code: int) -> str:
    """What a command was, how it ended, and the error that it told, or else the last lines that it printed."""
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    text = log.read_text(encoding="utf-8", errors="replace").rpartition("$ nextpatch ")[2]
    lines = [shown(line.strip())[:_LINE] for line in text.splitlines()[1:] if line.strip()]
    told = [line for line in lines if line.startswith("nextpatch: error: ")][-1:] if code > 0 else []
    return "\n".join([f"nextpatch {command.words[0]} ended with {how}", *(told or lines[-_LAST_LINES:])])
