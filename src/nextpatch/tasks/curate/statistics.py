"""What many looks at images come to: counts, the spread of sizes, and which are the same."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextpatch.data.levels import Levels
from nextpatch.tasks.curate.duplicates import repeated
from nextpatch.tasks.curate.scan import Scan

EDGES = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)  # px, of the histogram


class Spread(NamedTuple):
    """Smallest, middle and largest of some numbers, and their sum."""

    least: int
    median: int
    most: int
    total: int


class Tally:
    """Sums up at most `count` looks. Memory: 36 bytes for each, of which 16 are the digest."""

    def __init__(self, count: int) -> None:
        self.usable = 0
        self.formats: Counter[str] = Counter()
        self.channels: Counter[int] = Counter()
        self.labels: Counter[int | None] = Counter()
        self.levels: Levels | None = None  # of images of more than 8 bits
        self.several = 0  # files with more than one picture
        self._digests = np.zeros((count, 2), np.uint64)
        self._sides = np.zeros((count, 2), np.uint32)  # height, width
        self._bytes = np.zeros(count, np.uint32)
        self._indices = np.zeros(count, np.int64)

    def add(self, look: Scan) -> None:
        """Count one image; one that cannot be used counts nowhere here."""
        if look.bad:
            return
        row = self.usable
        self.formats[look.ending] += 1
        self.channels[look.header.channels] += 1
        self.labels[look.label] += 1
        self.several += look.header.pictures > 1
        if look.levels:
            self.levels = self.levels.and_also(look.levels) if self.levels else look.levels
        self._digests[row] = np.frombuffer(look.digest, np.uint64)
        self._sides[row] = look.header.height, look.header.width
        self._bytes[row] = min(look.size, 2**32 - 1)
        self._indices[row] = look.number
        self.usable += 1

    def spreads(self) -> dict[str, Spread]:
        """Of height, width and bytes."""
        height, width = self._sides[: self.usable].T
        return {"height": _spread(height), "width": _spread(width), "bytes": _spread(self._bytes[: self.usable])}

    def shorter_side(self) -> list[tuple[int, int, int]]:
        """(from, up to but not including, images) in px, without the empty ranges at either end."""
        shorter = self._sides[: self.usable].min(axis=1)
        edges = [1, *EDGES, max(EDGES[-1], int(shorter.max(initial=0))) + 1]
        counts = np.histogram(shorter, edges)[0].tolist()
        bars = [(first, last, count) for (first, last), count in zip(pairwise(edges), counts, strict=True)]
        full = [number for number, bar in enumerate(bars) if bar[2]]
        return bars[full[0] : full[-1] + 1] if full else []

    def smaller(self, size: tuple[int, int]) -> int:
        """Images smaller than `size` = (height, width) in either direction."""
        return int((self._sides[: self.usable] < np.array(size)).any(axis=1).sum())

    def repeated(self) -> list[list[int]]:
        """Indices of images that are the same byte for byte, group by group."""
        return [self._indices[group].tolist() for group in repeated(self._digests[: self.usable])]


def _spread(values: NDArray[Any]) -> Spread:
    if not len(values):
        return Spread(0, 0, 0, 0)
    return Spread(int(values.min()), int(np.median(values)), int(values.max()), int(values.sum(dtype=np.uint64)))
