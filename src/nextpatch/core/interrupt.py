"""Ctrl-C while nothing has begun that could be lost: one line, and the process ends at once, whatever it imports."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
_SHOW_CURSOR = "\r\x1b[2K\x1b[?25h"  # a line that moved hides it


def exit_now(number: int, frame: FrameType | None) -> None:
    """Say so and end. KeyboardInterrupt would not do: amid an import a library may take it for a missing module."""
    try:
        if os.environ.get("RANK", "0") == "0":
            os.write(2, f"{_SHOW_CURSOR if os.isatty(2) else ''}nextpatch: interrupted\n".encode())
    except OSError:
        pass  # nobody reads it
    finally:
        os._exit(INTERRUPTED)


def exit_silently(number: int, frame: FrameType | None) -> None:
    """End without a word: it has been said."""
    os._exit(INTERRUPTED)


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """Inside, Ctrl-C ends the process; a SIGINT that is ignored or handled by someone else is left alone."""
    try:
        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if ours:
            signal.signal(signal.SIGINT, exit_now)
    except ValueError:  # not the main thread, which alone hears signals
        ours = False
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupted() -> int:
    """Say so, and let the next Ctrl-C end the interpreter that is being taken down; returns the exit code."""
    print("nextpatch: interrupted", file=sys.stderr, flush=True)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, exit_silently)
    return INTERRUPTED
