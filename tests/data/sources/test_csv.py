"""Labels from a list of files: every usual spelling of one is read, everything else is a named error."""

from __future__ import annotations

import numpy as np
import pytest

from nextpatch.data.collection import divided, open_collection
from nextpatch.data.error import DataError
from nextpatch.data.sources.open import open_source


def listed(tmp_path, text, names=("1.jpg", "2.jpg", "3.jpg")):
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize(
    ("text", "classes", "labels"),
    [
        ("path,label\n1.jpg,cat\n2.jpg,dog\n3.jpg,cat\n", ("cat", "dog"), [0, 1, 0]),
        ("\ufefffile_name;class\r\n1.jpg;1\r\n2.jpg;0\r\n\r\n3.jpg;\r\n", ("0", "1"), [1, 0, None]),
        ("id,breed,label\n1,x,b\n2,x,a\n3,x,b\n", ("a", "b"), [1, 0, 1]),
        ('Image\tTarget\n1.jpg\t"a b"\n2.jpg\tc\n3.jpg\t-\n', ("-", "a b", "c"), [1, 2, 0]),
        ("path,label\n1.jpg,0\n2.jpg,999999\n3.jpg,-1\n", ("0", "999999"), [0, 1, None]),
        ("path,label\n1.jpg,1_1\n2.jpg,11\n3.jpg,11\n", ("11", "1_1"), [1, 0, 0]),
        ("path,label\n1.jpg,1.0\n2.jpg,0.0\n3.jpg,\n", ("0", "1"), [1, 0, None]),
        ('path, label\n"1.jpg", "a, b"\n"2.jpg", "c"\n3.jpg, c\n', ("a, b", "c"), [0, 1, 1]),
        ("path,label\n1,a\n2.jpg,b\n3,b\n", ("a", "b"), [0, 1, 1]),
        ("path,label\n1.jpg,cafe\u0301\n2.jpg,caf\u00e9\n3.jpg,x\n", ("caf\u00e9", "x"), [0, 0, 1]),
    ],
)
def test_labels_of_a_list(tmp_path, text, classes, labels):
    source = open_source(listed(tmp_path, text))
    assert source.classes == classes
    assert [source.label(i) for i in range(3)] == labels
    assert [source.read(i) for i in range(3)] == [b"1.jpg", b"2.jpg", b"3.jpg"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column 'path'"),
        ("1.jpg,cat\n", "no column 'path'"),
        ("path\n1.jpg\n", "no column 'label'"),
        ("path,label\n", "lists no images"),
        ("path,label\nx/1.jpg,cat\n", "names x/1.jpg, which does not exist in"),
        (b"path,label\n\xff.jpg,cat\n", "not UTF-8 text"),
        ("label,path\ncat\n", "cannot be read at line 2"),
        ('path,label\n1.jpg,"' + "a" * 2**17 + "\n", "cannot be read at line"),
        ("path,label\n1\0.jpg,a\n", "which does not exist"),
        ("path,label\n" + "x" * 5000 + ".jpg,a\n", "which does not exist"),
        ("path,label\nnew,1.jpg,a\n", "line 2 .*3 values, but the first line names 2 columns"),
        ("path,label\n1.jpg,a\n2.jpg,big, red\n", "line 3 .*quote a value that holds ','"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        open_source(listed(tmp_path, text))


SPLIT = "path,label,split\n1.jpg,a,train\n2.jpg,b,Test\n3.jpg,b,train\n"


def test_a_list_of_several_splits_is_chosen_from(tmp_path):
    place = listed(tmp_path, SPLIT)
    with pytest.raises(DataError, match=r"several splits \(Test, train\).*--data .*csv/train --test .*csv/Test"):
        open_source(place)
    assert [open_source(f"{place}/train").read(i) for i in range(2)] == [b"1.jpg", b"3.jpg"]
    tested = open_source(f"{place}/Test")
    assert (len(tested), tested.read(0), tested.name) == (1, b"2.jpg", f"{place}/Test")
    with pytest.raises(DataError, match="no split val; there are Test, train"):
        open_source(f"{place}/val")
    assert divided(f"{place}/train=0.5") == (f"{place}/train", 0.5)
    assert len(open_collection([f"{place}/train=0.5", f"{place}/Test=0.5"]).source) == 3
    assert len(open_source(listed(tmp_path, SPLIT.replace("Test", "train")))) == 3  # one split is none


def test_an_image_counts_once_however_often_it_is_listed(tmp_path, caplog):
    source = open_source(listed(tmp_path, "path,label\n1.jpg,a\n2.jpg,b\n1.jpg,a\n"))
    assert [source.label(i) for i in range(len(source))] == [0, 1]
    assert "1 lines name an image of another line" in caplog.text
    source = open_source(listed(tmp_path, "path,label\n1.jpg,a\n2.jpg,b\n1.jpg,b\n"))
    assert (len(source), source.classes) == (2, ())
    assert source.why_unlabeled == "line 4 gives 1.jpg another class than line 2"


@pytest.mark.parametrize("same", ["./1.jpg", "x/../1.jpg", "{folder}/1.jpg", "1", ".//1.jpg"])
def test_an_image_counts_once_however_its_path_is_written(tmp_path, same, caplog):
    (tmp_path / "x").mkdir()
    same = same.format(folder=tmp_path)
    source = open_source(listed(tmp_path, f"path,label\n1.jpg,a\n2.jpg,b\n{same},a\n"))
    assert [source.label(i) for i in range(len(source))] == [0, 1]
    assert "1 lines name an image of another line" in caplog.text
    assert not open_source(listed(tmp_path, f"path,label\n1.jpg,a\n2.jpg,b\n{same},b\n")).classes


def test_two_lists_that_name_one_image_are_refused(tmp_path):
    listed(tmp_path, "path,label\n1.jpg,a\n2.jpg,b\n")
    (tmp_path / "more.csv").write_text("path,label\n3.jpg,a\n./2.jpg,b\n")
    with pytest.raises(DataError, match=r"both name .*2\.jpg: it would count twice"):
        open_source(f"{tmp_path}/*.csv")


def test_splits_that_differ_in_capitals_are_one(tmp_path):
    place = listed(tmp_path, "path,label,split\n1.jpg,a,train\n2.jpg,b,Train\n3.jpg,b,test\n")
    assert [len(open_source(f"{place}/{name}")) for name in ("train", "Train", "test")] == [2, 2, 1]


@pytest.mark.parametrize("rest", ['2.jpg,"b\n3.jpg,"c"\n', '2.jpg,"b\n3.jpg,c\n', '"2.jpg,b\n3.jpg,c",b\n'])
def test_a_quote_that_is_not_closed_swallows_no_image(tmp_path, rest):
    with pytest.raises(DataError, match=r"line 3 .*correct the line"):
        open_source(listed(tmp_path, "path,label\n1.jpg,a\n" + rest))


def test_slashes_of_windows_are_slashes(tmp_path):
    (tmp_path / "cat").mkdir()
    source = open_source(listed(tmp_path, "path,label\ncat\\1.jpg,a\ncat\\2.jpg,b\n", ("cat/1.jpg", "cat/2.jpg")))
    assert [source.read(i) for i in range(2)] == [b"cat/1.jpg", b"cat/2.jpg"]


def fuzzed(tmp_path, count):
    whole = b'path,label\n1.jpg,cat\n2.jpg,dog\n3.jpg,"c, d"\n'
    rng = np.random.default_rng(0)
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 5))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        try:
            source = open_source(listed(tmp_path, bytes(data)))
            assert all(0 <= (source.label(i) or 0) <= len(source.classes) for i in range(len(source)))
        except DataError:
            continue


def test_nothing_but_a_named_error_leaves_a_damaged_list(tmp_path):
    fuzzed(tmp_path, 200)


@pytest.mark.slow
def test_nothing_but_a_named_error_leaves_many_damaged_lists(tmp_path):
    fuzzed(tmp_path, 3000)
