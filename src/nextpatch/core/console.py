"""Where progress and messages go: a terminal, a notebook's cell, a file, or nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console

_WIDTH = 110  # of a notebook's cell, which does not say it
_chosen: ContextVar[Console | None] = ContextVar("console", default=None)


def current(stderr: bool = False) -> Console:
    """The console that a caller has chosen for all that it calls, or the process's own output."""
    return _chosen.get() or Console(stderr=stderr)


@contextmanager
def chosen(quiet: bool) -> Iterator[Console]:
    """All that is called inside, in this thread, writes to one console: a plain one, or with `quiet` none.

    In a notebook these are lines of plain text: a live line needs widgets there, and a saved notebook loses it.
    """
    console = Console(quiet=quiet)
    if console.is_jupyter:
        console = Console(quiet=quiet, force_jupyter=False, force_terminal=False, width=_WIDTH)
    before = _chosen.set(console)
    try:
        yield console
    finally:
        _chosen.reset(before)
