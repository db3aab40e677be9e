"""The items of a dataset in order, made in this process or ahead of time in others."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch.utils.data import DataLoader, Dataset

T = TypeVar("T", covariant=True)


@runtime_checkable
class Items(Protocol[T]):
    """What can be asked for by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> T: ...


def in_order(items: Items[T], workers: int) -> Iterator[T]:
    """Items 0, 1, 2 ... by this process (no workers) or by `workers` others; the same items either way."""
    if workers == 0:
        return (items[number] for number in range(len(items)))
    return iter(
        DataLoader(
            cast(Dataset[T], items),
            batch_size=None,
            sampler=range(len(items)),
            num_workers=workers,
            worker_init_fn=_prepare_worker,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # or else the loader draws from the global one
        )
    )


def _prepare_worker(_: Any) -> None:
    """One thread each; stopping is the main process's to decide, which needs batches until its step is done."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
