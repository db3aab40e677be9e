"""A folder of image files on another machine: one request for each image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from nextpatch.data.error import DataError
from nextpatch.data.sources.folder import SUFFIXES, classes_by_folder
from nextpatch.data.sources.source import digest_of
from nextpatch.data.storage.place import Entry
from nextpatch.data.storage.read import read_all, read_range


class FarFolderSource:
    """Every image file below a URL, by its ending, sorted by name; class folders as in `FolderSource`.

    Nothing is kept near: images that are read more than once are better packed into shards.
    """

    def __init__(self, folder: str, entries: Sequence[Entry]) -> None:
        self.name = folder
        root = folder.rstrip("/") + "/"
        images = [entry for entry in entries if _is_image(entry.place.removeprefix(root))]
        if not images:
            raise DataError(f"no images in {folder} or below; looked for files ending in {', '.join(sorted(SUFFIXES))}")
        self._entries = images
        names = [entry.place.removeprefix(root) for entry in images]
        self.digest = digest_of(names)
        self.shard_sizes = np.array([len(images)])
        self.scattered, self.remote = True, False  # there are no shards to fetch
        self.classes, self._labels = classes_by_folder(names)

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, index: int) -> bytes:
        """The file's bytes; OSError when they cannot be had."""
        place, size = self._entries[index]
        return read_all(place) if size is None else read_range(place, 0, size)

    def key(self, index: int) -> str:
        """The file's URL."""
        return self._entries[index].place

    def label(self, index: int) -> int | None:
        """The number of its first-level folder."""
        return int(self._labels[index]) if self.classes else None

    def prefetch(self, shard: int) -> None:
        """Nothing to do: there are no shards."""


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)
