"""Image files with labels from a list: what data sets with their own metadata become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from nextpatch.data.error import DataError
from nextpatch.data.sources.source import digest_of
from nextpatch.data.storage.near import read_near


class TableSource:
    """Files below `root` in the order given, each with the number of its class."""

    def __init__(
        self, name: str, root: Path, files: Sequence[str], labels: Integer[np.ndarray, " files"], classes: Sequence[str]
    ) -> None:
        if not len(files):
            raise DataError(f"{name}: the list in {root} names no image of this split; is it the right version?")
        self.name, self.classes = name, tuple(classes)
        self._root, self._files, self._labels = root, list(files), labels
        self.why_unlabeled = ""
        self.digest = digest_of(files)
        self.shard_sizes = np.array([len(files)])
        self.random_access, self.remote = True, False

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int) -> bytes:
        """The file's bytes; OSError when it is not there."""
        return read_near(self._root / self._files[index])

    def key(self, index: int) -> str:
        """The file's path."""
        return str(self._root / self._files[index])

    def label(self, index: int) -> int | None:
        """The number of its class; None for one without."""
        return int(self._labels[index]) if self.classes and self._labels[index] >= 0 else None

    def files(self) -> list[Path]:
        """The local files that the samples lie in."""
        return [self._root / file for file in self._files]

    def prefetch(self, shard: int) -> None:
        """Nothing to do: the files are here."""
