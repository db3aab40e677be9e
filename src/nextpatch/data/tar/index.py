"""The side index of one shard: where each sample's image lies, its checksum, its label, its key.

A file of blocks of 128 samples, each with its own CRC-32, so that any sample costs one small read and no index is ever
loaded as a whole. In front stand the counts and what the shard looked like when it was read. About 20 bytes a sample,
and its key compressed.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from nextpatch.core.errors import UserError
from nextpatch.data.tar.header import MAX_NAME
from nextpatch.data.tar.naming import Naming
from nextpatch.data.tar.samples import NO_LABEL, Sample

VERSION = 3  # one more whenever the same shard gives other samples, keys or labels
BLOCK_SAMPLES = 128
RECORD = np.dtype([("offset", "<u8"), ("size", "<u4"), ("crc32", "<u4"), ("label", "<i4")])
_RECORD = struct.Struct("<QIIi")
_MAGIC = b"nextptar"
_FRONT = struct.Struct("<8sIIQQI")  # magic, version, bytes of facts, samples, bytes of the file, CRC-32 of all this
_MAX_FACTS = 2**20
_CRC = struct.Struct("<I")


class IndexDamagedError(UserError):
    """An index file is not what was written; it can be made again from its shard."""


class Record(NamedTuple):
    """Where an image's bytes lie in the shard, their CRC-32, and the label or NO_LABEL."""

    offset: int
    size: int
    crc32: int
    label: int

    def fits(self, data: bytes) -> bool:
        """Whether these are the bytes that were indexed."""
        return len(data) == self.size and zlib.crc32(data) == self.crc32


@dataclass(frozen=True)
class Shard:
    """What a shard looked like when it was read."""

    name: str  # relative to the folder of the whole set
    samples: int
    bytes: int
    sha256: str
    labels: int  # one more than the largest label; 0 without labels
    damage: str = ""  # in words; empty when it is whole
    left_out: str = ""  # what is in it and is no sample
    names: tuple[str, ...] = ()  # what the labels in the index stand for, where they are not class numbers themselves
    named_by: str = ""  # WORD, FOLDER, or empty: labels are numbers


class IndexWriter:
    """Collects samples; `finished` gives the index file's bytes, the same for the same shard."""

    def __init__(self) -> None:
        self.samples = 0
        self.naming = Naming()
        self._keys: list[bytes] = []
        self._places: list[bytes] = []
        self._blocks: list[tuple[bytes, bytes]] = []  # records whose labels are not known yet, keys

    def add(self, sample: Sample) -> None:
        """The next sample of the shard."""
        self.samples += 1
        self.naming.add(sample)
        self._keys.append(sample.key)
        self._places.append(_RECORD.pack(sample.offset, sample.size, sample.crc32, NO_LABEL))
        if len(self._keys) == BLOCK_SAMPLES:
            self._close_block()

    def finished(self, shard: Shard) -> bytes:
        """The whole file."""
        if self._keys:
            self._close_block()
        blocks, labels = [], self.naming.locations(shard.named_by)
        for number, (records, keys) in enumerate(self._blocks):
            found = np.frombuffer(records, RECORD).copy()
            found["label"] = labels[number * BLOCK_SAMPLES :][: len(found)]
            body = found.tobytes() + keys
            blocks.append(_CRC.pack(_checksum(number, body)) + body)
        facts = json.dumps(asdict(shard), ensure_ascii=True).encode()
        first = _FRONT.size + len(facts) + 8 * (len(blocks) + 1)
        starts = np.cumsum([first, *map(len, blocks)]).astype("<u8")
        front = _FRONT.pack(_MAGIC, VERSION, len(facts), shard.samples, int(starts[-1]), 0)
        front = _FRONT.pack(*_FRONT.unpack(front)[:-1], zlib.crc32(facts, zlib.crc32(front[: -_CRC.size])))
        return b"".join((front, facts, starts.tobytes(), *blocks))

    def _close_block(self) -> None:
        self._blocks.append((b"".join(self._places), zlib.compress(b"\0".join(self._keys), 6)))
        self._places.clear()
        self._keys.clear()


class ShardIndex:
    """An index file, open for reading by sample number; IndexDamagedError wherever it is not as it was written.

    FileNotFoundError when there is none. Reading moves no position, so forked processes may share it without a lock.
    """

    def __init__(self, path: Path) -> None:
        self._file = -1
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            front = os.pread(self._file, _FRONT.size, 0)
            magic, version, length, samples, total, crc32 = _FRONT.unpack(front)
            facts = os.pread(self._file, min(length, _MAX_FACTS), _FRONT.size)
            if (magic, version) != (_MAGIC, VERSION):
                raise IndexDamagedError(f"{path} was made by another version of nextpatch, or is not an index")
            whole = os.fstat(self._file).st_size == total >= samples * RECORD.itemsize
            if crc32 != zlib.crc32(facts, zlib.crc32(front[: -_CRC.size])) or not whole:
                raise IndexDamagedError(f"{path} is damaged")
            self.shard = _shard_of(facts)
        except (struct.error, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise IndexDamagedError(f"{path} is damaged ({error})") from None
        self.path, self._table = path, _FRONT.size + length
        self._samples, self._total = int(samples), int(total)

    def __del__(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)

    def __len__(self) -> int:
        return self._samples

    def record(self, number: int) -> Record:
        """Where sample `number` is."""
        block, within = divmod(number, BLOCK_SAMPLES)
        return Record(*_RECORD.unpack_from(self._block(block), within * _RECORD.size))

    def key(self, number: int) -> bytes:
        """What sample `number` is called in the shard."""
        block, within = divmod(number, BLOCK_SAMPLES)
        keys = self._block(block)[self._count(block) * _RECORD.size :]
        try:
            return zlib.decompressobj().decompress(keys, BLOCK_SAMPLES * (MAX_NAME + 1)).split(b"\0")[within]
        except (zlib.error, IndexError):
            raise IndexDamagedError(f"{self.path} is damaged in the keys of block {block}") from None

    def records(self) -> Shaped[np.ndarray, " samples"]:
        """All of them, of type RECORD."""
        blocks = range(-(-self._samples // BLOCK_SAMPLES))
        parts = [self._block(block)[: self._count(block) * _RECORD.size] for block in blocks]
        return np.frombuffer(b"".join(parts), RECORD)

    def whole(self) -> bool:
        """Whether every block is as it was written."""
        try:
            return len(self.records()) == self._samples
        except IndexDamagedError:
            return False

    def _count(self, block: int) -> int:
        return min(BLOCK_SAMPLES, self._samples - block * BLOCK_SAMPLES)

    def _block(self, block: int) -> bytes:
        """A block without its checksum, which has been compared."""
        table = os.pread(self._file, 16, self._table + 8 * block)
        start, end = struct.unpack("<QQ", table) if len(table) == 16 else (0, 0)
        found = os.pread(self._file, end - start, start) if 0 < start < end <= self._total else b""
        body = found[_CRC.size :]
        if len(body) <= self._count(block) * _RECORD.size or found[: _CRC.size] != _CRC.pack(_checksum(block, body)):
            raise IndexDamagedError(f"{self.path} is damaged in block {block}")
        return body


def _shard_of(facts: bytes) -> Shard:
    """ValueError, TypeError or RecursionError for what no writer of ours writes."""
    values = json.loads(facts)
    shard = Shard(**{**values, "names": tuple(map(str, values.get("names", ())))})
    kinds = {"samples": int, "bytes": int, "labels": int}
    if any(not isinstance(getattr(shard, item.name), kinds.get(item.name, str)) for item in fields(shard)[:-2]):
        raise ValueError("a value of another kind")
    return shard


def usable(records: Shaped[np.ndarray, " samples"], size: int) -> int:
    """How many of the samples end within the first `size` bytes of their shard."""
    return int(np.count_nonzero(records["offset"] + records["size"] <= size))


def _checksum(block: int, body: bytes) -> int:
    """Of a block in its place: one copied over another is found too."""
    return zlib.crc32(body, block)
