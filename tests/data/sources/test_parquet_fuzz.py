"""Mutated Parquet files: nothing but the named errors leaves the reader, and it asks for little memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextpatch.data.error import DataError
from nextpatch.data.sources.parquet import ParquetSource
from nextpatch.data.sources.parquet_file import what_table
from peak import grows_at_most

MEMORY = 256 * 2**20  # more than these small files may ask for; Arrow reserves pages as they are claimed


def whole_files(folder: Path) -> list[bytes]:
    """A plain column of bytes, structs in two row groups with names, a dictionary, and compression."""
    data = [b"image %d" % i * 5 for i in range(12)]
    tables = (
        ({"image": data, "label": list(range(12))}, {"compression": "none"}),
        ({"image": [{"bytes": one, "path": None} for one in data], "label": ["cat", "dog"] * 6}, {"row_group_size": 5}),
        ({"png": data, "label": pa.array(["a", "b", None] * 4).dictionary_encode()}, {"compression": "zstd"}),
    )
    for number, (columns, options) in enumerate(tables):
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", **options)
    return [(folder / f"{number}.parquet").read_bytes() for number in range(len(tables))]


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, in the pages or in the footer, or a piece cut out."""
    found = bytearray(data)
    first = len(found) - 8 - int.from_bytes(found[-8:-4], "little") if rng.random() < 0.5 else 4
    for _ in range(int(rng.integers(1, 4))):
        found[int(rng.integers(first, len(found)))] = int(rng.choice([0, 0x7F, 0xFF, rng.integers(256)]))
    if rng.random() < 0.2:
        at = int(rng.integers(len(found)))
        del found[at : at + int(rng.integers(1, 50))]
    return bytes(found)


def fuzz(folder: Path, count: int) -> None:
    rng, whole, path = np.random.default_rng(0), whole_files(folder), folder / "x.parquet"
    for number in range(count):
        path.write_bytes(mutated(whole[number % len(whole)], rng))
        what_table(path)
        try:
            source = ParquetSource([path])
        except DataError:
            continue
        for sample in {0, len(source) // 2, len(source) - 1}:
            try:
                source.read(sample)
                label = source.label(sample)
                assert label is None or 0 <= label < len(source.classes)
            except OSError:
                continue


def test_nothing_but_named_errors_leaves_a_damaged_file(tmp_path: Path) -> None:
    with grows_at_most(MEMORY):
        fuzz(tmp_path, 100)


@pytest.mark.slow
def test_nothing_but_named_errors_leaves_many_damaged_files(tmp_path: Path) -> None:
    with grows_at_most(MEMORY):
        fuzz(tmp_path, 3000)
