"""Which images are computed together, and in which row: so that an image is the same whatever else is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor


class SampleBatch(NamedTuple):
    """Places in the request, and the row of a batch in which each is computed."""

    places: list[int]
    rows: list[int]

    def filled(self, size: int) -> list[int]:
        """The place that is computed in each row: in rows that nobody asked for, the first one once more."""
        of_row = dict(zip(self.rows, self.places, strict=True))
        return [of_row.get(row, self.places[0]) for row in range(size)]


def batches(numbers: Sequence[int], known: Sequence[int], size: int) -> Iterator[SampleBatch]:
    """Image i goes into row i modulo `size`, with others of the same i // size and the same number of known patches.

    A number that is asked for several times goes into several batches.
    """
    found: dict[tuple[int, int, int], SampleBatch] = {}
    times: Counter[tuple[int, int]] = Counter()
    for place, (number, first) in enumerate(zip(numbers, known, strict=True)):
        batch = found.setdefault((number // size, first, times[number, first]), SampleBatch([], []))
        batch.places.append(place)
        batch.rows.append(number % size)
        times[number, first] += 1
    yield from found.values()


class Means:
    """Means of so many images each, that come in any order."""

    def __init__(self, times: int) -> None:
        self._times = times
        self._sums: dict[int, Tensor] = {}
        self._left: dict[int, int] = {}

    def add(self, places: list[int], images: Tensor) -> dict[int, Tensor]:
        """With further ones: those that are complete now, by place; a single image as it is."""
        done = {}
        for place, image in zip(places, images, strict=True):
            self._sums[place] = self._sums[place] + image if place in self._sums else image
            self._left[place] = self._left.get(place, self._times) - 1
            if not self._left[place]:
                total = self._sums.pop(place)
                done[place] = total if self._times == 1 else total / self._times
        return done
