"""The samples that are packed, in the order in which they are: read, checked and named by any number of workers."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from nextpatch.data.decode import BadImage, decode, header
from nextpatch.data.formats import ending_of
from nextpatch.data.order import Order
from nextpatch.data.skipped import Skipped, skipped
from nextpatch.data.sources.source import Source
from nextpatch.data.tar.samples import MAX_IMAGE
from nextpatch.tasks.curate.config import Packing

CHUNK = 8  # samples that a worker hands over at a time
_WINDOW = 16  # shards mixed at a time, of a source that is best read shard by shard


class Packable(NamedTuple):
    """An image as it is, with the ending of its format, its label and its name; `bad` says why it is left out."""

    key: str
    data: bytes
    ending: str
    label: int | None
    bad: Skipped | None = None

    def files(self, number: str) -> dict[str, bytes]:
        """Its files in a shard, by name: image, label where there is one, and the key that it had."""
        label = {} if self.label is None else {f"{number}.cls": str(self.label).encode()}
        known = json.dumps({"key": self.key}).encode()
        return {f"{number}.{self.ending}": self.data, **label, f"{number}.json": known}


class Chunks:
    """The samples from position `first` on, CHUNK by CHUNK, in the order that the packing's seed gives."""

    def __init__(self, source: Source, cfg: Packing, first: int) -> None:
        self._source, self._cfg, self._first = source, cfg, first
        window = 0 if source.random_access else _WINDOW
        self._order = None if cfg.seed < 0 else Order(source.shard_sizes, cfg.seed, 1, window)

    def __len__(self) -> int:
        return -(-(len(self._source) - self._first) // CHUNK)

    def __getitem__(self, number: int) -> list[Packable]:
        first = self._first + number * CHUNK
        positions = np.arange(first, min(first + CHUNK, len(self._source)))
        indices = positions if self._order is None else self._order.at(positions)
        return [self._packable(index) for index in indices.tolist()]

    def _packable(self, index: int) -> Packable:
        key = relative(self._source.key(index), self._source.name)
        try:
            data = self._source.read(index)
            ending = ending_of(data)
            if not self._cfg.keep_bad or ending is None:
                decode(data, header(data).channels)
        except (BadImage, OSError) as error:
            return Packable(key, b"", "", None, skipped(error, self._source.name))
        if ending is None or len(data) > MAX_IMAGE:
            why = ("not an image", "of an unknown format") if ending is None else ("too large", "over the cap in bytes")
            return Packable(key, b"", "", None, Skipped(*why, self._source.name))
        return Packable(key, data, ending, self._source.label(index))


def relative(key: str, name: str) -> str:
    """A sample's key without the way to its source, so that moving the source changes no byte of what is packed."""
    if key.startswith(f"{name}/"):
        return key[len(name) + 1 :]
    location, sign, rest = key.partition("#")
    return PurePath(location).name + sign + rest
