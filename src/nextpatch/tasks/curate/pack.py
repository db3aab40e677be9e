"""A collection of images to tar shards with a manifest: each image's bytes as they are, in an order shuffled once."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rich.console import Console

from nextpatch.core.files import digest_of_json, naming_path
from nextpatch.core.locks import locked
from nextpatch.core.progress import Meter
from nextpatch.core.reading import read_jsonl
from nextpatch.core.writer import is_new
from nextpatch.data.error import DataError
from nextpatch.data.fingerprint import fingerprint_of
from nextpatch.data.skipped import Bad, Skipped, none_decodes
from nextpatch.data.sources.source import Source
from nextpatch.data.storage.location import Entry
from nextpatch.data.tar.build import index_shards
from nextpatch.data.workers import in_order
from nextpatch.tasks.curate.config import Packing
from nextpatch.tasks.curate.journal import Journal, Step
from nextpatch.tasks.curate.samples import Chunks, Packable
from nextpatch.tasks.curate.shard import END, ShardWriter, Written, stored_bytes

BAD = "bad_samples.jsonl"
MOST_SHARDS = 100_000  # their names have five digits
_STATE = Path(".nextpatch", "pack")


class Packed(NamedTuple):
    """What was packed, and what was left out, by key."""

    shards: int
    samples: int
    bytes: int
    bad: Bad


def pack(source: Source, out: Path, cfg: Packing, workers: int = 0, console: Console | None = None) -> Packed:
    """Pack every image of the source into `out`, index the shards and write their manifest.

    The same source and settings give the same bytes, whatever the number of workers, and however often it was killed
    and called again: finished shards stay. An image that does not decode is left out and named in `out`/BAD. DataError
    when `out` holds something else, or was begun with other images or settings, or when no image can be used.
    """
    _refuse_foreign(out)
    with locked(out / _STATE / "lock", task="packing"):
        for left in (*out.glob("*.part"), *(out / _STATE).glob("*.part")):  # of a call that was killed
            left.unlink()
        journal = Journal.open(out / _STATE / "journal.jsonl", _settings(source, cfg))
        journal.check(out)
        start = journal.position
        with Meter("pack", len(source), done=start, console=console) as meter, _bad_list(out, journal) as bad:
            ahead = _Ahead(in_order(Chunks(source, cfg, start), workers), start, meter)
            _write(ahead, out, cfg, journal, bad, len(str(len(source) - 1)))
        left_out = _read_bad(out)
        if not journal.samples:
            raise none_decodes(source.name, left_out)
        _index(source, out, journal, workers, console)
    shards = [step.shard for step in journal.steps]
    return Packed(len(shards), journal.samples, sum(shard.bytes for shard in shards), left_out)


def _settings(source: Source, cfg: Packing) -> dict[str, object]:
    """What decides which bytes come out."""
    return {
        "source": source.digest,
        "samples": len(source),
        "contents": digest_of_json(asdict(fingerprint_of(source))),
        "samples_per_shard": cfg.samples_per_shard,
        "shard_mib": cfg.shard_mib,
        "seed": cfg.seed,
        "keep_bad": cfg.keep_bad,
    }


def _refuse_foreign(out: Path) -> None:
    """DataError when there are shards of someone else: they would become part of the set."""
    if not (out / _STATE).exists() and not is_new(out):
        raise DataError(f"{out} is not empty, and nothing was packed into it before; give an empty or a new folder")


class _Ahead:
    """The samples in turn, of which the next can be looked at before it is taken."""

    def __init__(self, chunks: Iterator[list[Packable]], position: int, meter: Meter) -> None:
        self.position = position
        self._samples = _counted(chunks, meter)
        self.next = next(self._samples, None)

    def take(self) -> None:
        self.position += 1
        self.next = next(self._samples, None)


def _counted(chunks: Iterator[list[Packable]], meter: Meter) -> Iterator[Packable]:
    for chunk in chunks:
        yield from chunk
        meter.add(len(chunk))


def _write(ahead: _Ahead, out: Path, cfg: Packing, journal: Journal, bad: BinaryIO, digits: int) -> None:
    """Write the shards that are not finished yet, one after the other."""
    while ahead.next:
        number = len(journal.steps)
        if number == MOST_SHARDS:
            raise DataError(f"{out} has {MOST_SHARDS:,} shards, the most there can be; pack larger ones")
        path = out / f"{number:05}.tar"
        with naming_path(path), ShardWriter(path) as shard:
            _fill(shard, ahead, cfg, bad, journal.samples, digits)
            if shard.samples:
                with naming_path(out / BAD):
                    _sync(bad)
                journal.add(Step(shard.finish(), ahead.position, bad.tell()))


def _fill(shard: ShardWriter, ahead: _Ahead, cfg: Packing, bad: BinaryIO, first: int, digits: int) -> None:
    """Add samples, numbered from `first` on, until the shard is full; bad ones go to their list."""
    room = (cfg.shard_mib << 20) - END
    while sample := ahead.next:
        if sample.bad:
            bad.write(_bad_line(sample.key, sample.bad))
        else:
            files = sample.files(f"{first + shard.samples:0{digits}}")
            full = shard.samples == cfg.samples_per_shard or shard.bytes + stored_bytes(files) > room
            if full and shard.samples:
                return
            shard.add(files)
        ahead.take()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _bad_list(out: Path, journal: Journal) -> BinaryIO:
    """The list of what is left out, as it was when the last shard was finished."""
    path = out / BAD
    path.touch()
    file = path.open("r+b")
    file.truncate(journal.steps[-1].bad_bytes if journal.steps else 0)
    file.seek(0, os.SEEK_END)
    return file


def _bad_line(key: str, entry: Skipped) -> bytes:
    return json.dumps({"key": key, **entry._asdict()}).encode() + b"\n"


def _read_bad(out: Path) -> Bad:
    found: Bad = {}
    for entry in read_jsonl(out / BAD):
        with contextlib.suppress(TypeError, KeyError):  # a damaged line names nobody: the count is then one less
            key = entry.pop("key")
            found[key] = Skipped(**entry)
    return found


def _index(source: Source, out: Path, journal: Journal, workers: int, console: Console | None) -> None:
    """Index the shards; what is read back must be what was written."""
    shards: list[Written] = [step.shard for step in journal.steps]
    entries = [Entry(str(out / shard.name), shard.bytes) for shard in shards]
    with Meter("index", len(entries), "shards", console=console) as meter:
        manifest = index_shards(entries, workers=max(1, workers), progress=meter, classes=source.classes)
    for number, shard in enumerate(shards):
        found = manifest.shard(number)
        if (found.samples, found.sha256) != (shard.samples, shard.sha256):
            raise OSError(
                f"{out / shard.name} reads back differently from what was written; is the disk faulty? Remove the "
                "file and pack again"
            )
