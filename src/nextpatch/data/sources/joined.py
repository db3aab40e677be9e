"""Several collections as one, end to end."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nextpatch.data.sources.source import Source, digest_of


class JoinedSource:
    """The samples of the first source, then those of the second, and so on.

    Labels are kept where all sources have the same classes; otherwise there are none.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.name = ", ".join(source.name for source in sources)
        self.sources = tuple(sources)
        self._ends = np.cumsum([len(source) for source in sources]).tolist()
        self._shard_ends = np.cumsum([len(source.shard_sizes) for source in sources]).tolist()
        self.classes = sources[0].classes if len({source.classes for source in sources}) == 1 else ()
        self.why_unlabeled = "" if self.classes else _why(sources)
        self.left_out = "; ".join(part for source in sources if (part := getattr(source, "left_out", "")))
        self.digest = digest_of(source.digest for source in sources)
        self.shard_sizes = np.concatenate([source.shard_sizes for source in sources])
        self.random_access = all(source.random_access for source in sources)
        self.remote = any(source.remote for source in sources)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, index: int) -> bytes:
        """The bytes; OSError when they cannot be read."""
        source, within = self.part(index)
        return source.read(within)

    def key(self, index: int) -> str:
        """The sample's name in its own source."""
        source, within = self.part(index)
        return source.key(within)

    def label(self, index: int) -> int | None:
        """The class that its own source gives, where classes are shared."""
        source, within = self.part(index)
        return source.label(within) if self.classes else None

    def prefetch(self, shard: int) -> None:
        """As the source of the shard does."""
        number = bisect.bisect_right(self._shard_ends, shard)
        self.sources[number].prefetch(shard - (self._shard_ends[number - 1] if number else 0))

    def files(self) -> list[Path]:
        """The local files that the samples lie in; none when some of the sources lie elsewhere."""
        parts: list[list[Path]] = [getattr(source, "files", list)() for source in self.sources]
        return [file for part in parts for file in part] if all(parts) else []

    def part(self, index: int) -> tuple[Source, int]:
        """(source, index within it)."""
        number, within = self.within(index)
        return self.sources[number], within

    def within(self, index: int) -> tuple[int, int]:
        """(number of the source, index within it)."""
        number = bisect.bisect_right(self._ends, index)
        return number, index - (self._ends[number - 1] if number else 0)


def _why(sources: Sequence[Source]) -> str:
    """Why the sources have no labels in common."""
    for source in sources:
        if not source.classes:
            return f"{source.name}: {getattr(source, 'why_unlabeled', '') or 'no labels'}"
    return f"{sources[0].name} and others have different classes"
