"""A folder of image files, searched recursively; or image files that a pattern names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nextpatch.data.error import DataError
from nextpatch.data.formats import image_endings
from nextpatch.data.sources.contents import Contents, contents_of, log_left_out
from nextpatch.data.sources.layout import by_folder
from nextpatch.data.sources.source import digest_of
from nextpatch.data.storage.near import read_near


class FolderSource:
    """Every image file below `root`, sorted by path; hidden files and folders are left out.

    Files of unknown endings, and of none, are told by their first bytes. Links to folders are followed where they lead
    elsewhere, each once. The folders in which the images lie are their classes, where there are at least two; wrapping
    folders do not matter. `contents`: what is below `root`, where that is known already. Of `files` only these are the
    images, in their order.
    """

    def __init__(self, root: Path, contents: Contents | None = None, files: Sequence[str] | None = None) -> None:
        self.name = str(root) if files is None or len(files) > 1 else str(root / files[0])
        self._root = root
        if files is None:
            contents = contents or contents_of(root)
            files = contents.images
        self.left_out = contents.summary() if contents else ""
        if not files:
            raise DataError(f"no images in {self.name} or below{_instead(self.left_out)}")
        if contents and self.left_out:
            log_left_out(self.name, self.left_out, contents.matters())
        self._files = files
        self.digest = digest_of(self._files)
        self.shard_sizes = np.array([len(self._files)])
        self.random_access, self.remote = True, False
        self.classes, self._labels, self.why_unlabeled = by_folder(self._files)
        if not self.classes and contents and contents.lists:
            self.why_unlabeled += (
                f"; if {contents.lists[0]} names them, give that file: --data {root / contents.lists[0]}"
            )

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int) -> bytes:
        """The file's bytes; OSError when it has gone."""
        return read_near(self._root / self._files[index])

    def key(self, index: int) -> str:
        """The file's path; bytes of it that are not UTF-8 are shown as escapes."""
        return os.fsencode(self._root / self._files[index]).decode("utf-8", "backslashreplace")

    def label(self, index: int) -> int | None:
        """The number of its first-level folder."""
        return int(self._labels[index]) if self.classes else None

    def files(self) -> list[Path]:
        """The local files that the samples lie in."""
        return [self._root / file for file in self._files]

    def prefetch(self, shard: int) -> None:
        """Nothing to do: the files are here."""


def _instead(left_out: str) -> str:
    """What was looked for, and what is there."""
    endings = ", ".join(f".{ending}" for ending in sorted(image_endings()))
    return f"; looked for files ending in {endings}" + (f"; there are {left_out}" if left_out else "")
