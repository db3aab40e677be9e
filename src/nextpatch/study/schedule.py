"""Several runs of a study at a time on this machine, and a stop that loses nothing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from nextpatch.core.machine import usable_cores
from nextpatch.study.work import Ended, RunWork, Stopping, perform

_LOOK_S = 0.2
CORES_PER_RUN = 2


class Stop:
    """Whether runs are asked to stop: `ask` once to save first, `now` to end at once."""

    def __init__(self) -> None:
        self._wanted = ""

    def __call__(self) -> str:
        """What `Stopping` says."""
        return self._wanted

    def ask(self) -> None:
        """Let every run end after it has saved."""
        self._wanted = self._wanted or "save"

    def now(self) -> None:
        """End every run at once."""
        self._wanted = "now"


def default_jobs(runs: int, devices: int) -> int:
    """How many runs at a time: one for each CUDA device, or one for every two processors."""
    return max(1, min(runs, devices or usable_cores() // CORES_PER_RUN))


def perform_all(
    works: Sequence[RunWork],
    environments: Sequence[dict[str, str]],
    stop: Stop,
    began: Callable[[str], None],
    look: Callable[[], None],
) -> Iterator[Ended]:
    """RunWork on all, as many at a time as there are `environments`, in order; each as it ends.

    `began` is called with a run's name before it is worked on, `look` several times a second, both by the thread that
    iterates. When that is left early, everything ends.
    """
    waiting, ended = iter(works), queue.SimpleQueue[Ended | BaseException]()
    threads: dict[str, threading.Thread] = {}
    free = list(environments)

    def begin(work: RunWork, env: dict[str, str]) -> None:
        def run() -> None:
            ended.put(_ended(work, env, stop))
            free.append(env)

        threads[work.name] = threading.Thread(target=run, name=work.name)
        threads[work.name].start()

    with _all_ended(threads, stop):
        while True:
            while free and not stop() and (work := next(waiting, None)) is not None:
                began(work.name)
                begin(work, free.pop(0))
            if not threads:
                return
            look()
            try:
                found = ended.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if isinstance(found, BaseException):
                raise found
            threads.pop(found.name).join()
            yield found


def _ended(work: RunWork, env: dict[str, str], stopping: Stopping) -> Ended | BaseException:
    try:
        return perform(work, env, stopping)
    except BaseException as error:
        return error


@contextmanager
def _all_ended(threads: dict[str, threading.Thread], stop: Stop) -> Iterator[None]:
    """No process of a run is left behind, however this ends."""
    try:
        yield
    except BaseException:
        stop.now()
        raise
    finally:
        for thread in threads.values():
            thread.join()
