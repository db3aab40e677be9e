"""Batches of uint8 images: the endless training stream, and one exact pass for measuring."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.core.random import Stream, rng_at
from nextpatch.data.config import DataConfig
from nextpatch.data.decode import BadImage
from nextpatch.data.images import Images
from nextpatch.data.mixture import Mixture
from nextpatch.data.order import VERSION
from nextpatch.data.preprocessing import AS_OURS, Preprocessing
from nextpatch.data.skipped import Bad, check_budget, none_decodes, skipped
from nextpatch.data.sources.source import Samples, Source, digest_of
from nextpatch.data.storage.cache import default_cache
from nextpatch.data.storage.prefetch import Prefetcher
from nextpatch.data.views import eval_view, stacked, train_view
from nextpatch.data.workers import STALL_S, in_order

log = logging.getLogger(__name__)
KEEP_BYTES = 256 * 2**20  # decoded images in memory, all workers together
_ATTEMPTS = 10_000  # replacements tried for one position; a smaller collection is searched wholly


@dataclass
class Batch:
    """Images with where they stand in the run and what they are called."""

    images: UInt8[Tensor, "batch channels height width"]
    positions: Int64[Tensor, " batch"]
    labels: Int64[Tensor, " batch"]  # -1 where there is none
    keys: list[str]
    bad: Bad = field(default_factory=dict)  # left out on the way
    sizes: list[tuple[int, int]] = field(default_factory=list)  # height, width as decoded; of evaluation views only

    def pin_memory(self) -> Batch:
        """The same with the images in page-locked memory, from where they travel to a GPU in the background."""
        return Batch(self.images.pin_memory(), self.positions, self.labels, self.keys, self.bad, self.sizes)


@dataclass
class TrainStream:
    """The endless training stream over a source, in the order of a mixture.

    Position p of the run shows sample `mixture.at(p)`, cropped and flipped by chance that belongs to p alone. A sample
    that cannot be used is named in `bad` and in the log, once, and replaced by another that is again a pure function of
    p. So the stream is the same for any number of workers and from any start. Of every global batch, rank r of `ranks`
    makes the positions that are r modulo `ranks`: together the same batch for any number of them.
    """

    source: Source
    mixture: Mixture
    cfg: DataConfig
    img_size: tuple[int, int]
    channels: int
    seed: int
    workers: int = 0
    rank: int = 0
    ranks: int = 1
    bad: Bad = field(default_factory=dict)

    def __post_init__(self) -> None:
        room = KEEP_BYTES // max(1, self.workers)
        self._images = Images(self.source, self.channels, len(self.mixture), room, self.cfg.preprocessing)

    @property
    def digest(self) -> str:
        """SHA-256 of what decides which sample stands where, beside seed and settings: the samples and the rule."""
        return digest_of([VERSION, self.source.digest])

    def batches(self, start_position: int, batch_size: int) -> Generator[Batch, None, None]:
        """This rank's share of batches of `batch_size` consecutive positions, from `start_position` on, without end.

        DataError when no sample can be used, when more than `max_bad` of them cannot, or when workers keep dying.
        """
        if batch_size % self.ranks:
            raise UserError(f"a global batch of {batch_size} does not divide among {self.ranks} ranks")
        made = 0
        with self._fetched_ahead() as ahead:
            for batch in in_order(_Positions(self, start_position, batch_size), self.workers, self.cfg.stall_s):
                if ahead:
                    ahead.advance(start_position + made * self.ranks)
                log_new(batch.bad, self.bad)
                made += len(batch.keys)
                check_budget(self.bad, min(made + len(self.bad), len(self.mixture)), self.cfg.max_bad)
                yield batch

    def fetched_bytes(self, since: float) -> int | None:
        """Bytes that all processes fetched into the cache since a time (of time.time()); None when nothing is far."""
        return default_cache().fetched(since).bytes if self.source.remote else None

    def _fetched_ahead(self) -> AbstractContextManager[Prefetcher | None]:
        """Brings remote shards near before they are needed: those of this window of each stream, and of the next."""
        if not self.source.remote:
            return nullcontext()
        plan = partial(self.mixture.shards_from, windows=2, stripe=self.rank, stripes=self.ranks)
        return Prefetcher(self.source, plan)

    def batch_at(self, start: int, size: int) -> Batch:
        """This rank's share of the batch of positions start .. start + size - 1."""
        bad: Bad = {}
        first = start + (self.rank - start) % self.ranks
        positions = np.arange(first, start + size, self.ranks)
        planned = self.mixture.at(positions).tolist()
        shown: list[int] = []
        views = (self._view(p, index, shown, bad) for p, index in zip(positions.tolist(), planned, strict=True))
        images = stacked(views, len(positions))
        return _batch(images, positions, self.source, shown, bad)

    def _view(self, position: int, planned: int, shown: list[int], bad: Bad) -> Tensor:
        """The view at a position; the index of its image is added to `shown`, what is passed over goes into `bad`."""
        passed: Bad = {}
        for index in chain((planned,), islice(self.mixture.others(position), _ATTEMPTS)):
            try:
                image = self._images[index]
            except (BadImage, OSError) as error:
                passed[self.source.key(index)] = skipped(error, self.source.name)
                continue
            bad |= passed
            shown.append(index)
            return train_view(image, self.img_size, self.cfg, rng_at(self.seed, Stream.VIEW, position))
        raise none_decodes(self.source.name, passed)


@dataclass
class _Positions:
    """The batches of a stream by number."""

    stream: TrainStream
    start: int
    size: int

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, number: int) -> Batch:
        return self.stream.batch_at(self.start + number * self.size, self.size)


def eval_batches(
    source: Samples,
    indices: Sequence[int] | Int64[np.ndarray, " samples"],
    img_size: tuple[int, int],
    channels: int,
    batch_size: int,
    workers: int = 0,
    seen: Bad | None = None,
    preprocessing: Preprocessing = AS_OURS,
    stall_s: float = STALL_S,
) -> Iterator[Batch]:
    """One pass over `indices`, in order, each exactly once; positions are source indices, a batch may be short.

    Images that cannot be decoded are left out and named in a batch's `bad`, and in the log unless they are in `seen`,
    which several passes may share. `stall_s`: see `in_order`. Raises DataError when none can.
    """
    chunks = _Chunks(
        Images(source, channels, preprocessing=preprocessing), np.asarray(indices, dtype=np.int64), img_size, batch_size
    )
    seen = {} if seen is None else seen
    failed: Bad = {}
    waiting: Batch | None = None  # one batch behind, so that it can name what is left out after it
    for batch in in_order(chunks, workers, stall_s):
        log_new(batch.bad, seen)
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
        raise none_decodes(source.name, failed)
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
        views, kept, sizes = [], [], []
        bad: Bad = {}
        for index in self.indices[number * self.size : (number + 1) * self.size].tolist():
            try:
                image = self.images[index]
                views.append(eval_view(image, self.img_size, self.images.preprocessing))
                kept.append(index)
                sizes.append((image.shape[1], image.shape[2]))
            except (BadImage, OSError) as error:
                bad[source.key(index)] = skipped(error, source.name)
        none = torch.empty(0, self.images.channels, *self.img_size, dtype=torch.uint8)
        batch = _batch(stacked(views, len(views)) if views else none, kept, source, kept, bad)
        batch.sizes = sizes
        return batch


def _batch(
    images: UInt8[Tensor, "batch channels height width"],
    positions: Sequence[int] | Int64[np.ndarray, " batch"],
    source: Samples,
    indices: Sequence[int],
    bad: Bad,
) -> Batch:
    labels = [source.label(index) for index in indices]
    return Batch(
        images,
        torch.as_tensor(positions, dtype=torch.int64),
        torch.tensor([-1 if label is None else label for label in labels], dtype=torch.int64),
        [source.key(index) for index in indices],
        bad,
    )


def log_new(bad: Bad, seen: Bad) -> None:
    """Name each bad image once, with the count so far."""
    for key, entry in bad.items():
        if key not in seen:
            seen[key] = entry
            log.warning("skipped %s: %s (%d skipped so far)", key, entry.reason, len(seen))
