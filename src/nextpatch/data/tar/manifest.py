"""What a set of tar shards holds: for each its samples, bytes and digest. All that a run keeps of a billion samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from nextpatch.core.files import write_bytes
from nextpatch.data.error import DataError
from nextpatch.data.sources.layout import is_number
from nextpatch.data.sources.source import digest_of
from nextpatch.data.tar.index import Shard
from nextpatch.data.tar.naming import FOLDER, WORD
from nextpatch.data.tar.samples import MAX_CLASSES

FORMAT = "nextpatch tar manifest 3"
_OLD = ("nextpatch tar manifest 1", "nextpatch tar manifest 2")  # other images or labels: digests and classes hold
_MOST_NAMES = 100_000  # of all shards: more are no classes
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
    classes: tuple[str, ...] = ()  # names of the numbers, where they are known
    words: tuple[str, ...] = ()  # labels that are names, of all shards
    folders: tuple[str, ...] = ()  # of shards whose images have no other label; not where each has but one, numbered
    left_out: dict[int, str] = field(default_factory=dict)  # what is in a shard and is no sample
    old: bool = False  # of a version that read shards otherwise: they have to be indexed again

    @classmethod
    def of(cls, shards: Sequence[Shard], classes: Iterable[str] = ()) -> Manifest:
        """The manifest of shards that have been read."""
        rows = [[getattr(shard, column) for column in _COLUMNS] for shard in shards]
        by_folder = [shard.names for shard in shards if shard.named_by == FOLDER]
        telling = any(len(names) > 1 or not all(map(is_number, names)) for names in by_folder)
        return replace(
            _of_rows(rows, classes),
            words=_names(shard.names for shard in shards if shard.named_by == WORD),
            folders=_names(by_folder if telling else ()),
            left_out={number: shard.left_out for number, shard in enumerate(shards) if shard.left_out},
        )

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
        damage, left_out = (
            {new: found[old] for new, old in enumerate(rows) if old in found} for found in (self.damage, self.left_out)
        )
        return replace(
            self,
            names=tuple(self.names[old] for old in rows),
            samples=self.samples[rows],
            bytes=self.bytes[rows],
            sha256=self.sha256[rows],
            labels=self.labels[rows],
            damage=damage,
            left_out=left_out,
        )

    def shard(self, number: int) -> Shard:
        """One row."""
        samples, size, labels = (int(column[number]) for column in (self.samples, self.bytes, self.labels))
        sha256 = self.sha256[number].tobytes().hex()
        damage, left_out = self.damage.get(number, ""), self.left_out.get(number, "")
        return Shard(self.names[number], samples, size, sha256, labels, damage, left_out)

    def write(self, path: Path) -> None:
        """As a JSON file with a digest of its own text, one shard a line; it appears whole or not at all."""
        shards = (self.shard(number) for number in range(len(self)))
        rows = (json.dumps([getattr(shard, column) for column in _COLUMNS]) for shard in shards)
        beside = {"classes": self.classes, "words": self.words, "folders": self.folders, "left_out": self.left_out}
        told = "".join(f"{json.dumps(name)}: {json.dumps(value)},\n" for name, value in beside.items() if value)
        text = told + '"shards": [\n' + ",\n".join(rows) + "\n]}\n"
        data = text.encode()
        write_bytes(path, _first_line(hashlib.sha256(data).hexdigest()) + data, shared=True)


def joined(manifests: Sequence[Manifest]) -> Manifest:
    """One manifest of all shards that several name, by name; what the first says of a shard holds."""
    shards = {shard.name: shard for one in reversed(manifests) for shard in map(one.shard, range(len(one)))}
    classes = next((one.classes for one in manifests if one.classes), ())
    words, folders = (_names(getattr(one, kind) for one in manifests) for kind in ("words", "folders"))
    return replace(Manifest.of([shards[name] for name in sorted(shards)], classes), words=words, folders=folders)


def read_manifest(path: Path) -> Manifest | None:
    """The manifest in a file, None when there is none; DataError when it is damaged."""
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None


def parse_manifest(data: bytes, location: str) -> Manifest:
    """The manifest that a file holds; DataError, naming `location`, when it is damaged."""
    first, _, rest = data.partition(b"\n")
    del data
    digest = hashlib.sha256(rest).hexdigest()
    old = any(first + b"\n" == _first_line(digest, kind) for kind in _OLD)
    if not old and first + b"\n" != _first_line(digest):
        raise DataError(
            f"{location} is damaged, or of another version; remove it, and index the shards again: nextpatch data index"
        )
    try:
        document: dict[str, Any] = json.loads(b"{" + rest)
        found = _of_rows(document["shards"], document.get("classes", ()))
        words, folders = (_names([document.get(kind, ())]) for kind in ("words", "folders"))
        left_out = {int(number): str(text) for number, text in document.get("left_out", {}).items()}
        found = replace(found, words=words, folders=folders, left_out=left_out, old=old)
        _check(found)
        return found
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{location} is not a manifest of tar shards ({error}); remove it") from None


def _check(manifest: Manifest) -> None:
    """ValueError for what no writer of ours writes."""
    if len(set(manifest.names)) < len(manifest):
        raise ValueError("a shard is named twice")
    columns = (manifest.samples, manifest.bytes, manifest.labels)
    if any(np.any(column < 0) for column in columns) or np.any(manifest.labels > MAX_CLASSES):
        raise ValueError("a number is out of range")
    if len(manifest.sha256) != len(manifest):
        raise ValueError("a digest is missing")


def _names(parts: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All different names in order; none where they are too many to be classes."""
    found: set[str] = set()
    for part in parts:
        found.update(map(str, part))
        if len(found) > _MOST_NAMES:
            return ()
    return tuple(sorted(found))


def _first_line(digest: str, kind: str = FORMAT) -> bytes:
    return json.dumps({"format": kind, "sha256": digest})[:-1].encode() + b",\n"


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
