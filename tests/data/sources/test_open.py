from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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


def test_a_file_that_is_not_parquet_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"not a readable Parquet file .*folder of images"):
        open_source(str(tmp_path / "photo.jpg"))


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no images in"):
        open_source(str(tmp_path))


def test_the_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    tables(tmp_path, "a.parquet")
    assert len(open_source("~/a.parquet")) == 1
