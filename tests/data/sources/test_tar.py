"""Tar shards as a source: what is read is what was written, from any process, and nothing goes missing unseen."""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from archives import archive, images, write_shards
from nextpatch.data.error import DataError
from nextpatch.data.sources import tar as tar_module
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.tar import TarSource
from nextpatch.data.storage.place import Entry
from nextpatch.data.tar.build import index_shards


def opened(paths: list[Path]) -> TarSource:
    return TarSource([Entry(str(path), path.stat().st_size) for path in paths])


def index_of(path: Path) -> Path:
    return path.parent / ".nextpatch" / "index" / f"{path.name}.idx"


def test_every_sample_is_what_was_written(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 3, 150)
    source = opened(paths)
    assert isinstance(source, Source)
    files = images(450)[::3]
    # each shard's pixels are drawn anew
    right = [data for number in range(3) for _, data in images(150, first=150 * number)[::3]]
    order = np.random.default_rng(0).permutation(450).tolist()
    for i in order:
        assert source.read(i) == right[i]
        assert source.key(i) == f"{paths[i // 150]}#{files[i][0].removesuffix('.jpg')}"
        assert source.label(i) == i % 5
    assert source.shard_sizes.tolist() == [150] * 3
    assert source.classes == ("0", "1", "2", "3", "4")
    assert source.scattered
    assert source.name == str(tmp_path)


def test_webdataset_reads_the_same_samples(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset.tariterators")
    paths = write_shards(tmp_path, 2, 20)
    source = opened(paths)
    theirs = []
    for path in paths:
        with path.open("rb") as stream:
            theirs += list(wds.group_by_keys({**file, "__url__": ""} for file in wds.tar_file_iterator(stream)))
    assert [sample["__key__"] for sample in theirs] == [source.key(i).partition("#")[2] for i in range(40)]
    assert [sample["jpg"] for sample in theirs] == [source.read(i) for i in range(40)]


def test_without_labels_there_are_no_classes(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive([("a.png", b"x"), ("b.webp", b"y")]))
    source = opened([tmp_path / "a.tar"])
    assert source.classes == ()
    assert [source.label(i) for i in range(2)] == [None, None]
    assert source.name == str(tmp_path / "a.tar")


def test_class_names_come_from_the_manifest_and_labels_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive([("a.png", b"x"), ("b.png", b"y"), ("b.cls", b"1")]))
    entries = [Entry(str(tmp_path / "a.tar"), (tmp_path / "a.tar").stat().st_size)]
    index_shards(entries, classes=["cat", "dog", "owl"])
    source = TarSource(entries)
    assert source.classes == ("cat", "dog", "owl")
    assert [source.label(i) for i in range(2)] == [None, 1]


def test_a_worker_process_reads_the_same(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 2, 10)
    source = opened(paths)
    right = [source.read(i) for i in range(20)]
    assert [pickle.loads(pickle.dumps(source)).read(i) for i in range(20)] == right
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(source.read, range(20)) == right


def test_few_files_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_module, "_OPEN", 3)
    source = opened(write_shards(tmp_path, 12, 2))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        for i in range(24):
            source.read(i)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2 * 3


def test_the_digest_is_of_the_samples_not_of_the_place(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "a", 3, 5)
    digest = opened(paths).digest
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copied = sorted((tmp_path / "b").glob("*.tar"))
    assert opened(copied).digest == digest
    for path in copied:
        path.unlink()
    (tmp_path / "c").mkdir()
    for path in paths[:2]:
        shutil.copy(path, tmp_path / "c")
    assert opened(sorted((tmp_path / "c").glob("*.tar"))).digest != digest


def test_nothing_is_written_but_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["../../up.jpg", "/tmp/abs.jpg", "a/../../b.jpg", "ok.jpg"]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.tar").write_bytes(archive([(name, name.encode()) for name in names]))
    source = opened([tmp_path / "set" / "a.tar"])
    assert [source.read(i).decode() for i in range(4)] == names
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == [
        "set/.nextpatch/index/a.tar.idx",
        "set/.nextpatch/lock",
        "set/.nextpatch/manifest.json",
        "set/a.tar",
    ]


def test_a_missing_shard_is_an_error(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 3, 5)
    opened(paths)
    assert len(opened(paths[:2])) == 10  # the third is still there
    paths[2].unlink()
    with pytest.raises(DataError, match=r"00002\.tar is missing: the manifest names it; .*nextpatch data index"):
        opened(paths[:2])


def test_a_cut_shard_is_an_error_that_says_how_much_is_usable(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 2, 10)
    opened(paths)
    paths[1].write_bytes(paths[1].read_bytes()[:9000])
    with pytest.raises(DataError, match=r"00001\.tar has 9000 bytes .*of its 10 samples 3 are usable"):
        opened(paths)


def test_a_shard_damaged_from_the_start_is_used_as_far_as_it_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = write_shards(tmp_path, 2, 10)
    paths[1].write_bytes(paths[1].read_bytes()[:9000])
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            source = opened(paths)
        assert len(source) == 13
        assert caplog.text.count("1 of 2 shards were damaged") == 1
        assert "(3 of" in caplog.text
        assert [len(source.read(i)) for i in range(13)]


def test_damage_since_is_found_when_a_sample_is_read(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 1, 5)
    source = opened(paths)
    data = bytearray(paths[0].read_bytes())
    data[600] ^= 16
    paths[0].write_bytes(data)
    for fresh in (source, opened(paths)):
        with pytest.raises(OSError, match="differs from the index"):
            fresh.read(0)
        assert fresh.read(1)
    paths[0].write_bytes(data[:5000])
    with pytest.raises(OSError, match="differs from the index"):
        source.read(4)


@pytest.mark.parametrize("place", [3, 60, -3])
def test_a_damaged_index_is_made_again_while_reading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: int
) -> None:
    paths = write_shards(tmp_path, 2, 200)
    source = opened(paths)
    right = source.read(399)
    whole = index_of(paths[1]).read_bytes()
    data = bytearray(whole)
    data[place] ^= 1
    index_of(paths[1]).write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert opened(paths).read(399) == right
    assert "made again" in caplog.text
    assert index_of(paths[1]).read_bytes() == whole
    index_of(paths[1]).unlink()
    assert opened(paths).read(399) == right


def test_without_its_index_a_shard_must_be_what_the_manifest_says(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 1, 5)
    source = opened(paths)
    index_of(paths[0]).unlink()
    data = bytearray(paths[0].read_bytes())
    data[600] ^= 16
    paths[0].write_bytes(data)
    with pytest.raises(OSError, match=r"00000\.tar is not what the manifest says"):
        source.read(0)


def test_new_shards_join_what_is_known(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 4, 5)
    assert len(opened(paths[1:3])) == 10
    before = index_of(paths[1]).stat().st_mtime_ns
    assert len(opened(paths)) == 20
    assert index_of(paths[1]).stat().st_mtime_ns == before


def test_a_shard_may_be_empty_but_not_all(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 3, 5)
    paths[1].write_bytes(archive([]))
    source = opened(paths)
    assert source.shard_sizes.tolist() == [5, 0, 5]
    assert source.read(5)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.tar").write_bytes(archive([("a.b.jpg", b"x")]))
    with pytest.raises(DataError, match=r"holds no images; .* no dot"):
        opened([tmp_path / "none" / "a.tar"])
    with pytest.raises(DataError, match="no tar shards given"):
        opened([])
