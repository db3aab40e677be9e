"""What the labels of a shard's samples stand for: numbers, names, or nothing but the folders that images lie in."""

from __future__ import annotations

import json
from array import array

import numpy as np
from jaxtyping import Int32

from nextpatch.data.tar.samples import NO_LABEL, Sample, shown

WORD, FOLDER = "word", "folder"
_MOST, _MOST_BYTES = 10_000, 2**19  # names of a shard: more are no classes


class Naming:
    """Collects the labels of samples in twelve bytes each; which kind holds is known when all were seen."""

    def __init__(self) -> None:
        self.labels = 0  # one more than the largest number
        self._numbers = array("i")
        self._words, self._folders = _Names(), _Names()

    def add(self, sample: Sample) -> None:
        """The next sample of the shard."""
        self._folders.add(_folder_of(sample.key))
        named = isinstance(sample.label, str)
        self._words.add(str(sample.label) if named else None)
        number = NO_LABEL if isinstance(sample.label, str) else sample.label
        self._numbers.append(number)
        self.labels = max(self.labels, number + 1)

    def named(self) -> tuple[int, tuple[str, ...], str]:
        """(labels, names, named_by) as a `Shard` keeps them. Beside names a number is a name too."""
        if self._words.used:
            for number in sorted(set(self._numbers) - {NO_LABEL}):
                self._words.location(str(number))
            return 0, self._words.listed(), WORD
        if self.labels or self._folders.listed() in ((), ("",)):
            return self.labels, (), ""
        return 0, self._folders.listed(), FOLDER

    def locations(self, named_by: str) -> Int32[np.ndarray, " samples"]:
        """Of each sample the number, or the place of its name among the names; NO_LABEL where it has neither."""
        names = self.named()[1]
        numbers = np.array(self._numbers, np.int32)
        if not named_by:
            return numbers
        if not names:
            return np.full(len(numbers), NO_LABEL, np.int32)
        if named_by == FOLDER:
            return np.array(self._folders.locations, np.int32)
        locations = np.array(self._words.locations, np.int32)
        for number in set(self._numbers) - {NO_LABEL}:
            locations[numbers == number] = self._words.location(str(number))
        return locations


class _Names:
    """Different names in the order in which they come, and which each sample has; none if they are too many."""

    def __init__(self) -> None:
        self.locations = array("i")
        self.used = False
        self._location: dict[str, int] = {}
        self._bytes = 0

    def add(self, name: str | None) -> None:
        """The next sample's name; None where it has none."""
        self.used |= name is not None
        self.locations.append(NO_LABEL if name is None else self.location(name))

    def location(self, name: str) -> int:
        """Of a name; a new one comes last."""
        found = self._location.get(name)
        if found is None:
            if self._full():
                return NO_LABEL
            found = self._location[name] = len(self._location)
            self._bytes += len(json.dumps(name)) + 2
        return found

    def listed(self) -> tuple[str, ...]:
        """All of them; none when they are too many to be classes."""
        return () if self._full() else tuple(self._location)

    def _full(self) -> bool:
        return len(self._location) > _MOST or self._bytes > _MOST_BYTES


def _folder_of(key: bytes) -> str:
    """The folder of a key, without dots that mean nothing."""
    parts = shown(key.rpartition(b"/")[0]).split("/")
    return "/".join(part for part in parts if part not in ("", "."))
