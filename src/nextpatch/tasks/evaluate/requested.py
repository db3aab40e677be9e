"""The classes that samples were asked for: those of their folder's settings, where `nextpatch sample` wrote it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nextpatch.core.errors import ConfigError
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source

SETTINGS, EACH = "settings.json", "each"
_NUMBERED = re.compile(r"(\d+)\.\w+$")  # the file of an image


class RequestedSource:
    """Images of another source with the classes that they were asked for: image i has the label i modulo their number.

    A label is a name among `classes`, their number, or "each" for all of them one after the other; None for others.
    """

    def __init__(self, source: Source, labels: Sequence[str], classes: Sequence[str]) -> None:
        self._source, self.classes = source, tuple(classes)
        self._every = [one for label in labels for one in self._numbers(label)]
        self.name, self.digest, self.shard_sizes = source.name, source.digest, source.shard_sizes
        self.random_access, self.remote = source.random_access, source.remote

    def _numbers(self, label: str) -> Sequence[int | None]:
        if label in self.classes:
            return [self.classes.index(label)]
        if label == EACH:
            return range(len(self.classes))
        return [int(label) if label.isdecimal() and int(label) < len(self.classes) else None]

    def __len__(self) -> int:
        return len(self._source)

    def read(self, index: int) -> bytes:
        """The encoded image."""
        return self._source.read(index)

    def key(self, index: int) -> str:
        """Its path."""
        return self._source.key(index)

    def label(self, index: int) -> int | None:
        """The class by the number in its file's name."""
        found = _NUMBERED.search(self.key(index))
        return self._every[int(found[1]) % len(self._every)] if found and self._every else None

    def prefetch(self, shard: int) -> None:
        """As the source does."""
        self._source.prefetch(shard)


def open_samples(spec: str, classes: Sequence[str]) -> Source:
    """The images that a text names, with the classes that a folder's settings say; ConfigError for damaged settings."""
    source, file = open_source(spec), Path(spec) / SETTINGS
    if source.classes or not file.is_file():
        return source
    labels = read_json(file, "settings of generated images", "move it away", ConfigError).get("labels")
    if not labels:
        return source
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ConfigError(f"{shown(file)}: its labels are no list of names; move it away")
    return RequestedSource(source, labels, classes)
