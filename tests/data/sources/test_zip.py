"""A .zip file as a source: what was archived is read, and nothing else ever leaves it than the named errors."""

from __future__ import annotations

import multiprocessing
import pickle
import warnings
import zipfile

import numpy as np
import pytest

from nextpatch.data.error import DataError
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.zip import ZipSource

FILES = {f"set/{kind}/{i}.jpg": f"{kind}{i}".encode() * 40 for kind in ("cat", "dog") for i in range(3)}


def packed(path, files=FILES, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_what_was_archived(tmp_path, method):
    files = FILES | {"set/readme.txt": b"x", "__MACOSX/set/cat/0.jpg": b"x", "set/cat/._0.jpg": b"x"}
    source = open_source(str(packed(tmp_path / "a.zip", files, method)))
    assert isinstance(source, Source)
    assert [source.read(i) for i in range(len(source))] == list(FILES.values())
    assert source.classes == ("cat", "dog")
    assert source.key(0) == f"{tmp_path}/a.zip#set/cat/0.jpg"
    assert source.left_out == "1 .txt, 1 __MACOSX/"
    with multiprocessing.get_context("fork").Pool(2) as pool:  # one open file, shared
        assert pool.map(source.read, range(6)) == list(FILES.values())
    assert pickle.loads(pickle.dumps(source)).read(5) == FILES["set/dog/2.jpg"]


def test_archives_of_a_folder_are_read_together_and_beside_images_left_out(tmp_path):
    packed(tmp_path / "a.zip")
    packed(tmp_path / "b.zip")
    assert len(open_source(str(tmp_path))) == 12
    (tmp_path / "1.jpg").write_bytes(b"x")
    assert len(open_source(str(tmp_path))) == 1


def test_splits_in_an_archive_are_told_apart(tmp_path):
    with pytest.raises(DataError, match="training and test images"):
        ZipSource(packed(tmp_path / "a.zip", {"train/1.jpg": b"x", "test/1.jpg": b"x"}))


@pytest.mark.parametrize("names", [("train.zip", "test.zip"), ("a.zip", "b.zip")])
def test_splits_in_archives_side_by_side_are_told_apart(tmp_path, names):
    for name, folder in zip(names, ("train", "test"), strict=True):
        packed(tmp_path / name, {f"{folder if 'a.zip' in names else 'x'}/1.jpg": b"x"})
    with pytest.raises(DataError, match=r"training and test images|several splits"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_without_an_ending_and_of_odd_paths_are_read(tmp_path, method, caplog):
    begin = b"\xff\xd8\xff" + bytes(range(100))
    files = {"a/1": begin, "./b/2.jpeg~": begin + b"2", "../c/3.jpg": b"3", "a/note": b"text"}
    source = open_source(str(packed(tmp_path / "a.zip", files, method)))
    assert {source.read(i) for i in range(len(source))} == {begin, begin + b"2", b"3"}
    assert source.left_out == "1 without an ending"
    twice = open_source(str(packed(tmp_path / "b.zip", {"a/1.jpg": b"1", "./a/1.jpg": b"2", "b//2.jpg": b"3"}, method)))
    assert ([twice.read(i) for i in range(len(twice))], twice.classes) == ([b"2", b"3"], ("a", "b"))
    assert "1 files under the name of another" in caplog.text


def test_what_cannot_be_read_says_why(tmp_path):
    with pytest.raises(DataError, match=r"no images in .*1 \.txt"):
        ZipSource(packed(tmp_path / "a.zip", {"a.txt": b"x"}))
    with pytest.raises(DataError, match="compressed in an unusual way; unpack"):
        ZipSource(packed(tmp_path / "b.zip", FILES, zipfile.ZIP_LZMA))
    (tmp_path / "c.zip").write_bytes(b"PK no")
    with pytest.raises(DataError, match=r"not a readable \.zip file"):
        ZipSource(tmp_path / "c.zip")


def mutated(data, rng):
    """Some bytes changed, or cut, or doubled."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        found[int(rng.integers(len(found)))] = int(rng.integers(256))
    at = int(rng.integers(len(found)))
    return bytes([found, found[:at], found + found[at:]][int(rng.choice(3, p=(0.7, 0.2, 0.1)))])


def fuzzed(tmp_path, count):
    data = packed(tmp_path / "a.zip").read_bytes()
    rng, path = np.random.default_rng(0), tmp_path / "x.zip"
    wrong = 0
    for _ in range(count):
        path.write_bytes(mutated(data, rng))
        try:
            source = ZipSource(path)
        except DataError:
            continue
        for i in range(len(source)):
            try:
                wrong += source.read(i) not in FILES.values()
            except OSError:
                continue
    assert not wrong


def test_nothing_but_named_errors_leaves_a_damaged_archive(tmp_path):
    fuzzed(tmp_path, 200)


@pytest.mark.slow
def test_nothing_but_named_errors_leaves_many_damaged_archives(tmp_path):
    fuzzed(tmp_path, 3000)


def test_slashes_of_windows_part_folders_and_archives_inside_are_counted(tmp_path):
    files = {name.replace("/", "\\"): data for name, data in FILES.items()}
    source = ZipSource(packed(tmp_path / "a.zip", files | {"set\\": b"", "set\\more.zip": b"x", "set\\more.tar": b"x"}))
    assert source.classes == ("cat", "dog")
    assert [source.read(i) for i in range(len(source))] == list(FILES.values())
    assert source.left_out == "1 .zip, 1 .tar"


def test_the_last_of_a_name_is_read_and_the_others_are_said(tmp_path, caplog):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile itself says that a name is doubled
        archive.writestr("1.jpg", b"old")
        archive.writestr("1.jpg", b"new")
    source = ZipSource(tmp_path / "a.zip")
    assert [source.read(i) for i in range(len(source))] == [b"new"]
    assert "1 files under the name of another" in caplog.text
