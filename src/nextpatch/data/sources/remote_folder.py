"""A folder of image files on another machine: one request for each image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nextpatch.data.error import DataError
from nextpatch.data.formats import image_endings
from nextpatch.data.sources.contents import contents_from, log_left_out
from nextpatch.data.sources.layout import by_folder
from nextpatch.data.sources.source import digest_of
from nextpatch.data.storage.location import WEB, Entry
from nextpatch.data.storage.read import read_all, read_range


class RemoteFolderSource:
    """Every image file below a URL, by its ending, sorted by name; class folders as in `FolderSource`.

    Nothing is kept near: images that are read more than once are better packed into shards.
    """

    def __init__(self, folder: str, entries: Sequence[Entry]) -> None:
        self.name = folder
        root = folder.rstrip("/") + "/"
        there = {_without_query(entry.location).removeprefix(root): entry for entry in entries}
        contents = contents_from(there)
        names = self.names = contents.images
        self.left_out = contents.summary()
        if not names:
            endings = ", ".join(f".{ending}" for ending in sorted(image_endings()))
            instead = f"; there are {self.left_out}" if self.left_out else ""
            raise DataError(f"no images in {folder} or below; looked for files ending in {endings}{instead}")
        if self.left_out:
            log_left_out(folder, self.left_out, contents.matters())
        self._entries = [there[name] for name in names]
        self.digest = digest_of(names)
        self.shard_sizes = np.array([len(names)])
        self.random_access, self.remote = True, False  # there are no shards to fetch
        self.classes, self._labels, self.why_unlabeled = by_folder(names)

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, index: int) -> bytes:
        """The file's bytes; OSError when they cannot be had."""
        location, size = self._entries[index]
        return read_all(location) if size is None else read_range(location, 0, size)

    def key(self, index: int) -> str:
        """The file's URL."""
        return self._entries[index].location

    def label(self, index: int) -> int | None:
        """The number of its first-level folder."""
        return int(self._labels[index]) if self.classes else None

    def prefetch(self, shard: int) -> None:
        """Nothing to do: there are no shards."""


def _without_query(location: str) -> str:
    """The place up to the `?` of a URL: its name is what stands before."""
    return location.partition("?")[0] if location.startswith(WEB) else location
