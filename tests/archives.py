"""Small tar shards, well formed and not, for the tests of the readers."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nextpatch.data.tar.index import IndexWriter, Shard
from nextpatch.data.tar.reader import Member, TarReader
from nextpatch.data.tar.samples import Sample, kept_bytes, samples

Files = Iterable[tuple[str, bytes]]


def archive(files: Files, kind: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of named files, as Python writes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def images(count: int, size: int = 700, first: int = 0) -> list[tuple[str, bytes]]:
    """img2dataset's layout: image, text, JSON; the label of sample i is i mod 5."""
    rng = np.random.default_rng(first)
    files = []
    for i in range(first, first + count):
        image = rng.bytes(size + i % 3)
        document = json.dumps({"key": f"{i:09d}", "label": i % 5}).encode()
        files += [(f"{i:09d}.jpg", image), (f"{i:09d}.txt", b"a caption"), (f"{i:09d}.json", document)]
    return files


def header(
    name: bytes, size: bytes | int, kind: bytes = b"0", mark: bytes = b"ustar\x0000", more: bytes = b""
) -> bytes:
    """A header with a valid checksum, whatever it claims; `more` begins at byte 345."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    block = name[:100].ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + field + b"00000000000\0" + b" " * 8
    block = (block + kind + bytes(100) + mark.ljust(8, b"\0")).ljust(345, b"\0")
    block = (block + more).ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def walked(data: bytes, size: int | None = -1) -> tuple[list[Member], TarReader]:
    """What the walker makes of some bytes; their length is known to it unless told otherwise."""
    reader = TarReader(io.BytesIO(data), len(data) if size == -1 else size, "x.tar", kept_bytes)
    return list(reader), reader


def grouped(data: bytes) -> tuple[list[Sample], TarReader]:
    """The samples in some bytes."""
    reader = TarReader(io.BytesIO(data), len(data), "x.tar", kept_bytes)
    return list(samples(reader, "x.tar")), reader


def index_file(found: Sequence[Sample], **facts: Any) -> bytes:
    """An index of samples."""
    writer = IndexWriter()
    for sample in found:
        writer.add(sample)
    shard = {
        "name": "x.tar",
        "samples": writer.samples,
        "bytes": 1,
        "sha256": "00" * 32,
        "labels": writer.naming.labels,
    }
    return writer.finished(Shard(**(shard | facts)))


def write_shards(root: Path, count: int = 3, each: int = 10, **options: Any) -> list[Path]:
    """`count` shards of `each` samples in a folder."""
    root.mkdir(parents=True, exist_ok=True)
    paths = [root / f"{number:05d}.tar" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(archive(images(each, first=number * each, **options)))
    return paths
