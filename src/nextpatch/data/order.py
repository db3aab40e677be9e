"""Which sample stands at a position of the run: a pure function of (seed, position), so a run's state is one number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt64

from nextpatch.core.errors import UserError
from nextpatch.core.random import Stream
from nextpatch.data.permute import key_of, permuted

VERSION = "order 2"  # part of a run's state: another rule for the order is another order
Numbers = Int64[np.ndarray, " count"]


def held_out_indices(n: int, count: int, seed: int) -> Numbers:
    """`count` of n indices, sorted, to keep from training; the same for the same seed."""
    if not 0 < count < n:
        raise UserError(f"cannot hold out {count} of {n} images; both parts need at least one")
    return np.sort(permuted(np.arange(count), n, key_of(seed, Stream.HELD_OUT)))


class Window(NamedTuple):
    """A stretch of an epoch's row within which samples are permuted; one entry per position that was asked for."""

    epoch: Numbers
    start: Numbers  # number of its first sample in the epoch's row
    size: Numbers
    offset: Numbers  # of the position, within the window
    key: UInt64[np.ndarray, " count"]


class Order:
    """The samples of one collection epoch after epoch, each epoch holding every sample exactly once.

    Two levels. Every epoch permutes the shards, lays their samples end to end in a row, cuts the row into `streams`
    equal pieces that are walked side by side (position p belongs to stream p mod `streams`), and each stream into
    windows of about `window` shards, within which samples are permuted. So whoever reads some of the streams touches
    few shards at a time, and each for one stretch of the epoch. With `window` 0 one window holds everything: for
    samples that can be read in any order. Permutations are computed; in memory are the sizes of the shards alone.
    """

    def __init__(self, shard_sizes: Int64[np.ndarray, " shards"], seed: int, streams: int = 1, window: int = 0) -> None:
        self._shards = np.flatnonzero(shard_sizes)  # empty ones stand nowhere
        self._sizes = shard_sizes[self._shards]
        self._firsts = (np.cumsum(shard_sizes) - shard_sizes)[self._shards]
        self._seed = seed
        self._total = int(shard_sizes.sum())
        if not self._total:
            raise UserError("no samples to put into an order")
        self._streams = min(streams, self._total) if window else 1
        self._window_size = window * self._total / len(self._sizes) if window else self._total
        self._rows: dict[int, tuple[Numbers, Numbers]] = {}

    def __len__(self) -> int:
        """Samples in an epoch."""
        return self._total

    @property
    def windows(self) -> int:
        """Windows in an epoch, about."""
        return max(1, round(self._total / self._window_size))

    def at(self, positions: Numbers) -> Numbers:
        """The samples, numbered in the collection's own order, at these positions."""
        window = self.window_at(positions)
        return self._samples(window, permuted(window.offset, window.size, window.key))

    def others(self, position: int) -> Iterator[int]:
        """Every sample of the window of a position, all round from a place that chance picks for the position."""
        window = self.window_at(np.array([position]))
        size = int(window.size[0])
        first = int(permuted(np.array([0]), size, key_of(self._seed, Stream.REPLACEMENT, position))[0])
        for offset in range(first, first + size):
            place = permuted(np.array([offset % size]), size, window.key)
            yield int(self._samples(window, place)[0])

    def window_at(self, positions: Numbers) -> Window:
        """The windows that positions fall into."""
        epoch, offset = np.divmod(positions, self._total)
        step, stream = np.divmod(offset, self._streams)
        share, rest = divmod(self._total, self._streams)
        length = share + (stream < rest)
        windows = np.maximum(1, np.rint(length / self._window_size).astype(np.int64))
        number = ((step + 1) * windows - 1) // length
        first, end = number * length // windows, (number + 1) * length // windows
        start = stream * share + np.minimum(stream, rest) + first
        return Window(epoch, start, end - first, step - first, key_of(self._seed, Stream.ORDER, epoch, start))

    def shards_from(self, position: int, windows: int, stripe: int = 0, stripes: int = 1) -> list[int]:
        """The shards that the next `windows` windows of each stream are read from, soonest first.

        Of the streams only every `stripes`-th from `stripe` on, when they can be divided so: those that one reader of
        every `stripes`-th position meets.
        """
        apart = self._streams % stripes == 0
        streams = range(stripe, self._streams, stripes) if apart else range(self._streams)
        at = [position + (stream - position) % self._streams for stream in streams]
        found: dict[int, None] = {}
        for _ in range(windows):
            window = self.window_at(np.array(at))
            for epoch, start, size in zip(*(part.tolist() for part in window[:3]), strict=True):
                shards, ends = self._row(epoch)
                first, last = np.searchsorted(ends, [start, start + size - 1], "right")
                found |= dict.fromkeys(self._shards[shards[first : last + 1]].tolist())
            at = (np.array(at) + (window.size - window.offset) * self._streams).tolist()
        return list(found)

    def _samples(self, window: Window, places: Numbers) -> Numbers:
        """The samples at places within windows."""
        numbers: Numbers = window.start + places
        for epoch in np.unique(window.epoch).tolist():
            here = window.epoch == epoch
            shards, ends = self._row(epoch)
            nth = np.searchsorted(ends, numbers[here], "right")
            shard = shards[nth]
            numbers[here] += self._firsts[shard] + self._sizes[shard] - ends[nth]
        return numbers

    def _row(self, epoch: int) -> tuple[Numbers, Numbers]:
        """The shards in the order of an epoch, and where each ends in the epoch's row."""
        if epoch not in self._rows:
            count = len(self._sizes)
            shards = permuted(np.arange(count), count, key_of(self._seed, Stream.SHARDS, epoch))
            if len(self._rows) > 1:
                self._rows.pop(next(iter(self._rows)))
            self._rows[epoch] = shards, np.cumsum(self._sizes[shards])
        return self._rows[epoch]
