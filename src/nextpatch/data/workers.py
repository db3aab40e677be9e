"""The items of a dataset in order, made in this process or ahead of time in others, which may die."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch.utils.data import DataLoader, Dataset

from nextpatch.data.error import DataError

log = logging.getLogger(__name__)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
LOSSES = 3  # of workers one after the other without an item between them: the item kills them
_POLL_S = 5  # the loader looks for dead workers when nothing came for so long


@runtime_checkable
class Items(Protocol[T_co]):
    """What can be asked for by number: the same item for the same number, in any process."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> T_co: ...


def in_order(items: Items[T], workers: int, stall_s: float = 900) -> Iterator[T]:
    """Items 0, 1, 2 ... by this process (no workers) or by `workers` others; the same items either way.

    When a worker dies, or none yields anything for `stall_s` seconds, all are replaced and go on with the item that is
    due. DataError when that happens LOSSES times at the same item; what an item raises is raised here.
    """
    if workers == 0:
        yield from (_pinned(items[number]) for number in range(len(items)))
        return
    due, losses = 0, 0
    while due < len(items):
        crew = _Crew(items, due, workers)
        try:
            for outcome in crew.outcomes(stall_s):
                losses, due = 0, due + 1
                if isinstance(outcome, _Raised):
                    raise outcome.error
                yield outcome
        except _LostWorkerError as error:
            losses += 1
            if losses == LOSSES:
                raise DataError(
                    f"a data worker {error} at batch {due} of this session, {losses} times over; is memory short? "
                    "Fewer workers (data.workers) take less; 0 workers shows the error itself"
                ) from None
            log.warning("a data worker %s; started all %d again, nothing is lost", error, workers)
        finally:
            crew.dismiss()


class _Raised(NamedTuple):
    """An error on its way here: as a value it has no worker's traceback put around it."""

    error: Exception


class _LostWorkerError(Exception):
    """How a worker was lost."""


class _Guarded:
    """Items, or what they raise, so that any error of the loader's own means a lost worker."""

    def __init__(self, items: Items[Any]) -> None:
        self._items = items

    def __getitem__(self, number: int) -> Any:
        try:
            return self._items[number]
        except Exception as error:
            return _Raised(error.with_traceback(None))


class _Crew:
    """Worker processes that make the items from a number on."""

    def __init__(self, items: Items[Any], first: int, workers: int) -> None:
        before = set(multiprocessing.active_children())
        handler = signal.getsignal(signal.SIGCHLD)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # more workers than cores is the user's to decide
            self._loader = iter(
                DataLoader(
                    cast(Dataset[Any], _Guarded(items)),
                    batch_size=None,
                    sampler=range(first, len(items)),
                    num_workers=workers,
                    worker_init_fn=_prepare_worker,
                    pin_memory=torch.cuda.is_available(),
                    generator=torch.Generator(),  # or else the loader draws from the global one
                    timeout=_POLL_S,
                )
            )
        _restore(handler)
        self._processes: set[BaseProcess] = set(multiprocessing.active_children()) - before

    def outcomes(self, stall_s: float) -> Iterator[Any]:
        """Items in turn; _LostWorkerError when one cannot come any more."""
        while True:
            waiting_since = time.monotonic()
            while True:
                try:
                    outcome = next(self._loader)
                    break
                except StopIteration:
                    return
                except Exception as error:  # of the loader, not of an item
                    alive = all(process.is_alive() for process in self._processes)
                    if not alive or "timed out" not in str(error):
                        raise _LostWorkerError("died") from error
                    if time.monotonic() - waiting_since > stall_s:
                        raise _LostWorkerError(f"gave nothing for {stall_s:g} s") from None
            yield outcome

    def dismiss(self) -> None:
        """End the processes, stopped ones too, before the loader would wait for them.

        The loader then tells them to end by an event whose lock one of them may have held when it was killed, and would
        wait for it for ever: it is given another event, that nobody listens to.
        """
        for process in self._processes:
            process.kill()
        cast(Any, self._loader)._workers_done_event = threading.Event()
        del self._loader


def _restore(handler: Any) -> None:
    """Put the SIGCHLD handler back: torch's own raises wherever the main thread happens to be, mid-step too."""
    try:
        signal.signal(signal.SIGCHLD, handler if handler is not None else signal.SIG_DFL)
    except ValueError:
        """Not the main thread, where torch sets none."""


def _pinned(item: Any) -> Any:
    """In page-locked memory where that matters, as the loader does with what workers make."""
    return item.pin_memory() if torch.cuda.is_available() and hasattr(item, "pin_memory") else item


def _prepare_worker(_: Any) -> None:
    """One thread each; stopping is the main process's to decide, which needs batches until its step is done."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
