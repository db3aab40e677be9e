"""One training order over several collections: so many of each in every block of positions, exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from jaxtyping import Int64

from nextpatch.core.random import Stream
from nextpatch.data.error import DataError
from nextpatch.data.order import Numbers, Order
from nextpatch.data.permute import key_of, permuted

LONGEST_BLOCK = 1000


@dataclass(frozen=True)
class MixturePart:
    """A collection's part in a mixture."""

    shard_sizes: Int64[np.ndarray, " shards"]
    held_out: Int64[np.ndarray, " few"]  # samples that are never shown, ascending
    random_access: bool = True  # see Source
    weight: float = 1.0


class Mixture:
    """The order of the samples of several parts, which are numbered one part after the other.

    Position p belongs to stream p mod `streams`, as in `Order`. Each stream is cut into blocks of `block` positions; a
    block holds a fixed number of each part's samples, in an order of its own. So weights hold exactly in every
    `streams` x `block` positions, each part goes through its own epochs, and each stream meets its own shards only.
    """

    def __init__(self, parts: Sequence[MixturePart], seed: int, streams: int = 1, window: int = 4) -> None:
        self._orders, self._held_out = [], []
        for part in parts:
            sizes = part.shard_sizes
            shard_of = np.searchsorted(np.cumsum(sizes), part.held_out, "right")
            left = sizes - np.bincount(shard_of, minlength=len(sizes))
            self._orders.append(Order(left, seed, streams, 0 if part.random_access else window))
            self._held_out.append(part.held_out - np.arange(len(part.held_out)))
        self._firsts = np.cumsum([0, *(int(np.sum(part.shard_sizes)) for part in parts)])
        self._first_shards = np.cumsum([0, *(len(part.shard_sizes) for part in parts)])
        self._streams, self._seed = streams, seed
        self.counts = np.array(block_counts([part.weight for part in parts]))
        self._ends = np.cumsum(self.counts)

    @property
    def block(self) -> int:
        """Positions of a stream in which every part has its exact share."""
        return int(self._ends[-1])

    def __len__(self) -> int:
        """Samples to learn from, of all parts together."""
        return sum(map(len, self._orders))

    def at(self, positions: Numbers) -> Numbers:
        """The samples at these positions."""
        part, within = self._divided(positions)
        samples = np.empty_like(positions)
        for number in np.unique(part).tolist():
            here = part == number
            samples[here] = self._numbered(number, self._orders[number].at(within[here]))
        return samples

    def others(self, position: int) -> Iterator[int]:
        """Every sample that may stand in for the one at a position, of the same part: first those of its window."""
        part, within = (int(found[0]) for found in self._divided(np.array([position])))
        order = self._orders[part]
        for hop in range(order.windows):
            for sample in order.others(within + hop * (len(order) // order.windows + 1)):
                yield int(self._numbered(part, np.array([sample]))[0])

    def shards_from(self, position: int, windows: int, stripe: int = 0, stripes: int = 1) -> list[int]:
        """The shards needed next, of all parts, soonest first in each; see `Order.shards_from`."""
        block = position // (self._streams * self.block)
        found = []
        for number, order in enumerate(self._orders):
            within = block * int(self.counts[number]) * self._streams
            shards = order.shards_from(within, windows, stripe, stripes)
            found += [int(self._first_shards[number]) + shard for shard in shards]
        return found

    def _divided(self, positions: Numbers) -> tuple[Numbers, Numbers]:
        """(part, position among that part's samples)."""
        step, stream = np.divmod(positions, self._streams)
        block, slot = np.divmod(step, self.block)
        if len(self._orders) > 1:
            slot = permuted(slot, self.block, key_of(self._seed, Stream.MIXTURE, block, stream))
        part = np.searchsorted(self._ends, slot, "right")
        nth = block * self.counts[part] + slot - (self._ends - self.counts)[part]
        return part, nth * self._streams + stream

    def _numbered(self, part: int, kept: Numbers) -> Numbers:
        """Numbers among the samples that are shown, as numbers among all."""
        samples: Numbers = self._firsts[part] + kept + np.searchsorted(self._held_out[part], kept, "right")
        return samples


def block_counts(weights: Sequence[float]) -> list[int]:
    """How many of each part make the shortest block, of at most LONGEST_BLOCK, in which the weights are exact.

    Weights that no such block holds exactly are rounded to one of LONGEST_BLOCK. DataError for one that would vanish.
    """
    total = sum(weights)
    counts = np.array(weights) / total * LONGEST_BLOCK
    for block in range(len(weights), LONGEST_BLOCK + 1):
        exact = np.array(weights) / total * block
        if np.abs(exact - np.rint(exact)).max() < 1e-9 * block:
            counts = exact
            break
    whole = np.floor(counts + 1e-6).astype(np.int64)
    short = round(counts.sum()) - int(whole.sum())
    whole[np.argsort(whole - counts)[:short]] += 1
    if not whole.all():
        raise DataError(
            f"a weight of {min(weights):g} beside {total:g} in all is less than 1 in {LONGEST_BLOCK}; raise it"
        )
    shared = gcd(*whole.tolist())
    return [count // shared for count in whole.tolist()]
