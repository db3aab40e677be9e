"""Verifying reads every byte again and names the shards and samples that are not what they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from archives import write_shards
from nextpatch.data.storage.location import Entry
from nextpatch.data.tar.build import index_shards
from nextpatch.data.tar.verify import Problem, verify


def entries(paths: list[Path]) -> list[Entry]:
    return [Entry(str(path), path.stat().st_size) for path in paths]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    paths = write_shards(tmp_path, 4, 10)
    index_shards(entries(paths))
    return paths


def change(path: Path, location: int) -> None:
    data = bytearray(path.read_bytes())
    data[location] ^= 4
    path.write_bytes(data)


def test_nothing_is_wrong_with_what_was_indexed(paths: list[Path]) -> None:
    calls: list[tuple[int, int]] = []
    assert verify(entries(paths), lambda done, total: calls.append((done, total)), workers=1) == []
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert verify(entries(paths), workers=2) == []


def test_damage_is_named_with_the_samples_that_it_costs(paths: list[Path]) -> None:
    change(paths[1], 600)  # in the first image
    change(paths[1], 4096 + 600)  # in the second
    change(paths[2], 100)  # in a header
    assert verify(entries(paths), workers=1) == [
        Problem(str(paths[1]), "differs from what was indexed", ("000000010", "000000011")),
        Problem(str(paths[2]), "differs from what was indexed, outside of its images"),
    ]


def test_cut_grown_missing_and_unknown_shards_are_named(paths: list[Path], tmp_path: Path) -> None:
    paths[0].write_bytes(paths[0].read_bytes()[:-8192])
    with paths[1].open("ab") as stream:
        stream.write(bytes(512))
    paths[2].unlink()
    new = write_shards(tmp_path / "new", 1, 3)[0].rename(tmp_path / "x.tar")
    found = {
        Path(problem.location).name: problem for problem in verify(entries([*paths[:2], paths[3], new]), workers=1)
    }
    assert "40960" in found["00000.tar"].what
    assert "32768" in found["00000.tar"].what
    assert found["00000.tar"].keys == ("000000009",)
    assert found["00001.tar"].keys == ()
    assert found["00002.tar"].what == "is missing"
    assert found["x.tar"].what == "is not in the manifest"
    assert len(found) == 4


def test_an_index_that_is_damaged_missing_or_of_another_shard_is_named(paths: list[Path]) -> None:
    folder = paths[0].parent / ".nextpatch" / "index"
    change(folder / "00000.tar.idx", -3)
    (folder / "00001.tar.idx").unlink()
    (folder / "00002.tar.idx").write_bytes((folder / "00003.tar.idx").read_bytes())
    found = verify(entries(paths), workers=1)
    assert [Path(problem.location).name for problem in found] == ["00000.tar", "00001.tar", "00002.tar"]
    assert all("index" in problem.what for problem in found)


def test_what_was_damaged_from_the_start_stays_listed(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 2, 10)
    paths[1].write_bytes(paths[1].read_bytes()[:9000])
    index_shards(entries(paths))
    found = verify(entries(paths), workers=1)
    assert [problem.location for problem in found] == [str(paths[1])]
    assert "was damaged when it was indexed: byte" in found[0].what
    assert "cut short" in found[0].what


def test_a_shard_that_cannot_be_read_is_named(paths: list[Path]) -> None:
    given = entries(paths)
    paths[2].unlink()
    paths[2].mkdir()
    found = verify(given, workers=1)
    assert [problem.location for problem in found] == [str(paths[2])]
    assert "cannot be read" in found[0].what


def test_nothing_is_changed(paths: list[Path]) -> None:
    folder = paths[0].parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    change(paths[0], 600)
    verify(entries(paths), workers=1)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert {path for path in after if before.get(path) != after[path]} == {paths[0]}
