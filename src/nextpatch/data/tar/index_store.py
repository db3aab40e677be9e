"""Where the manifest and the side indexes of a set of shards lie: beside the shards, or in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from nextpatch.core.files import write_bytes
from nextpatch.data.error import DataError
from nextpatch.data.storage.cache import default_cache
from nextpatch.data.storage.location import Entry, exists, is_remote
from nextpatch.data.storage.read import read_all
from nextpatch.data.tar.index import IndexDamagedError, Shard, ShardIndex
from nextpatch.data.tar.manifest import Manifest, joined, parse_manifest, read_manifest

log = logging.getLogger(__name__)
FOLDER = ".nextpatch"
MANIFEST = "manifest.json"
_MAX_FILE = 2**30
_MAX_NAME = 200


class IndexStore:
    """Finds and keeps what is known of some shards.

    `home` is written to: `.nextpatch` in the folder that all shards are below, or, where that is remote or cannot be
    written, a folder in the cache. Shards are named relative to their folder. DataError for a shard given twice.
    """

    def __init__(self, entries: Sequence[Entry], folder: Path | None = None) -> None:
        locations = [_absolute(entry.location) for entry in entries]
        self.common = _common_folder(locations)
        self.names = [location[len(self.common) :] for location in locations]
        if len(set(self.names)) < len(self.names):
            twice = Counter(self.names).most_common(1)[0][0]
            raise DataError(f"{self.common}{twice} is given twice; give each shard once")
        near = self.common not in ("", "/") and not is_remote(self.common)
        beside = Path(self.common) / FOLDER if near else None
        self.home = folder or (beside if beside and _may_write(beside) else _cache_folder(self.common))
        self._folders = [self.home] + ([beside] if beside and beside != self.home else [])
        self._remote = f"{self.common}{FOLDER}/" if is_remote(self.common) and folder is None else None

    def known(self) -> Manifest | None:
        """The first manifest that names all shards, or else what all of them together name; None without any.

        One of an older version only where there is no other.
        """
        wanted, partial, old = set(self.names), list[Manifest](), list[Manifest]()
        for manifest in self._manifests():
            if manifest.old:
                old.append(manifest)
            elif wanted.issubset(manifest.names):
                return manifest
            else:
                partial.append(manifest)
        return joined(partial) if partial else next(iter(old), None)

    def keep(self, manifest: Manifest) -> None:
        """Write the manifest where `known` finds it."""
        manifest.write(self.home / MANIFEST)

    def path(self, name: str) -> Path:
        """Where the index of a shard is written."""
        return self.home / "index" / _file_name(name)

    def index(self, name: str, expected: Shard | None = None) -> ShardIndex | None:
        """The index of a shard, as it was when it looked as `expected`; None, and said in the log, for another."""
        for folder in self._folders:
            if found := _opened(folder / "index" / _file_name(name), expected):
                return found
        if self._published and exists(location := f"{self._remote}index/{_file_name(name)}"):
            write_bytes(self.path(name), read_all(location, _MAX_FILE), shared=True)
            return _opened(self.path(name), expected)
        return None

    def drop(self, name: str) -> None:
        """Forget the index of a shard that turned out damaged."""
        for folder in self._folders:
            with contextlib.suppress(OSError):
                (folder / "index" / _file_name(name)).unlink()

    @cached_property
    def _published(self) -> bool:
        """Whether whoever put the shards on a server put a manifest there too."""
        if self._remote is None:
            return False
        try:
            return exists(self._remote + MANIFEST)
        except OSError as error:
            if isinstance(error.__cause__, PermissionError):  # what some stores say of what is not there
                return False
            raise

    def _manifests(self) -> Iterator[Manifest]:
        """All that there are, those that come with the shards first."""
        if self._published:
            location = f"{self._remote}{MANIFEST}"
            data = read_all(location, _MAX_FILE)
            if data.lstrip().startswith(b"<"):
                log.info("%s is a page: its server answers whatever it is asked", location)
            else:
                yield parse_manifest(data, location)
        for folder in self._folders:
            if found := read_manifest(folder / MANIFEST):
                yield found


def _opened(path: Path, expected: Shard | None) -> ShardIndex | None:
    try:
        found = ShardIndex(path)
    except FileNotFoundError:
        return None
    except IndexDamagedError as error:
        log.warning("%s; it is made again", error)
        return None
    same = expected is None or (found.shard.bytes, found.shard.sha256) == (expected.bytes, expected.sha256)
    return found if same and (expected is None or len(found) == expected.samples) else None


def _common_folder(locations: list[str]) -> str:
    """The longest folder or prefix that all are below, with its slash."""
    first, last = min(locations), max(locations)  # what these share, all share
    if is_remote(first):
        first = first.partition("?")[0]  # a query may hold slashes
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind("/", 0, length) + 1]


def _file_name(name: str) -> str:
    """A plain file name for any shard's name, which may come from a server and is never used as a path."""
    plain = quote(name, safe="", errors="surrogateescape")
    if len(plain) > _MAX_NAME:
        plain = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{plain}.idx"


def _absolute(location: str) -> str:
    return location if is_remote(location) else os.path.abspath(location)  # noqa: PTH100 - links stay as they are named


def _may_write(folder: Path) -> bool:
    return os.access(folder if folder.exists() else folder.parent, os.W_OK | os.X_OK)


def _cache_folder(common: str) -> Path:
    return default_cache().root / "index" / hashlib.sha256(common.encode("utf-8", "surrogateescape")).hexdigest()
