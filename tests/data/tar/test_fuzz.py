"""Mutated shards, indexes and manifests: nothing but the named error leaves a reader, and no reader asks for much."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from archives import archive, grouped, images, index_file
from nextpatch.data.error import DataError
from nextpatch.data.tar.index import _FRONT, IndexDamagedError, Shard, ShardIndex
from nextpatch.data.tar.manifest import Manifest, _first_line, parse_manifest
from nextpatch.data.tar.samples import Sample
from peak import grows_at_most

MEMORY = 64 * 2**20  # more than any of these small files may ask for


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, or cut, or a piece of it put in once more."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        found[int(rng.integers(len(found)))] = int(rng.choice([0, 0x7F, 0x80, 0xFF, rng.integers(256)]))
    at = int(rng.integers(len(found)))
    return bytes([found, found[:at], found[:at] + found[at // 2 :]][int(rng.choice(3, p=(0.7, 0.2, 0.1)))])


def signed_header(data: bytes, rng: np.random.Generator) -> bytes:
    """A shard with one header changed and its checksum made to hold, so that what it claims is believed."""
    found = bytearray(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        start = int(rng.choice([member.offset for member in tar]))
    for _ in range(int(rng.integers(1, 4))):
        found[start + int(rng.integers(512))] = int(rng.choice([0, 0x37, 0x80, 0xFF, rng.integers(256)]))
    block = found[start : start + 512]
    block[148:156] = b" " * 8
    found[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(found)


def fuzz_shards(count: int) -> None:
    rng = np.random.default_rng(0)
    files = [*images(3), ("é" * 70 + ".jpg", b"\xff\xd8\xff" * 40), ("a.b.json", b'{"label": 3}'), ("x/y.cls", b"cat")]
    kinds = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    whole = [archive(files[:3] if kind == tarfile.USTAR_FORMAT else files, kind) for kind in kinds]
    for number in range(count):
        data = (mutated if number % 2 else signed_header)(whole[number % 3], rng)
        try:
            found, reader = grouped(data)
        except DataError:
            continue
        assert all(0 <= sample.offset <= sample.offset + sample.size <= len(data) for sample in found)
        assert reader.hashed.position <= len(data)


def signed_index(data: bytes, rng: np.random.Generator) -> bytes:
    """An index with some bytes changed and all checksums made to hold."""
    found = bytearray(data)
    length = _FRONT.unpack_from(data)[2]
    for _ in range(int(rng.integers(1, 5))):
        found[int(rng.integers(8 if rng.random() < 0.5 else _FRONT.size, len(found)))] = int(rng.integers(256))
    *front, _ = _FRONT.unpack_from(found)
    table = _FRONT.size + length
    for block, (start, end) in enumerate(pairwise(np.frombuffer(data, "<u8", 3, table).tolist())):
        found[start : start + 4] = zlib.crc32(bytes(found[start + 4 : end]), block).to_bytes(4, "little")
    facts = bytes(found[_FRONT.size : _FRONT.size + min(front[2], 2**20)])
    without_metadata = _FRONT.pack(*front, 0)
    found[: _FRONT.size] = _FRONT.pack(*front, zlib.crc32(facts, zlib.crc32(without_metadata[:-4])))
    return bytes(found)


def fuzz_indexes(path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    whole = index_file([Sample(b"k/%d" % i, 512 * i, 400, i, i % 3) for i in range(200)], left_out="2 x link")
    for number in range(count):
        path.write_bytes((mutated if number % 4 == 0 else signed_index)(whole, rng))
        try:
            index = ShardIndex(path)
            index.whole()
        except IndexDamagedError:
            continue
        for ask in (index.record, index.key):
            for sample in (0, 150, len(index) - 1):
                try:
                    ask(sample)
                except IndexDamagedError:
                    continue


def signed_manifest(data: bytes, rng: np.random.Generator) -> bytes:
    """A manifest with some characters changed and its digest made to hold."""
    rest = bytearray(data.partition(b"\n")[2])
    for _ in range(int(rng.integers(1, 4))):
        rest[int(rng.integers(len(rest)))] = int(rng.choice([*b'0123456789e-.,[]{}":\\untf', rng.integers(256)]))
    return _first_line(hashlib.sha256(rest).hexdigest()) + rest


def fuzz_manifests(path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    shards = [Shard("a", 2, 1024, "ab" * 32, 2, "cut"), Shard("b", 0, 512, "cd" * 32, 0)]
    Manifest.of(shards, ["cat", "dog"]).write(path)
    whole = path.read_bytes()
    for number in range(count):
        try:
            found = parse_manifest((mutated if number % 4 == 0 else signed_manifest)(whole, rng), "m")
        except DataError:
            continue
        assert all(found.shard(i).name == name for i, name in enumerate(found.names))
        assert len(found.digest) == 64


def all_of_them(tmp_path: Path, count: int) -> None:
    with grows_at_most(MEMORY):
        fuzz_shards(count)
        fuzz_indexes(tmp_path / "x.idx", count)
        fuzz_manifests(tmp_path / "m.json", count)


def test_nothing_but_named_errors_leaves_what_is_damaged(tmp_path: Path) -> None:
    all_of_them(tmp_path, 100)


@pytest.mark.slow
def test_nothing_but_named_errors_leaves_much_that_is_damaged(tmp_path: Path) -> None:
    all_of_them(tmp_path, 3000)
