"""A folder of image files, searched recursively."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from nextpatch.data.error import DataError
from nextpatch.data.sources.source import digest_of

log = logging.getLogger(__name__)
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".npy"})


class FolderSource:
    """Every image file below `root`, by its ending, sorted by path; hidden files and folders are left out.

    Links are followed, each folder once, so a loop of links ends. When all images lie in at least two first-level
    folders, those folders are the classes, in the order of their names; otherwise there are none.
    """

    def __init__(self, root: Path) -> None:
        self.name = str(root)
        self._root = root
        self._files = sorted(_images_below(root, "", set()))
        if not self._files:
            raise DataError(f"no images in {root} or below; looked for files ending in {', '.join(sorted(SUFFIXES))}")
        self.digest = digest_of(self._files)
        self.shard_sizes = np.array([len(self._files)])
        self.scattered, self.remote = True, False
        self.classes, self._labels = classes_by_folder(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int) -> bytes:
        """The file's bytes; OSError when it has gone."""
        return (self._root / self._files[index]).read_bytes()

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


def classes_by_folder(files: Sequence[str]) -> tuple[tuple[str, ...], Int64[np.ndarray, " files"]]:
    """(names of the first-level folders, the number of each file's); no names unless all files lie in two or more."""
    tops = [file.split("/", 1)[0] if "/" in file else "" for file in files]
    folders = sorted(set(tops))
    if len(folders) < 2 or "" in folders:
        return (), np.zeros(len(files), np.int64)
    number = {name: i for i, name in enumerate(folders)}
    return tuple(folders), np.array([number[top] for top in tops], np.int64)


def _images_below(folder: Path, prefix: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Paths of image files, relative to the first `folder`; `seen` holds the folders already visited."""
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        log.warning("left out %s: %s", folder, error)
        return
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            yield from _images_below(Path(entry.path), f"{prefix}{entry.name}/", seen)
        elif Path(entry.name).suffix.lower() in SUFFIXES and (entry.is_symlink() or entry.is_file()):
            yield prefix + entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
