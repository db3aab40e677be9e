"""Read tar shards again, wholly, and compare them with their manifest and their indexes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nextpatch.core.machine import usable_cores
from nextpatch.data.storage.location import Entry, exists, gone, is_remote
from nextpatch.data.storage.read import open_stream
from nextpatch.data.tar.build import Progress
from nextpatch.data.tar.hashing_reader import HashingReader
from nextpatch.data.tar.index import IndexDamagedError, Shard, ShardIndex
from nextpatch.data.tar.index_store import IndexStore
from nextpatch.data.tar.manifest import Manifest
from nextpatch.data.tar.pool import in_processes
from nextpatch.data.tar.samples import shown


class Problem(NamedTuple):
    """What is wrong with a shard, in words, and the keys of the samples that it costs."""

    location: str
    what: str
    keys: tuple[str, ...] = ()


class _Job(NamedTuple):
    location: str
    expected: Shard
    index_path: Path | None


def verify(
    entries: Sequence[Entry], progress: Progress | None = None, workers: int = 0, folder: Path | str | None = None
) -> list[Problem]:
    """Every shard that is not, byte for byte, what it was when it was indexed; those missing and those unknown too.

    `folder` and `workers` as for `index_shards`. Nothing is changed. An empty list means that every byte was read and
    is as it was; shards that were damaged even then are listed, with what was found then.
    """
    store = IndexStore(entries, Path(folder) if folder else None)
    known = store.known() or Manifest.of([])
    rows = {name: number for number, name in enumerate(known.names)}
    given = dict(zip(store.names, entries, strict=True))
    problems = [Problem(given[name].location, "is not in the manifest") for name in store.names if name not in rows]
    gone = [name for name in known.names if name not in given and not _is_there(store.common + name)]
    problems += [Problem(store.common + name, "is missing") for name in gone]
    jobs = [
        _Job(given[name].location, known.shard(rows[name]), _index_of(store, name)) for name in given if name in rows
    ]
    for done, (number, result) in enumerate(in_processes(_compared, jobs, workers or usable_cores()), 1):
        if isinstance(result, Exception):
            problems.append(Problem(jobs[number].location, f"cannot be read: {result}"))
        else:
            problems += result
        if progress:
            progress(done, len(jobs))
    return sorted(problems)


def _is_there(location: str) -> bool:
    """Not missing: what a server neither shows nor denies is left to whoever reads it."""
    return not gone([location]) if is_remote(location) else exists(location)


def _index_of(store: IndexStore, name: str) -> Path | None:
    """The index file that would be used."""
    found = store.index(name)
    return found.path if found else None


def _compared(job: _Job) -> list[Problem]:
    """What one pass over a shard shows."""
    index, problems = _opened(job)
    damaged: list[str] = []
    with open_stream(job.location) as stream:
        hashed = HashingReader(stream, None)
        for number, record in enumerate(index.records().tolist() if index else ()):
            offset, size, crc32, _ = record
            hashed.skip(max(0, offset - hashed.position))
            found = hashed.skip(size)
            if index and (found.size, found.crc32) != (size, crc32):
                damaged.append(shown(index.key(number)))
        sha256 = hashed.finish()
    expected = job.expected
    if hashed.position != expected.bytes:
        what = f"has {hashed.position} bytes where the manifest says {expected.bytes}"
    elif sha256 != expected.sha256:
        what = "differs from what was indexed" + ("" if damaged else ", outside of its images")
    else:
        what = f"was damaged when it was indexed: {expected.damage}" if expected.damage else ""
    return problems + ([Problem(job.location, what, tuple(damaged))] if what else [])


def _opened(job: _Job) -> tuple[ShardIndex | None, list[Problem]]:
    """The shard's index, or what is wrong with it."""
    if job.index_path is None:
        return None, [Problem(job.location, "has no index, or a damaged one; it is made again when it is needed")]
    try:
        index = ShardIndex(job.index_path)
        index.records()
    except (IndexDamagedError, FileNotFoundError) as error:
        return None, [Problem(job.location, f"has a damaged index ({error}); it is made again when it is needed")]
    same = (index.shard.bytes, index.shard.sha256, len(index)) == (
        job.expected.bytes,
        job.expected.sha256,
        job.expected.samples,
    )
    return (index, []) if same else (None, [Problem(job.location, "has an index that does not fit the manifest")])
