"""One call from Python: where its output goes, and the state of the process restored however the call ends."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NoReturn

import torch
from rich.console import Console

from nextpatch.core.console import chosen


class Stopped(KeyboardInterrupt):
    """Ctrl-C, or a notebook's stop, after everything was saved; the message says how to go on."""


@contextmanager
def session(quiet: bool = False) -> Iterator[Console]:
    """What is called inside talks to this console; threads of torch and handlers of logging are put back behind it."""
    threads, nothing = torch.get_num_threads(), logging.NullHandler()
    logger = logging.getLogger("nextpatch")
    with ExitStack() as undo:
        console = undo.enter_context(chosen(quiet))
        undo.callback(torch.set_num_threads, threads)
        if quiet:  # or Python itself prints warnings that nobody handles
            logger.addHandler(nothing)
            undo.callback(logger.removeHandler, nothing)
        yield console


def leave(received: signal.Signals, said: str) -> NoReturn:
    """Stopped for Ctrl-C; any other signal meets now whoever would have had it, since what it asked for is done."""
    if received is not signal.SIGINT:
        signal.raise_signal(received)
    raise Stopped(said)
