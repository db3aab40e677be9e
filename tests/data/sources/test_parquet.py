from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextpatch.data.error import DataError
from nextpatch.data.sources import parquet
from nextpatch.data.sources.parquet import ParquetSource

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def rows(count, start=0):
    return [{"bytes": f"image {i}".encode(), "path": None} for i in range(start, start + count)]


def write(path, columns, names=None, **options):
    table = pa.table(columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, **options)
    return path


def read_all(source):
    return [source.read(i) for i in range(len(source))]


def labels(source):
    return [source.label(i) for i in range(len(source))]


def test_the_hubs_convention(tmp_path):
    columns = {"image": pa.array(rows(5), IMAGE), "label": [0, 2, 1, None, -1]}
    source = ParquetSource([write(tmp_path / "a.parquet", columns, ["cat", "dog", "bird"], row_group_size=2)])
    assert read_all(source) == [f"image {i}".encode() for i in range(5)]
    assert source.classes == ("cat", "dog", "bird")
    assert labels(source) == [0, 2, 1, None, None]
    assert source.key(3) == f"{tmp_path}/a.parquet#3"


def test_files_are_read_in_order_as_one(tmp_path):
    files = [write(tmp_path / f"{i}.parquet", {"image": rows(3, 3 * i)}, row_group_size=2) for i in range(3)]
    source = ParquetSource(files)
    assert read_all(source) == [f"image {i}".encode() for i in range(9)]
    assert source.key(7) == f"{tmp_path}/2.parquet#1"
    assert source.classes == ()
    assert labels(source) == [None] * 9


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_a_plain_binary_column_of_any_name(tmp_path, kind):
    columns = {"id": [1, 2], "jpg": pa.array([b"a", b"b"], kind)}
    assert read_all(ParquetSource([write(tmp_path / "a.parquet", columns)])) == [b"a", b"b"]


def test_missing_bytes_read_as_empty(tmp_path):
    columns = {"image": pa.array([None, {"bytes": None, "path": "gone.png"}], IMAGE)}
    source = ParquetSource([write(tmp_path / "a.parquet", columns)])
    assert source.read(0) == b""
    with pytest.raises(OSError, match=r"names gone.png, which is not a file"):
        source.read(1)


def test_a_row_may_name_a_file(tmp_path):
    (tmp_path / "x.png").write_bytes(b"x")
    named = [{"bytes": None, "path": path} for path in ("x.png", str(tmp_path / "x.png"))]
    source = ParquetSource([write(tmp_path / "a.parquet", {"image": pa.array([*named, *rows(1)], IMAGE)})])
    assert read_all(source)[:2] == [b"x", b"x"]


def test_labels_without_names_are_numbered(tmp_path):
    source = ParquetSource([write(tmp_path / "a.parquet", {"image": rows(3), "label": [0, 3, 1]})])
    assert source.classes == ("0", "1", "2", "3")


def test_too_few_names_are_not_believed(tmp_path):
    source = ParquetSource([write(tmp_path / "a.parquet", {"image": rows(2), "label": [0, 2]}, ["cat"])])
    assert source.classes == ("0", "1", "2")


def test_labels_may_be_names(tmp_path):
    files = [
        write(tmp_path / f"{i}.parquet", {"image": rows(2), "label": pa.array(names, pa.string())})
        for i, names in enumerate([["dog", "cat"], ["cat", None]])
    ]
    source = ParquetSource(files)
    assert source.classes == ("cat", "dog")
    assert labels(source) == [1, 0, 0, None]


@pytest.mark.parametrize("metadata", ["no json", "[]", '{"info": 3}', '{"info": {"features": {"label": null}}}'])
def test_odd_metadata_is_ignored(tmp_path, metadata):
    table = pa.table({"image": rows(1), "label": [0]}).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "a.parquet")
    assert ParquetSource([tmp_path / "a.parquet"]).classes == ("0",)


def test_numbers_mean_the_names_of_their_own_file(tmp_path):
    names = (["cat", "dog"], ["dog", "cat", "cow"])
    files = [
        write(tmp_path / f"{i}.parquet", {"image": rows(3), "label": [0, 1, None]}, own) for i, own in enumerate(names)
    ]
    source = ParquetSource(files)
    assert [source.classes[n] if n is not None else n for n in labels(source)] == [
        "cat",
        "dog",
        None,
        "dog",
        "cat",
        None,
    ]


@pytest.mark.parametrize("twice", ["image", "label"])
def test_a_column_that_is_there_twice_is_refused_or_no_label(tmp_path, twice):
    columns = {"image": pa.array(rows(2), IMAGE), "label": pa.array([0, 1])}
    table = pa.Table.from_arrays([*columns.values(), columns[twice]], [*columns, twice])
    pq.write_table(table, tmp_path / "a.parquet")
    if twice == "image":
        with pytest.raises(DataError, match="rename the column that is not meant"):
            ParquetSource([tmp_path / "a.parquet"])
    else:
        assert "several columns 'label'" in ParquetSource([tmp_path / "a.parquet"]).why_unlabeled


def test_a_label_column_that_holds_no_classes_is_ignored(tmp_path):
    source = ParquetSource([write(tmp_path / "a.parquet", {"image": rows(1), "label": [0.5]})])
    assert source.classes == ()
    assert source.label(0) is None


@pytest.mark.parametrize("value", [-1, None])
def test_a_split_published_without_its_labels_has_no_classes(tmp_path, value):
    columns = {"image": pa.array(rows(2), IMAGE), "label": pa.array([value, value], pa.int64())}
    source = ParquetSource([write(tmp_path / "test.parquet", columns, ["cat", "dog"])])
    assert source.classes == ()
    assert labels(source) == [None, None]


CLASSES = {
    "category": (pa.array(["dog", "cat", None]).dictionary_encode(), ("cat", "dog"), [1, 0, None]),
    "whole floats": (pa.array([1.0, None, 0.0]), ("0", "1"), [1, None, 0]),
    "NaN": (pa.array([1.0, float("nan"), 0.0]), ("0", "1"), [1, None, 0]),
    "booleans": (pa.array([True, False, None]), ("0", "1"), [1, 0, None]),
    "large text": (pa.array(["b", "a", None], pa.large_string()), ("a", "b"), [1, 0, None]),
    "text views": (pa.array(["b", "a", None], pa.string_view()), ("a", "b"), [1, 0, None]),
    "numbers as categories": (pa.array([1, 0, 1]).dictionary_encode(), ("0", "1"), [1, 0, 1]),
    "a lone mistake": (pa.array([0, 999_999, 3]), ("0", "3", "999999"), [0, 2, 1]),
    "two spellings": (pa.array(["e\u0301", "\u00e9", "a"]), ("a", "\u00e9"), [1, 1, 0]),
}


@pytest.mark.parametrize("name", CLASSES)
def test_labels_of_any_type_that_means_classes(tmp_path, name):
    values, names, expected = CLASSES[name]
    source = ParquetSource([write(tmp_path / "a.parquet", {"image": rows(3), "label": values})])
    assert source.classes == names
    assert labels(source) == expected


NO_CLASSES = {
    "fractions (double)": [0.5, 1.0],
    "of the type list<element: int64>": [[1], [2]],
    "up to 1000000000000": [10**12, 1],
    "64 bits": pa.array([2**64 - 1, 1], pa.uint64()),
    "is empty in every row": pa.nulls(2),
    "of the type timestamp": pa.array([1, 2], pa.timestamp("s")),
}


@pytest.mark.parametrize("why", NO_CLASSES)
def test_labels_that_are_no_classes_keep_no_image_away_and_it_is_said_why(tmp_path, why):
    source = ParquetSource([write(tmp_path / "a.parquet", {"image": rows(2), "label": NO_CLASSES[why]})])
    assert (len(source), source.classes, labels(source)) == (2, (), [None, None])
    assert why in source.why_unlabeled


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint16(), pa.uint64()])
def test_labels_are_the_same_of_any_integers(tmp_path, kind):
    source = ParquetSource([write(tmp_path / "a.parquet", {"image": rows(3), "label": pa.array([3, None, 0], kind)})])
    assert labels(source) == [3, None, 0]
    assert source._labels.dtype.itemsize == 4


def test_numbers_below_zero_are_no_labels(tmp_path):
    columns = {"image": rows(3), "label": pa.array([-(10**12), 1, -2], pa.int64())}
    assert labels(ParquetSource([write(tmp_path / "a.parquet", columns)])) == [None, 1, None]


def test_row_groups_are_read_only_when_asked_for(tmp_path):
    path = write(
        tmp_path / "a.parquet", {"image": rows(40)}, row_group_size=20, compression="none", use_dictionary=False
    )
    data = path.read_bytes()
    start = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    path.write_bytes(data[:start] + b"\xff" * 40 + data[start + 40 :])
    source = ParquetSource([path])
    assert source.read(19) == b"image 19"
    with pytest.raises(OSError, match=r".+"):
        source.read(20)


def test_memory_is_bounded_and_stays_at_home(tmp_path, monkeypatch):
    big = [{"bytes": bytes([i]) * 10_000, "path": None} for i in range(30)]
    source = ParquetSource([write(tmp_path / "a.parquet", {"image": big}, row_group_size=5)])
    monkeypatch.setattr(parquet, "CACHE_BYTES", 120_000)
    for i in (0, 29, 7, 13, 0, 22, 29):
        assert source.read(i) == bytes([i]) * 10_000
        assert sum(column.nbytes for column in source._kept.values()) <= 120_000
    assert len(pickle.dumps(source)) < 5_000
    assert read_all(pickle.loads(pickle.dumps(source))) == read_all(source)


@pytest.mark.parametrize("columns", [{"pixels": [[1, 2]]}, {"a": [b"x"], "b": [b"y"]}, {"image": [[0, 255]]}])
def test_no_image_column_is_an_error_that_names_the_columns(tmp_path, columns):
    with pytest.raises(DataError, match=f"no column 'image' .*{next(iter(columns))}: .*rename"):
        ParquetSource([write(tmp_path / "a.parquet", columns)])


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 a zip archive", b"PAR1" * 10])
def test_what_is_not_parquet_is_an_error_with_a_remedy(tmp_path, data):
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"a.parquet is not a readable Parquet file .*; give"):
        ParquetSource([tmp_path / "a.parquet"])


def test_no_rows_is_an_error(tmp_path):
    with pytest.raises(DataError, match="has no rows"):
        ParquetSource([write(tmp_path / "a.parquet", {"image": pa.array([], IMAGE)})])


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in Linux's /proc")
def test_reading_starts_no_thread(tmp_path):
    """One that outlives a fork hangs the child, and one that outlives the interpreter aborts the process."""
    images = [{"bytes": bytes(100), "path": None} for _ in range(8)]
    pq.write_table(pa.table({"image": images, "label": list(range(8))}), tmp_path / "x.parquet", row_group_size=2)
    script = (
        "import os, sys; from nextpatch.data.sources.open import open_source\n"
        "before = len(os.listdir('/proc/self/task')); source = open_source(sys.argv[1])\n"
        "read = [source.read(i) for i in range(len(source))]; print(len(os.listdir('/proc/self/task')) - before)"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "x.parquet")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_texts_without_a_letter_are_no_classes(tmp_path):
    columns = {"image": pa.array(rows(4), IMAGE), "label": ["cat", "", " \t", "dog"]}
    source = ParquetSource([write(tmp_path / "a.parquet", columns)])
    assert source.classes == ("cat", "dog")
    assert labels(source) == [0, None, None, 1]


def test_rows_of_several_splits_are_not_one_collection(tmp_path):
    files = []
    for number, splits in enumerate((["train", "train"], ["train", "validation"])):
        columns = {"image": pa.array(rows(2), IMAGE), "split": splits}
        files.append(write(tmp_path / f"{number}.parquet", columns))
    assert len(ParquetSource(files[:1])) == 2
    with pytest.raises(DataError, match=r"several splits in its column 'split' .train, validation."):
        ParquetSource(files)
