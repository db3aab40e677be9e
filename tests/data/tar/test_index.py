"""A side index gives back what was put in, or says that it is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archives import index_file
from nextpatch.data.tar.index import RECORD, IndexDamagedError, ShardIndex, usable
from nextpatch.data.tar.samples import Sample


def samples(count: int) -> list[Sample]:
    rng = np.random.default_rng(count)
    sizes = rng.integers(0, 2**28, count).tolist()
    return [Sample(f"k/é{i:07d}".encode(), 2**40 + i, sizes[i], 2**32 - 1 - i, i % 7 - 1) for i in range(count)]


def opened(path: Path, data: bytes) -> ShardIndex:
    path.write_bytes(data)
    return ShardIndex(path)


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 1000])
def test_what_was_put_in_comes_back(tmp_path: Path, count: int) -> None:
    given = samples(count)
    index = opened(tmp_path / "x", index_file(given, damage="byte 3: é", left_out="2 x link"))
    assert len(index) == count
    assert [(index.key(i), *index.record(i)) for i in range(count)] == given
    assert index.records().tolist() == [tuple(sample[1:]) for sample in given]
    assert index.whole()
    assert (index.shard.name, index.shard.damage, index.shard.left_out) == ("x.tar", "byte 3: é", "2 x link")
    assert index.shard.labels == (6 if count > 7 else 0)


def test_it_takes_about_twenty_bytes_a_sample_and_little_for_its_key() -> None:
    count = 10_000
    given = [Sample(b"%09d" % i, i * 50_000, 50_000 + i % 999, i * 7919, -1) for i in range(count)]
    assert RECORD.itemsize == 20
    assert len(index_file(given)) / count < 23


def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path) -> None:
    data = index_file(samples(140))
    places = range(0, len(data), 5)
    found = 0
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        try:
            index = opened(tmp_path / "x", bytes(flipped))
        except IndexDamagedError:
            found += 1
        else:
            found += not index.whole()
    assert found == len(places)
    for length in range(0, len(data), 31):
        with pytest.raises(IndexDamagedError):
            opened(tmp_path / "x", data[:length])
    with pytest.raises(IndexDamagedError):
        opened(tmp_path / "x", data + b"x")


def test_a_damaged_block_is_no_obstacle_to_the_others(tmp_path: Path) -> None:
    given = samples(300)
    data = bytearray(index_file(given))
    data[-1] ^= 1
    index = opened(tmp_path / "x", bytes(data))
    assert index.record(0) == given[0][1:]
    for ask in (index.record, index.key):
        with pytest.raises(IndexDamagedError, match="block 2"):
            ask(299)


def test_another_version_and_another_file_are_refused(tmp_path: Path) -> None:
    data = index_file(samples(3))
    for other in (data[:8] + b"\1" + data[9:], b"PK" + data[2:], b""):
        with pytest.raises(IndexDamagedError):
            opened(tmp_path / "x", other)
    with pytest.raises(FileNotFoundError):
        ShardIndex(tmp_path / "nowhere")


def test_how_much_of_a_shard_is_usable(tmp_path: Path) -> None:
    given = [Sample(b"%d" % i, 512 + 1024 * i, 500, 0, -1) for i in range(5)]
    records = opened(tmp_path / "x", index_file(given)).records()
    assert [usable(records, size) for size in (0, 1011, 1012, 4000, 10**6)] == [0, 0, 1, 3, 5]


def test_open_files_are_closed_with_it(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(index_file(samples(3)))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        ShardIndex(tmp_path / "x").record(0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
