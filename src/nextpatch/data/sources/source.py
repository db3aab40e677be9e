"""A collection of images behind one small interface."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64


@runtime_checkable
class Samples(Protocol):
    """Encoded images by number. Cheap to send to a worker process."""

    name: str
    classes: tuple[str, ...]  # empty when there are no labels

    def __len__(self) -> int:
        """How many images."""
        ...

    def read(self, index: int) -> bytes:
        """The encoded image; OSError when it cannot be read."""
        ...

    def key(self, index: int) -> str:
        """What to call it in messages and logs: a path, or a file and row."""
        ...

    def label(self, index: int) -> int | None:
        """Its class, or None when it has none."""
        ...


@runtime_checkable
class Source(Samples, Protocol):
    """Samples in a fixed order that falls into shards: runs of samples that lie together.

    Where `random_access` is true any sample costs the same to read, and shards do not matter; where it is false a shard
    is best read as a whole, and the training order keeps to a few shards at a time.
    """

    digest: str  # SHA-256, in hexadecimal, of what the order of samples depends on: equal where the samples are
    shard_sizes: Int64[np.ndarray, " shards"]  # samples in each; their sum is len()
    random_access: bool
    remote: bool  # whether shards are fetched from another machine

    def prefetch(self, shard: int) -> None:
        """Bring a whole shard near, where that makes reading it faster; nothing otherwise. OSError when it fails."""
        ...


def digest_of(lines: Iterable[str]) -> str:
    """SHA-256, in hexadecimal, of lines of text."""
    total = hashlib.sha256()
    for line in lines:
        total.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return total.hexdigest()
