"""One function over many jobs in other processes, which end when this one does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
_AHEAD = 4  # jobs given out per process, so that none waits


def usable_cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[int, Result | Exception]]:
    """(number, result) of every job as it is done, or (number, error) of one that failed.

    By this process when there are fewer than two workers or jobs. OSError when a process is killed.
    """
    workers = min(workers, len(jobs))
    if workers < 2:
        for number, job in enumerate(jobs):
            yield number, _tried(function, job)
        return
    context = multiprocessing.get_context("spawn")  # a fork may copy another thread's locks
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare) as pool:
        running: dict[Future[Result | Exception], int] = {}
        given = 0
        try:
            while running or given < len(jobs):
                while given < len(jobs) and len(running) < _AHEAD * workers:
                    running[pool.submit(_tried, function, jobs[given])] = given
                    given += 1
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise OSError(
                "a process was killed (is memory short?); what is done is kept, so run it again, with fewer workers"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _tried(function: Callable[[Job], Result], job: Job) -> Result | Exception:
    """The result, or the error as a value: so one bad shard does not hide what the others are."""
    try:
        return function(job)
    except (ValueError, OSError) as error:
        return error


def _prepare() -> None:
    """Leave quietly when interrupted, and when the parent is gone, even by a kill."""
    signal.signal(signal.SIGINT, lambda *_: sys.exit(1))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        wait_for([parent.sentinel])
        os._exit(1)
