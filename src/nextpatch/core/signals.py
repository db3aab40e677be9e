"""Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP as a question asked between steps, not an exception in the middle of one."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)
)  # SIGUSR1 is what Slurm is asked to send before its time limit; SIGHUP comes when the terminal is closed


class StopSignals:
    """While open, the first of SIGNALS is noted in `.received`; the next one acts at once.

    SIGHUP is left alone where it was ignored from the start, as nohup has it. When it comes, output to the terminal
    that is gone goes nowhere, so that no line to print keeps a checkpoint from being saved.

    With `patient` the next ones do nothing: launchers and schedulers pass one signal on by several ways. Outside the
    main thread signals cannot be handled and nothing is noted.
    """

    def __init__(self, patient: bool = False) -> None:
        self._patient = patient
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in SIGNALS if not (_is_hang_up(number) and _ignored(number))]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self._acknowledge(signal.Signals(number))
        self.received = self.received or signal.Signals(number)
        if _is_hang_up(number):
            _leave_the_terminal()
        if not self._patient:
            self._restore()

    def _acknowledge(self, number: signal.Signals) -> None:
        """Say at once that it was heard: a step may take long. Written past all buffers, as a handler must."""
        again = "" if self._patient else "; a second one quits at once and loses the steps since the last checkpoint"
        if number is signal.SIGINT and os.environ.get("RANK", "0") == "0":
            with contextlib.suppress(OSError):
                told = f"\nnextpatch: {number.name}: stopping after this step and saving a checkpoint{again}\n"
                os.write(2, told.encode())

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _is_hang_up(number: int) -> bool:
    return signal.Signals(number).name == "SIGHUP"


def _ignored(number: int) -> bool:
    return signal.getsignal(number) == signal.SIG_IGN


def _leave_the_terminal() -> None:
    """What is printed from now on goes nowhere, where it went to a terminal: writing to a closed one is an error."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or not a file
            if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):  # isatty() says no of a closed terminal
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
