from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archives import archive
from nextpatch.data.error import DataError
from nextpatch.data.sources.folder import FolderSource
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.parquet import ParquetSource


def tables(folder, *names):
    for name in names:
        pq.write_table(pa.table({"image": [name.encode()]}), folder / name)


def test_the_kind_is_found_from_what_is_there(tmp_path):
    tables(tmp_path, "part-1.parquet", "part-0.parquet")
    assert isinstance(open_source(str(tmp_path / "part-1.parquet")), ParquetSource)
    both = open_source(str(tmp_path))
    assert [both.read(i) for i in range(2)] == [b"part-0.parquet", b"part-1.parquet"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"a")
    assert isinstance(open_source(str(tmp_path / "photos")), FolderSource)


def test_training_and_test_files_are_not_mixed(tmp_path):
    tables(tmp_path, "train-0.parquet", "train-1.parquet", "test-0.parquet")
    with pytest.raises(DataError, match=r"several splits \(test, train\); name one: .*train\*\.parquet"):
        open_source(str(tmp_path))
    assert len(open_source(f"{tmp_path}/train*.parquet")) == 2


@pytest.mark.parametrize("spec", ["", "nowhere", "nowhere/*.parquet"])
def test_nothing_there_is_an_error_with_a_remedy(tmp_path, monkeypatch, spec):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"(no data given; name|does not exist; give) a folder|nothing matches nowhere"):
        open_source(spec)


def images(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def opened(root, spec=""):
    source = open_source(f"{root}/{spec}")
    return [source.read(i).decode() for i in range(len(source))], source.classes


def test_single_files_and_patterns_of_images(tmp_path):
    images(tmp_path, "cat/1.jpg", "dog/1.jpg", "dog/notes.txt")
    assert opened(tmp_path, "cat/1.jpg") == (["cat/1.jpg"], ())
    for pattern in ("*/*.jpg", "**/*.jpg", "*/*", "{cat,dog}/1.jpg"):
        assert opened(tmp_path, pattern) == (["cat/1.jpg", "dog/1.jpg"], ("cat", "dog"))
    with pytest.raises(DataError, match=r"matches folders only; name the files in them: '.*/c\*/\*\*'"):
        open_source(f"{tmp_path}/c*")


@pytest.mark.parametrize(("name", "said"), [("a.npz", "save each image as a .npy file"), ("a.doc", "names no images")])
def test_a_file_of_another_kind_is_an_error_with_a_remedy(tmp_path, name, said):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=said):
        open_source(str(tmp_path / name))
    (tmp_path / "x.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"not a readable Parquet file .*folder of images"):
        open_source(str(tmp_path / "x.parquet"))


def shard(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive([("0.jpg", b"x")]))


LAYOUTS = {
    "imagenet": ("ILSVRC/Data/{}/n01/1.jpg", ["train", "val", "test"], "ILSVRC/Data/"),
    "timm": ("{}/cat/1.jpg", ["train", "validation"], ""),
    "kaggle": ("cars_{0}/cars_{0}/a/1.jpg", ["train", "test"], "cars_"),
    "capitals": ("{}/1.jpg", ["Training", "Testing"], ""),
    "coco": ("{}2017/1.jpg", ["train", "val"], ""),
    "yolo": ("images/{}/1.jpg", ["train", "valid"], "images/"),
    "held out": ("{}/1.jpg", ["train_images", "held-out"], ""),
    "tests alone": ("{}/1.jpg", ["val", "test"], ""),
    "eval": ("{}/1.jpg", ["train", "eval_set"], ""),
    "dev": ("{}/1.jpg", ["train", "dev"], ""),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_split_folders_are_told_apart_in_every_layout(tmp_path, name):
    layout, splits, before = LAYOUTS[name]
    images(tmp_path, *(layout.format(split) for split in splits))
    with pytest.raises(DataError, match="training and test images") as error:
        open_source(str(tmp_path))
    end = "2017" if name == "coco" else ""
    train, test = (f"{tmp_path}/{before}{split}{end}" for split in (splits[0], splits[-1]))
    assert f"--data {train} --test {test} (pretrain: --data {train} --data.val {test})" in str(error.value)
    assert len(open_source(train)) == 1
    with pytest.raises(DataError, match="training and test images"):
        open_source(f"{tmp_path}/**/*.jpg")


def test_splits_within_each_class_are_told_apart_by_a_pattern_that_works(tmp_path):
    images(tmp_path, *(f"{kind}/{split}/1.jpg" for kind in ("bottle", "cable") for split in ("train", "test")))
    with pytest.raises(DataError) as error:
        open_source(str(tmp_path))
    pattern = f"{tmp_path}/*/train/**"
    assert f"--data '{pattern}' --test" in str(error.value)
    assert open_source(pattern).classes == ("bottle", "cable")


@pytest.mark.parametrize("names", [("train", "plane"), ("test_tube", "train_station"), ("2017", "2018"), ("train",)])
def test_other_folders_are_no_splits(tmp_path, names):
    images(tmp_path, *(f"{name}/1.jpg" for name in names))
    assert len(open_source(str(tmp_path))) == len(names)


def test_shards_in_split_folders_are_told_apart_too(tmp_path):
    for split in ("train", "test"):
        (tmp_path / "p" / split).mkdir(parents=True)
        tables(tmp_path / "p" / split, "0.parquet")
        shard(tmp_path / "t" / split / "0.tar")
    for kind in "pt":
        with pytest.raises(DataError, match="training and test images"):
            open_source(str(tmp_path / kind))


def test_shards_and_tables_are_found_below(tmp_path):
    shard(tmp_path / "t" / "data" / "train-0.tar")
    (tmp_path / "p" / "data").mkdir(parents=True)
    tables(tmp_path / "p" / "data", "train-0.parquet")
    assert len(open_source(str(tmp_path / "t"))) == len(open_source(str(tmp_path / "p"))) == 1


def test_a_folder_holds_one_kind_of_data(tmp_path):
    images(tmp_path, "1.jpg")
    shard(tmp_path / "x.tar")
    with pytest.raises(DataError, match=r"1 images \(as 1.jpg\), 1 tar shards \(as x.tar\); name one: '.*/\*\.jpg' or"):
        open_source(str(tmp_path))
    assert len(open_source(f"{tmp_path}/*.jpg")) == len(open_source(f"{tmp_path}/*.tar")) == 1


def test_tables_without_images_and_our_own_are_passed_over_and_said(tmp_path):
    images(tmp_path, "1.jpg")
    pq.write_table(pa.table({"url": ["u"]}), tmp_path / "meta.parquet")
    ours = pa.table({"features": [b"x"]}).replace_schema_metadata({b"nextpatch": b"{}"})
    pq.write_table(ours, tmp_path / "features.parquet")
    source = open_source(str(tmp_path))
    assert len(source) == 1
    for what in ("a table without images", "features that nextpatch wrote"):
        assert f"1 .parquet ({what})" in source.left_out


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no images in"):
        open_source(str(tmp_path))


def test_the_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    tables(tmp_path, "a.parquet")
    assert len(open_source("~/a.parquet")) == 1
