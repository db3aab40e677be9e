"""Ctrl-C, SIGTERM and SIGUSR1 as a question asked between steps instead of an exception in the middle of one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)  # the last is what Slurm is asked to send before its time limit


class StopSignals:
    """While open, the first SIGINT, SIGTERM or SIGUSR1 is noted in `.received`; the next one acts at once.

    With `patient` the next ones do nothing: launchers and schedulers pass one signal on by several ways. Outside the
    main thread signals cannot be handled and nothing is noted.
    """

    def __init__(self, patient: bool = False) -> None:
        self._patient = patient
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        if not self._patient:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
