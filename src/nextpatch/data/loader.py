"""Batches of uint8 images: the endless training stream, and one exact pass for measuring."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from nextpatch.data.config import DataConfig
from nextpatch.data.decode import BadImage
from nextpatch.data.error import DataError
from nextpatch.data.images import Images, none_decodes
from nextpatch.data.order import REPLACE, VIEW, rng_at, sample_at
from nextpatch.data.sources.source import Samples, Source
from nextpatch.data.views import eval_view, train_view
from nextpatch.data.workers import in_order

log = logging.getLogger(__name__)
KEEP_BYTES = 256 * 2**20  # decoded images in memory, all workers together
_ATTEMPTS = 10_000  # replacements tried for one position; a smaller source is searched wholly


@dataclass
class Batch:
    """Images with where they stand in the run and what they are called."""

    images: UInt8[Tensor, "batch channels height width"]
    positions: Int64[Tensor, " batch"]
    labels: Int64[Tensor, " batch"]  # -1 where there is none
    keys: list[str]
    bad: dict[str, str] = field(default_factory=dict)  # key -> reason, of images left out on the way

    def pin_memory(self) -> Batch:
        """The same with the images in page-locked memory, from where they travel to a GPU in the background."""
        return Batch(self.images.pin_memory(), self.positions, self.labels, self.keys, self.bad)


@dataclass
class TrainStream:
    """The endless training stream over `indices` of a source.

    Position p of the run shows sample `sample_at(p)`, cropped and flipped by chance that belongs to p alone. A sample
    that cannot be decoded is named in `bad` and in the log, once, and replaced by another that is again a pure function
    of p. So the stream is the same for any number of workers and from any start.
    """

    source: Source
    indices: Int64[np.ndarray, " samples"]
    cfg: DataConfig
    img_size: tuple[int, int]
    channels: int
    seed: int
    workers: int = 0
    bad: dict[str, str] = field(default_factory=dict)  # key -> reason

    def __post_init__(self) -> None:
        self._images = Images(self.source, self.channels, len(self.indices), KEEP_BYTES // max(1, self.workers))

    def batches(self, start_position: int, batch_size: int) -> Iterator[Batch]:
        """Batches of `batch_size` consecutive positions, from `start_position` on, without end.

        Raises DataError when no sample can be decoded.
        """
        for batch in in_order(_Positions(self, start_position, batch_size), self.workers):
            if isinstance(batch, DataError):
                raise batch
            _log_new(batch.bad, self.bad)
            yield batch

    def batch_at(self, start: int, size: int) -> Batch:
        """The batch of positions start .. start + size - 1."""
        bad: dict[str, str] = {}
        positions = range(start, start + size)
        images, indices = zip(*(self._sample(position, bad) for position in positions), strict=True)
        return _batch(torch.stack(images), positions, self.source, indices, bad)

    def _sample(self, position: int, bad: dict[str, str]) -> tuple[Tensor, int]:
        """The view at a position and the index of its image; what is passed over goes into `bad`."""
        passed = {}
        for index in self._candidates(position):
            try:
                image = self._images[index]
            except BadImage as error:
                passed[self.source.key(index)] = str(error)
                continue
            bad |= passed
            return train_view(image, self.img_size, self.cfg, rng_at(self.seed, VIEW, position)), index
        raise none_decodes(self.source, passed)

    def _candidates(self, position: int) -> Iterator[int]:
        """The sample at a position, then its replacements: the epoch's order, all round, from a random place."""
        n = len(self.indices)
        yield int(self.indices[sample_at(position, n, self.seed)])
        epoch_start = position - position % n
        first = int(rng_at(self.seed, REPLACE, position).integers(n))
        for offset in range(first, first + min(n, _ATTEMPTS)):
            yield int(self.indices[sample_at(epoch_start + offset % n, n, self.seed)])


@dataclass
class _Positions:
    """The batches of a stream by number; an error travels as a value, so no worker's traceback is put around it."""

    stream: TrainStream
    start: int
    size: int

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, number: int) -> Batch | DataError:
        try:
            return self.stream.batch_at(self.start + number * self.size, self.size)
        except DataError as error:
            return error


def eval_batches(
    source: Samples,
    indices: Sequence[int] | Int64[np.ndarray, " samples"],
    img_size: tuple[int, int],
    channels: int,
    batch_size: int,
    workers: int = 0,
    seen: dict[str, str] | None = None,
) -> Iterator[Batch]:
    """One pass over `indices`, in order, each exactly once; positions are source indices, a batch may be short.

    Images that cannot be decoded are left out and named in a batch's `bad`, and in the log unless they are in `seen`,
    which several passes may share. Raises DataError when none can.
    """
    chunks = _Chunks(Images(source, channels), np.asarray(indices, dtype=np.int64), img_size, batch_size)
    seen = {} if seen is None else seen
    failed: dict[str, str] = {}
    waiting: Batch | None = None  # one batch behind, so that it can name what is left out after it
    for batch in in_order(chunks, workers):
        _log_new(batch.bad, seen)
        failed |= batch.bad
        if waiting and not batch.keys:
            waiting.bad |= batch.bad
            continue
        if waiting and waiting.keys:
            yield waiting
        elif waiting:
            batch.bad |= waiting.bad
        waiting = batch
    if not waiting or not waiting.keys:
        raise none_decodes(source, failed)
    yield waiting


@dataclass
class _Chunks:
    """Consecutive chunks of the indices by number, each as a batch without its bad images."""

    images: Images
    indices: Int64[np.ndarray, " samples"]
    img_size: tuple[int, int]
    size: int

    def __len__(self) -> int:
        return -(-len(self.indices) // self.size)

    def __getitem__(self, number: int) -> Batch:
        source = self.images.source
        views, kept, bad = [], [], {}
        for index in self.indices[number * self.size : (number + 1) * self.size].tolist():
            try:
                views.append(eval_view(self.images[index], self.img_size))
                kept.append(index)
            except BadImage as error:
                bad[source.key(index)] = str(error)
        none = torch.empty(0, self.images.channels, *self.img_size, dtype=torch.uint8)
        return _batch(torch.stack(views) if views else none, kept, source, kept, bad)


def _batch(
    images: UInt8[Tensor, "batch channels height width"],
    positions: Sequence[int],
    source: Samples,
    indices: Sequence[int],
    bad: dict[str, str],
) -> Batch:
    labels = [source.label(index) for index in indices]
    return Batch(
        images,
        torch.tensor(positions, dtype=torch.int64),
        torch.tensor([-1 if label is None else label for label in labels], dtype=torch.int64),
        [source.key(index) for index in indices],
        bad,
    )


def _log_new(bad: dict[str, str], seen: dict[str, str]) -> None:
    """Name each bad image once, with the count so far."""
    for key, reason in bad.items():
        if key not in seen:
            seen[key] = reason
            log.warning("skipped %s: %s (%d skipped so far)", key, reason, len(seen))
