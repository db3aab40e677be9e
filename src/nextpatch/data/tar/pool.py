"""One function over many jobs in other processes, which end when this one does."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import TypeVar

from nextpatch.core.processes import UnsentError, Worker, WorkerLostError, WorkerPool, wait_for_any

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[int, Result | Exception]]:
    """(number, result) of every job as it is done, or (number, error) of one that failed.

    By this process when there are fewer than two workers or jobs. OSError when a process is killed.
    """
    workers = min(workers, len(jobs))
    if workers < 2:
        for number, job in enumerate(jobs):
            yield number, _tried(lambda job=job: function(job))  # type: ignore[misc]
        return
    left, working = iter(enumerate(jobs)), dict[Worker, int]()
    context = multiprocessing.get_context("spawn")  # a fork may copy another thread's locks
    resource_tracker.ensure_running()  # it would else undo, amid our start, that workers do not hear signals
    try:
        with WorkerPool(context, workers, function) as pool:
            for worker in pool:
                _give(worker, left, working)
            while working:
                for worker in wait_for_any(list(working)):
                    number, result = working.pop(worker), _tried(worker.answer)
                    _give(worker, left, working)
                    yield number, result
    except WorkerLostError as error:
        raise OSError(
            f"a process {error} (is memory short?); what is done is kept, so run it again, with fewer workers"
        ) from None


def _give(worker: Worker, left: Iterator[tuple[int, Job]], working: dict[Worker, int]) -> None:
    """The next job, where there is one."""
    for number, job in left:
        worker.ask(job)
        working[worker] = number
        return


def _tried(action: Callable[[], Result]) -> Result | Exception:
    """The result, or the error as a value: so one bad shard does not hide what the others are."""
    try:
        return action()
    except UnsentError as error:
        return OSError(f"a result cannot be sent: {error}")
    except (ValueError, OSError) as error:
        return error
