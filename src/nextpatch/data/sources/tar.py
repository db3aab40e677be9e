"""Tar shards in WebDataset's layout, as they are: any sample by number, through a side index per shard."""

from __future__ import annotations

import bisect
import contextlib
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int32

from nextpatch.data.error import DataError
from nextpatch.data.storage.cache import Cache, default_cache
from nextpatch.data.storage.location import Entry, is_remote
from nextpatch.data.storage.read import read_range
from nextpatch.data.tar.build import index_one
from nextpatch.data.tar.classes import TarClasses, told_together
from nextpatch.data.tar.index import IndexDamagedError, Record, ShardIndex
from nextpatch.data.tar.index_store import IndexStore
from nextpatch.data.tar.opening import open_manifest
from nextpatch.data.tar.samples import MAX_IMAGE, shown

log = logging.getLogger(__name__)
T = TypeVar("T")
_OPEN = 128  # shards and indexes kept open, in each process


class TarSource:
    """The images of tar shards, in the order of the archives; the archives are neither changed nor extracted.

    Opening makes the indexes and the manifest that are missing (one pass over each such shard), and compares what is
    there with what is known: DataError for a shard that is missing or has another size. Remote shards are brought near
    as a whole, into the cache; with `ranged` set, single samples of those that are not near are asked for instead,
    which suits a few samples of many shards. Classes: see `TarClasses`.
    """

    def __init__(self, entries: Sequence[Entry], cache: Cache | None = None) -> None:
        if not entries:
            raise DataError("no tar shards given; name at least one .tar file")
        self._store = IndexStore(entries)
        self._entries = tuple(entries)
        self._manifest = open_manifest(self._store, entries)
        self.name = entries[0].location if len(entries) == 1 else self._store.common.rstrip("/")
        self.ranged = False
        self.left_out = told_together(self._manifest.left_out.values())
        self.digest = self._manifest.digest
        self.shard_sizes = self._manifest.samples
        self._ends: list[int] = np.cumsum(self.shard_sizes).tolist()
        if not self._ends[-1]:
            there = f" ({self.left_out})" if self.left_out else ""
            raise DataError(
                f"{self.name} holds no images{there}; a sample is KEY.jpg (png, webp ...), beside it KEY.cls"
            )
        self.remote = any(is_remote(entry.location) for entry in entries)
        self.random_access = not self.remote
        self._cache = cache
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._classes = TarClasses.of(self._manifest, self.name, self._all_labels)
        self.classes, self.why_unlabeled = self._classes.names, self._classes.why_none

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process needs: everything but the files that are open."""
        return self.__dict__ | {"_open": OrderedDict()}

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, index: int) -> bytes:
        """The image's bytes, as they were when the shard was indexed; OSError when they cannot be read, or differ."""
        shard, within = self._locate(index)
        record = self._asked(shard, lambda found: found.record(within))
        data = self._bytes(shard, record) if record.size <= MAX_IMAGE else b""
        if not record.fits(data) and is_remote(self._entries[shard].location):
            data = self._from_afar(shard, record)
        if not record.fits(data):
            raise OSError("differs from the index: the shard was damaged or changed since it was indexed")
        return data

    def key(self, index: int) -> str:
        """The shard, and the sample's key in it."""
        shard, within = self._locate(index)
        return f"{self._entries[shard].location}#{shown(self._asked(shard, lambda found: found.key(within)))}"

    def label(self, index: int) -> int | None:
        """Of the number or name beside the image, or else of its folder; None without one."""
        if not self.classes:
            return None
        shard, within = self._locate(index)
        return self._asked(shard, lambda found: self._classes.number(found.record(within).label, found.shard))

    def files(self) -> list[Path]:
        """The local files that the samples lie in; none when they lie elsewhere."""
        return [] if self.remote else [Path(entry.location) for entry in self._entries]

    def prefetch(self, shard: int) -> None:
        """Bring a remote shard into the cache."""
        entry = self._entries[shard]
        if is_remote(entry.location):
            self._near().local(entry.location, self._size(shard))

    def _all_labels(self) -> Int32[np.ndarray, " samples"]:
        """As they stand in the indexes."""
        parts = [self._asked(shard, lambda found: found.records()["label"]) for shard in range(len(self._entries))]
        return np.concatenate(parts)

    def _locate(self, index: int) -> tuple[int, int]:
        """(shard, sample within it)."""
        shard = bisect.bisect_right(self._ends, index)
        return shard, index - (self._ends[shard - 1] if shard else 0)

    def _size(self, shard: int) -> int:
        return int(self._manifest.bytes[shard])

    def _asked(self, shard: int, ask: Callable[[ShardIndex], T]) -> T:
        """What a shard's index says; a damaged one is made again from the shard."""
        try:
            return ask(self._opened(shard).index)
        except IndexDamagedError as error:
            log.warning("%s; it is made again", error)
            del self._open[shard]
            self._store.drop(self._store.names[shard])
            return ask(self._opened(shard).index)

    def _opened(self, shard: int) -> _Open:
        """The shard's files, open; those not used for long are closed."""
        if shard not in self._open:
            name = self._store.names[shard]
            index = index_one(self._store, self._entries[shard], name, self._manifest.shard(shard))
            self._open[shard] = _Open(index)
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(shard)
        return self._open[shard]

    def _bytes(self, shard: int, record: Record) -> bytes:
        """What now lies where a sample should; possibly less."""
        opened, location = self._opened(shard), self._entries[shard].location
        if opened.file < 0 and is_remote(location) and self.ranged and not self._near().holds(location):
            return read_range(location, record.offset, record.size)
        if opened.file < 0:
            path = self._near().local(location, self._size(shard)) if is_remote(location) else location
            opened.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        found: bytes = os.pread(opened.file, record.size, record.offset)
        return found

    def _from_afar(self, shard: int, record: Record) -> bytes:
        """What the server has where the copy near is not right; if that is right, the copy is given up."""
        location = self._entries[shard].location
        data = read_range(location, record.offset, record.size)
        if record.fits(data) and self._near().holds(location):
            log.warning("the copy of %s in the cache was damaged; it is fetched again", location)
            self._near().local(location).unlink(missing_ok=True)
            self._open.pop(shard, None)
        return data

    def _near(self) -> Cache:
        if self._cache is None:
            self._cache = default_cache()
        return self._cache


class _Open:
    """A shard's index and, once a sample was read, the shard itself. Safe to share with forked processes: see there."""

    def __init__(self, index: ShardIndex) -> None:
        self.index = index
        self.file = -1

    def __del__(self) -> None:
        if self.file >= 0:
            with contextlib.suppress(OSError):
                os.close(self.file)
