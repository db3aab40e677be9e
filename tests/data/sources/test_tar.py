"""Tar shards as a source: what is read is what was written, from any process, and nothing goes missing unseen."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archives import archive, images, write_shards
from nextpatch.data.error import DataError
from nextpatch.data.sources import tar as tar_module
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.tar import TarSource
from nextpatch.data.storage.location import Entry
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
    assert source.random_access
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
    (tmp_path / "none" / "a.tar").write_bytes(archive([("a.txt", b"x")]))
    with pytest.raises(DataError, match=r"holds no images .1 file of a key without an image"):
        opened([tmp_path / "none" / "a.tar"])
    with pytest.raises(DataError, match="no tar shards given"):
        opened([])


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A remote store, in memory, with three shards of ten samples under memory://bucket."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("NEXTPATCH_CACHE", str(tmp_path / "cache"))
    fs = fsspec.filesystem("memory")
    for path in write_shards(tmp_path / "near", 3, 10):
        fs.pipe(f"/bucket/{path.name}", path.read_bytes())
    yield fs
    fs.rm("/bucket", recursive=True)


def remote(bucket: Any, count: int = 3) -> list[Entry]:
    return [Entry(f"memory://bucket/{i:05d}.tar", bucket.info(f"/bucket/{i:05d}.tar")["size"]) for i in range(count)]


def test_remote_shards_are_fetched_whole_and_read_the_same(bucket: Any, tmp_path: Path) -> None:
    near = opened(sorted((tmp_path / "near").glob("*.tar")))
    far = TarSource(remote(bucket))
    assert far.digest == near.digest
    assert not far.random_access
    assert far.name == "memory://bucket"
    assert [far.read(i) for i in range(30)] == [near.read(i) for i in range(30)]
    assert far.key(3) == "memory://bucket/00000.tar#000000003"
    assert len(list((tmp_path / "cache" / "files").rglob("*.tar"))) == 3
    assert not bucket.exists("/bucket/.nextpatch")  # a server is not written to
    assert TarSource(remote(bucket)).digest == near.digest


def test_ranged_reading_fetches_no_shard(bucket: Any, tmp_path: Path) -> None:
    source = TarSource(remote(bucket))
    source.ranged = True
    right = [opened(sorted((tmp_path / "near").glob("*.tar"))).read(i) for i in range(30)]
    assert [source.read(i) for i in range(30)] == right
    assert not list((tmp_path / "cache").rglob("*.tar"))
    source.prefetch(1)
    assert len(list((tmp_path / "cache" / "files").rglob("*.tar"))) == 1
    assert [source.read(i) for i in range(30)] == right


def test_a_damaged_copy_in_the_cache_is_fetched_again(
    bucket: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = TarSource(remote(bucket))
    right = source.read(0)
    (copy,) = (tmp_path / "cache" / "files").rglob("*.tar")
    data = bytearray(copy.read_bytes())
    data[600] ^= 1
    copy.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert source.read(0) == right
    assert caplog.text.count("was damaged; it is fetched again") == 1
    assert source.read(1)
    assert bucket.cat("/bucket/00000.tar") in [path.read_bytes() for path in copy.parent.glob("*.tar")]
    bucket.pipe("/bucket/00001.tar", bytes(len(data)))
    with pytest.raises(OSError, match="differs from the index"):
        source.read(10)


def test_what_lies_with_remote_shards_is_used(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near = opened(sorted((tmp_path / "near").glob("*.tar")))
    known = tmp_path / "near" / ".nextpatch"
    bucket.pipe("/bucket/.nextpatch/manifest.json", (known / "manifest.json").read_bytes())
    for path in (known / "index").iterdir():
        bucket.pipe(f"/bucket/.nextpatch/index/{path.name}", path.read_bytes())
    monkeypatch.setattr("nextpatch.data.tar.build.index_shard", lambda *_: pytest.fail("indexed again"))
    far = TarSource(remote(bucket))
    assert far.digest == near.digest
    far.ranged = True
    assert far.read(25) == near.read(25)
    assert far.label(25) == 0


def test_a_remote_shard_that_is_missing_or_cut_is_an_error(bucket: Any) -> None:
    TarSource(remote(bucket))
    whole = bucket.cat("/bucket/00002.tar")
    bucket.pipe("/bucket/00002.tar", whole[:9000])
    with pytest.raises(DataError, match=r"memory://bucket/00002\.tar has 9000 bytes .*of its 10 samples 3 are usable"):
        TarSource(remote(bucket))
    bucket.rm("/bucket/00002.tar")
    with pytest.raises(DataError, match=r"memory://bucket/00002\.tar is missing"):
        TarSource(remote(bucket, 2))


def test_a_billion_samples_open_small_and_any_is_found_at_once(tmp_path: Path) -> None:
    """Nothing but the manifest is there: opening touches neither shards nor indexes. Without the tests' type checks."""
    write = (
        "import sys\nfrom pathlib import Path\nfrom nextpatch.data.tar.index import Shard\n"
        "from nextpatch.data.tar.manifest import Manifest\n"
        "shards = [Shard(f'{i:06d}.tar', 10_000, 10**9, '00' * 32, 1000) for i in range(100_000)]\n"
        "Manifest.of(shards).write(Path(sys.argv[1], '.nextpatch', 'manifest.json'))\n"
    )
    read = (
        "import sys\nfrom pathlib import Path\n"
        "from nextpatch.data.sources.tar import TarSource\nfrom nextpatch.data.storage.location import Entry\n"
        "source = TarSource([Entry(f'{sys.argv[1]}/{i:06d}.tar', 10**9) for i in range(100_000)])\n"
        "assert 'torch' not in sys.modules\n"
        "print(len(source), int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) // 1024)\n"
        "assert source._locate(10**9 - 1) == (99_999, 9_999)\nassert source._locate(10_000) == (1, 0)\n"
    )
    subprocess.run([sys.executable, "-c", write, str(tmp_path)], check=True)
    done = subprocess.run([sys.executable, "-c", read, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    samples, peak_mib = map(int, done.stdout.split())
    assert samples == 10**9
    assert peak_mib < 200
    print(f"a billion samples: {peak_mib} MiB")


def test_many_readers_of_a_new_set_index_it_once(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, 3, 10)
    code = (
        "import sys\nfrom pathlib import Path\nimport nextpatch.data.tar.build as build\n"
        "from nextpatch.data.sources.tar import TarSource\nfrom nextpatch.data.storage.location import Entry\n"
        "real = build.index_shard\n"
        "build.index_shard = lambda entry, name: print(name) or real(entry, name)\n"
        "source = TarSource([Entry(p, Path(p).stat().st_size) for p in sys.argv[1:]])\n"
        "assert len(source) == 30 and source.read(29)\n"
    )
    command = [sys.executable, "-c", code, *map(str, paths)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = "".join(child.communicate()[0] for child in children)
    assert [child.returncode for child in children] == [0] * 4
    assert sorted(said.split()) == ["00000.tar", "00001.tar", "00002.tar"]


@pytest.mark.parametrize(
    ("files", "classes", "labels"),
    [
        ([("a/0.jpg", ""), ("b/1.jpg", ""), ("a/2.jpg", ""), ("b/3.jpg", "")], ("a", "b"), [0, 1, 0, 1]),
        ([("x/a/0.jpg", ""), ("x/b/1.jpg", ""), ("x/a/2.jpg", ""), ("x/b/3.jpg", "")], ("a", "b"), [0, 1, 0, 1]),
        ([("0.jpg", "dog"), ("1.jpg", "cat"), ("2.jpg", "7"), ("3.jpg", "")], ("7", "cat", "dog"), [2, 1, 0, None]),
        ([("0.jpg", "0"), ("1.jpg", "999999"), ("2.jpg", "1")], ("0", "1", "999999"), [0, 2, 1]),
        ([("a/0.jpg", ""), ("b/1.jpg", ""), ("c/2.jpg", "")], (), [None] * 3),
    ],
)
def test_labels_are_numbers_names_or_folders(
    tmp_path: Path, files: list[tuple[str, str]], classes: tuple[str, ...], labels: list[int | None]
) -> None:
    members = [pair for name, cls in files for pair in ((name, b"x"), (name[:-3] + "cls", cls.encode())) if pair[1]]
    (tmp_path / "x.tar").write_bytes(archive(members))
    for _ in range(2):  # indexed, then by its manifest
        source = opened([tmp_path / "x.tar"])
        assert source.classes == classes
        assert [source.label(i) for i in range(len(files))] == labels
        assert bool(source.why_unlabeled) == (not classes)


def test_names_are_the_same_classes_in_every_shard_and_splits_are_refused(tmp_path: Path) -> None:
    for number, words in enumerate((["dog", "cat"], ["cat", "eel"])):
        members = [pair for i, word in enumerate(words) for pair in ((f"{i}.jpg", b"x"), (f"{i}.cls", word.encode()))]
        (tmp_path / f"{number}.tar").write_bytes(archive(members))
    source = opened(sorted(tmp_path.glob("*.tar")))
    assert [source.classes[source.label(i) or 0] for i in range(4)] == ["dog", "cat", "cat", "eel"]
    split = tmp_path / "s" / "x.tar"
    split.parent.mkdir()
    split.write_bytes(archive([(f"{part}/{i}.jpg", b"x") for part in ("train", "val") for i in range(3)]))
    with pytest.raises(DataError, match="training and test images"):
        opened([split])


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (("cat", "dog"), ("cat", "dog")),
        (("00000", "00001"), ()),
        (("part-1", "part-2"), ()),
        (("w/a", "w/b"), ("a", "b")),
    ],
)
def test_folders_are_classes_also_where_each_shard_holds_one(
    tmp_path: Path, folders: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    for number, folder in enumerate(folders):
        (tmp_path / f"{number}.tar").write_bytes(archive([(f"{folder}/{i}.jpg", b"x") for i in range(3)]))
    source = opened(sorted(tmp_path.glob("*.tar")))
    assert source.classes == classes
    assert [source.label(i) for i in range(6)] == ([0, 0, 0, 1, 1, 1] if classes else [None] * 6)


def test_shards_of_training_and_of_testing_are_refused_together(tmp_path: Path) -> None:
    for number, folder in enumerate(("train/a", "test/a")):
        (tmp_path / f"{number}.tar").write_bytes(archive([(f"{folder}/{i}.jpg", b"x") for i in range(3)]))
    for _ in range(2):  # indexed, then by its manifest
        with pytest.raises(DataError, match="training and test images"):
            opened(sorted(tmp_path.glob("*.tar")))


@pytest.mark.parametrize("version", [1, 2])
def test_shards_that_an_earlier_version_indexed_are_indexed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: int
) -> None:
    """It found fewer images and labels. Class names and digests of its manifest still hold."""
    paths = write_shards(tmp_path, 1, 6)
    index_shards([Entry(str(path), path.stat().st_size) for path in paths], workers=1, classes=list("abcde"))
    right = opened(paths)
    manifest = tmp_path / ".nextpatch" / "manifest.json"
    rest = manifest.read_bytes().partition(b"\n")[2].replace(b'.tar", 6,', b'.tar", 5,')
    first = {"format": f"nextpatch tar manifest {version}", "sha256": hashlib.sha256(rest).hexdigest()}
    manifest.write_bytes(json.dumps(first)[:-1].encode() + b",\n" + rest)
    index = bytearray(index_of(paths[0]).read_bytes())
    index[8] = version
    index_of(paths[0]).write_bytes(index)
    with caplog.at_level(logging.WARNING):
        again = opened(paths)
    assert "an earlier version indexed" in caplog.text
    assert (len(again), again.classes, again.digest) == (6, right.classes, right.digest)
    caplog.clear()
    assert len(opened(paths)) == 6
    assert not caplog.text
    manifest.write_bytes(json.dumps(first)[:-1].encode() + b",\n" + rest)
    data = bytearray(paths[0].read_bytes())
    data[600] ^= 1
    paths[0].write_bytes(data)
    index_of(paths[0]).write_bytes(index)
    with pytest.raises(DataError, match="is not what the manifest says"):
        opened(paths)
