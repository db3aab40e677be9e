"""Make the side indexes and the manifest of a set of shards: in parallel, one pass each, going on where it stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nextpatch.core.files import UNFINISHED, write_bytes
from nextpatch.core.locks import locked
from nextpatch.core.machine import usable_cores
from nextpatch.data.error import DataError
from nextpatch.data.storage.location import Entry, is_remote
from nextpatch.data.storage.read import open_stream
from nextpatch.data.tar.index import IndexWriter, Shard, ShardIndex, usable
from nextpatch.data.tar.index_store import IndexStore
from nextpatch.data.tar.manifest import Manifest, joined
from nextpatch.data.tar.pool import in_processes
from nextpatch.data.tar.reader import TarReader
from nextpatch.data.tar.samples import kept_bytes, samples

log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]  # (shards done, shards in all)
_MOST_WORKERS = 16
_WORTH_A_WORKER = 256 * 2**20  # bytes: starting a process takes as long as reading so many
_OLD_UNFINISHED = (
    "*.json.*.part",
    "index/*.idx.*.part",
)  # names that versions before gave to what they had not finished


class _Job(NamedTuple):
    entry: Entry
    name: str
    path: Path


def index_shards(
    entries: Sequence[Entry],
    folder: Path | str | None = None,
    workers: int = 0,
    progress: Progress | None = None,
    classes: Iterable[str] = (),
    accept_damage: bool = False,
) -> Manifest:
    """Index the shards that are not indexed yet and write the manifest into `folder`; it, in the order of the entries.

    `folder` is where a TarSource looks, unless given; `workers` 0: chosen by the machine. An interrupted call goes on
    where it stopped. Shards that the manifest names besides, and that are still there, stay in it. DataError, after
    everything else is done, for shards that cannot be used; and for those that are not what the manifest says, unless
    `accept_damage`, which takes them as they are now. OSError for those that cannot be read.
    """
    store = IndexStore(entries, Path(folder) if folder else None)
    with _writing(store.home):
        known = store.known()
        if known and not accept_damage:
            refuse_changed(store, known, entries)
        found, jobs = _divided(store, known, entries, accept_damage)
        found |= _made(jobs, len(entries) - len(jobs), workers or _workers_for(jobs), progress)
        if known and not accept_damage:
            _refuse_replaced(store, known, found)
        whole = joined([Manifest.of([found[name] for name in store.names], classes), *_others(store, known)])
        store.keep(whole)
    _tell(store, [found[job.name] for job in jobs])
    return whole.picked(store.names)


def index_shard(entry: Entry, name: str) -> tuple[Shard, bytes]:
    """What a shard holds, and its index, from one pass over it. DataError when it cannot be used."""
    writer = IndexWriter()
    with open_stream(entry.location) as stream:
        reader = TarReader(stream, entry.size, entry.location, kept_bytes)
        for sample in samples(reader, entry.location):
            writer.add(sample)
        sha256 = reader.hashed.finish()
    size = reader.hashed.position
    if entry.size is not None and entry.size != size:
        raise OSError(f"{entry.location} changed while it was read: {size} bytes, not {entry.size}")
    left_out = ", ".join(f"{count} x {reason}" for reason, count in sorted(reader.skipped.items()))
    labels, names, named_by = writer.naming.named()
    shard = Shard(name, writer.samples, size, sha256, labels, reader.damage, left_out, names, named_by)
    return shard, writer.finished(shard)


def index_one(store: IndexStore, entry: Entry, name: str, expected: Shard) -> ShardIndex:
    """The index of a shard that looks as the manifest says, made from the shard where there is none.

    OSError when the shard cannot be read, or no longer is what the manifest says.
    """
    if found := store.index(name, expected):
        return found
    with _writing(store.home):
        if found := store.index(name, expected):  # another process was faster
            return found
        log.warning("no index of %s; it is made from the shard", entry.location)
        try:
            _make(_Job(entry, name, store.path(name)))
        except DataError as error:
            raise OSError(str(error)) from None
        found = store.index(name, expected)
    if found is None:
        raise OSError(f"{entry.location} is not what the manifest says; fetch it again")
    return found


def refuse_changed(store: IndexStore, known: Manifest, entries: Sequence[Entry]) -> None:
    """DataError when a shard has not the size that the manifest says, with how much of the first such is usable."""
    sizes = dict(zip(known.names, known.bytes.tolist(), strict=True))
    changed = [
        (entry, name, size)
        for entry, name in zip(entries, store.names, strict=True)
        if entry.size is not None and (size := sizes.get(name, entry.size)) != entry.size
    ]
    if not changed:
        return
    entry, name, size = changed[0]
    index = store.index(name, known.picked([name]).shard(0))
    assert entry.size is not None
    rest = f" (of its {len(index)} samples {usable(index.records(), entry.size)} are usable)" if index else ""
    raise DataError(
        f"{entry.location} has {entry.size} bytes where the manifest says {size}{rest}{_and_more(changed)}; fetch it "
        "again, or accept what is there with `nextpatch data index --accept-damage`"
    )


def _refuse_replaced(store: IndexStore, known: Manifest, found: dict[str, Shard]) -> None:
    """DataError when a shard that had to be read again holds other bytes than the manifest says."""
    rows = {name: number for number, name in enumerate(known.names)}
    replaced = [
        name for name, shard in found.items() if name in rows and known.shard(rows[name]).sha256 != shard.sha256
    ]
    if replaced:
        raise DataError(
            f"{store.common}{replaced[0]} is not what the manifest says, though its size is{_and_more(replaced)}; "
            "fetch it again, or accept what is there with `nextpatch data index --accept-damage`"
        )


def _workers_for(jobs: list[_Job]) -> int:
    """One for each core, but none that would be done before it has started."""
    known = sum(job.entry.size or _WORTH_A_WORKER for job in jobs)
    return min(usable_cores(), _MOST_WORKERS, known // _WORTH_A_WORKER)


def _divided(
    store: IndexStore, known: Manifest | None, entries: Sequence[Entry], accept_damage: bool
) -> tuple[dict[str, Shard], list[_Job]]:
    """What needs no reading, by name, and the rest."""
    row = {} if known is None or accept_damage else {name: number for number, name in enumerate(known.names)}
    found: dict[str, Shard] = {}
    jobs = []
    for entry, name in zip(entries, store.names, strict=True):
        index = store.index(name, known.shard(row[name]) if known and name in row else None)
        if index and index.shard.name == name and entry.size in (None, index.shard.bytes) and index.whole():
            found[name] = index.shard
        else:
            jobs.append(_Job(entry, name, store.path(name)))
    return found, jobs


def _made(jobs: list[_Job], done: int, workers: int, progress: Progress | None) -> dict[str, Shard]:
    """Read the shards and write their indexes; a failure is raised when all others are done."""
    found: dict[str, Shard] = {}
    failed: list[Exception] = []
    total = done + len(jobs)
    if progress:
        progress(done, total)
    for number, result in in_processes(_make, jobs, workers):
        if isinstance(result, Exception):
            failed.append(result)
        else:
            found[jobs[number].name] = result
        done += 1
        if progress:
            progress(done, total)
    if failed:
        failed.sort(key=str)
        kind = DataError if all(isinstance(error, ValueError) for error in failed) else OSError
        raise kind(f"{failed[0]}{_and_more(failed)}") from failed[0]
    return found


def _make(job: _Job) -> Shard:
    shard, data = index_shard(job.entry, job.name)
    write_bytes(job.path, data, shared=True)
    return shard


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Be the only one that writes into a folder of indexes; what a process left that was killed is removed."""
    with locked(folder / "lock", task="indexing"):
        unfinished = (
            f".*{UNFINISHED}",
            f"index/.*{UNFINISHED}",
            "*.json.*.part",
            "index/*.idx.*.part",
        )  # 2 of old versions
        for left in (path for pattern in unfinished for path in folder.glob(pattern)):
            left.unlink(missing_ok=True)
        yield


def _others(store: IndexStore, known: Manifest | None) -> list[Manifest]:
    """What the manifest says of shards that were not given and are not gone; of an old one the names of classes."""
    if known is None:
        return []
    if known.old:
        return [known.picked([])]
    given = set(store.names)
    near = not is_remote(store.common)
    names = [name for name in known.names if name not in given]
    there = [name for name in names if not near or Path(store.common, name).exists()]
    if len(there) < len(names):
        log.warning("left out of the manifest: %d shards that are gone", len(names) - len(there))
    return [known.picked(there)]


def _tell(store: IndexStore, shards: list[Shard]) -> None:
    """Say of new shards what was left out of them."""
    partly = [shard for shard in shards if shard.left_out]
    if partly:
        first = f"{store.common}{partly[0].name}: {partly[0].left_out}"
        log.warning("not everything in the shards is a sample: %s%s", first, _and_more(partly))


def _and_more(things: Sequence[object]) -> str:
    return f", and {len(things) - 1} more" if len(things) > 1 else ""
