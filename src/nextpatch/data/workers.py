"""The items of a dataset in order, made in this process or ahead of time in others, which may die."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch

from nextpatch.core.processes import UnsentError, Worker, WorkerLostError, WorkerPool
from nextpatch.data.error import DataError
from nextpatch.data.transport import TensorTransport

log = logging.getLogger(__name__)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
LOSSES = 3  # of workers one after the other without an item between them: the item kills them
STALL_S = 900.0  # without an item: the workers count as stuck
_AHEAD = 2  # items that each worker makes ahead


@runtime_checkable
class MapDataset(Protocol[T_co]):
    """What can be asked for by number: the same item for the same number, in any process."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> T_co: ...


def in_order(items: MapDataset[T], workers: int, stall_s: float = STALL_S) -> Iterator[T]:
    """Items 0, 1, 2 ... by this process (no workers) or by `workers` others; the same items either way.

    When a worker dies, or none yields anything for `stall_s` seconds, all are replaced and go on with the item that is
    due. DataError when that happens LOSSES times at the same item, or when an item cannot be sent; what an item raises
    is raised here.
    """
    if workers == 0:
        yield from (_pinned(items[number]) for number in range(len(items)))
        return
    due, losses = 0, 0
    while due < len(items):
        try:
            for item in _made_ahead(items, due, workers, stall_s):
                losses, due = 0, due + 1
                yield _pinned(item)
        except WorkerLostError as error:
            losses += 1
            if losses == LOSSES:
                raise DataError(
                    f"a data worker {error} at batch {due} of this session, {losses} times over; is memory short? "
                    "Fewer workers (data.workers) take less; 0 workers shows the error itself"
                ) from None
            log.warning("a data worker %s; started all %d again, nothing is lost", error, workers)
        except UnsentError as error:
            raise DataError(
                f"batch {due} of this session could not be sent by its data worker: {error}. Give fewer workers "
                "(data.workers; 0 needs none), or raise what is short"
            ) from None


def _made_ahead(items: MapDataset[T], first: int, workers: int, stall_s: float) -> Iterator[T]:
    """The items from a number on, by workers in turn; WorkerLostError when one cannot be had any more."""
    with ExitStack() as stack:
        pool = _started(stack, items, workers)
        for number in range(first, min(len(items), first + workers * _AHEAD)):
            pool[(number - first) % workers].ask(number)
        for due in range(first, len(items)):
            worker = pool[(due - first) % workers]
            item = worker.answer(stall_s)
            if (number := due + workers * _AHEAD) < len(items):
                worker.ask(number)
            yield item


def _started(stack: ExitStack, items: MapDataset[Any], workers: int) -> list[Worker]:
    context = multiprocessing.get_context()
    try:
        return stack.enter_context(WorkerPool(context, workers, _MakeItem(items), TensorTransport()))
    except OSError as error:
        raise DataError(
            f"{workers} data workers cannot be started: {error}. Give fewer (data.workers; 0 needs none), or raise the "
            "limit of the system (ulimit -n, ulimit -u)"
        ) from None


class _MakeItem:
    """What a worker does: it makes items, with one thread."""

    def __init__(self, items: MapDataset[Any]) -> None:
        self._items = items

    def __call__(self, number: int) -> Any:
        torch.set_num_threads(1)
        return self._items[number]


def _pinned(item: Any) -> Any:
    """In page-locked memory where that matters: a GPU fetches it from there in the background."""
    return item.pin_memory() if torch.cuda.is_available() and hasattr(item, "pin_memory") else item
