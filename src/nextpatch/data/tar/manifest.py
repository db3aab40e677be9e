"""What a set of tar shards holds: for each its samples, bytes and digest. All that a run keeps of a billion samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from nextpatch.data.error import DataError
from nextpatch.data.sources.source import digest_of
from nextpatch.data.tar.index import Shard
from nextpatch.data.tar.samples import MAX_CLASSES
from nextpatch.data.tar.whole import write_whole

FORMAT = "nextpatch tar manifest 1"
_COLUMNS = ("name", "samples", "bytes", "sha256", "labels", "damage")


@dataclass(frozen=True)
class Manifest:
    """The shards of a set, in order, as columns: 100,000 of them take some 20 MB.

    Names are relative to the folder of the whole set, so that it may move.
    """

    names: tuple[str, ...]
    samples: Int64[np.ndarray, " shards"]
    bytes: Int64[np.ndarray, " shards"]
    sha256: UInt8[np.ndarray, "shards 32"]
    labels: Int64[np.ndarray, " shards"]  # one more than the largest label; 0 without labels
    damage: dict[int, str]  # of the shards that were not whole when they were indexed
    classes: tuple[str, ...] = ()  # names, where they are known

    @classmethod
    def of(cls, shards: Sequence[Shard], classes: Iterable[str] = ()) -> Manifest:
        """The manifest of shards that have been read."""
        rows = [[getattr(shard, column) for column in _COLUMNS] for shard in shards]
        return _of_rows(rows, classes)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the names, counts, bytes and digests of the shards."""
        columns = zip(self.names, self.samples.tolist(), self.bytes.tolist(), self.sha256, strict=True)
        return digest_of(f"{name} {samples} {size} {sha256.tobytes().hex()}" for name, samples, size, sha256 in columns)

    def picked(self, names: Iterable[str]) -> Manifest:
        """The rows of these names, in this order; KeyError for one that is not there."""
        row = {name: number for number, name in enumerate(self.names)}
        rows = [row[name] for name in names]
        damage = {new: self.damage[old] for new, old in enumerate(rows) if old in self.damage}
        names = tuple(self.names[old] for old in rows)
        samples, sizes = self.samples[rows], self.bytes[rows]
        return Manifest(names, samples, sizes, self.sha256[rows], self.labels[rows], damage, self.classes)

    def shard(self, number: int) -> Shard:
        """One row."""
        samples, size, labels = (int(column[number]) for column in (self.samples, self.bytes, self.labels))
        sha256 = self.sha256[number].tobytes().hex()
        return Shard(self.names[number], samples, size, sha256, labels, self.damage.get(number, ""))

    def write(self, path: Path) -> None:
        """As a JSON file with a digest of its own text, one shard a line; it appears whole or not at all."""
        shards = (self.shard(number) for number in range(len(self)))
        rows = (json.dumps([getattr(shard, column) for column in _COLUMNS]) for shard in shards)
        text = f'"classes": {json.dumps(self.classes)},\n"shards": [\n' + ",\n".join(rows) + "\n]}\n"
        data = text.encode()
        write_whole(path, _first_line(data) + data)


def joined(manifests: Sequence[Manifest]) -> Manifest:
    """One manifest of all shards that several name, by name; what the first says of a shard holds."""
    shards = {shard.name: shard for one in reversed(manifests) for shard in map(one.shard, range(len(one)))}
    classes = next((one.classes for one in manifests if one.classes), ())
    return Manifest.of([shards[name] for name in sorted(shards)], classes)


def read_manifest(path: Path) -> Manifest | None:
    """The manifest in a file, None when there is none; DataError when it is damaged."""
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None


def parse_manifest(data: bytes, place: str) -> Manifest:
    """The manifest that a file holds; DataError, naming `place`, when it is damaged."""
    first, _, rest = data.partition(b"\n")
    del data
    if first + b"\n" != _first_line(rest):
        raise DataError(
            f"{place} is damaged, or of another version; remove it and run `nextpatch data index` on the shards again"
        )
    try:
        document: dict[str, Any] = json.loads(b"{" + rest)
        found = _of_rows(document["shards"], document["classes"])
        _check(found)
        return found
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"{place} is no manifest of tar shards ({error}); remove it") from None


def _check(manifest: Manifest) -> None:
    """ValueError for what no writer of ours writes."""
    if len(set(manifest.names)) < len(manifest):
        raise ValueError("a shard is named twice")
    columns = (manifest.samples, manifest.bytes, manifest.labels)
    if any(np.any(column < 0) for column in columns) or np.any(manifest.labels > MAX_CLASSES):
        raise ValueError("a number is out of range")
    if len(manifest.sha256) != len(manifest):
        raise ValueError("a digest is missing")


def _first_line(rest: bytes) -> bytes:
    return json.dumps({"format": FORMAT, "sha256": hashlib.sha256(rest).hexdigest()})[:-1].encode() + b",\n"


def _of_rows(rows: list[list[Any]], classes: Iterable[str]) -> Manifest:
    names, samples, sizes, sha256, labels, damage = zip(*rows, strict=True) if rows else ((),) * 6
    return Manifest(
        tuple(map(str, names)),
        np.array(samples, np.int64),
        np.array(sizes, np.int64),
        np.frombuffer(bytes.fromhex("".join(sha256)), np.uint8).reshape(-1, 32),
        np.array(labels, np.int64),
        {number: str(text) for number, text in enumerate(damage) if text},
        tuple(map(str, classes)),
    )
