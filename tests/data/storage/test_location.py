from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextpatch.data.collection import divided
from nextpatch.data.error import DataError
from nextpatch.data.sources.open import open_source
from nextpatch.data.storage.location import Entry, braced, exists, expand, is_remote, listing


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("a.tar", ["a.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("x{008..010}y", ["x008y", "x009y", "x010y"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}/{0..1}", ["a/0", "a/1", "b/0", "b/1"]),
        ("a/{0..1}-{x,y{1..2}}", ["a/0-x", "a/0-y1", "a/0-y2", "a/1-x", "a/1-y1", "a/1-y2"]),
        ("open{brace", ["open{brace"]),
        ("{a,b}{c", ["a{c", "b{c"]),
    ],
)
def test_braces_stand_for_texts_in_order(pattern, texts):
    assert list(braced(pattern)) == texts


@given(st.text("ab{},.0123456789", max_size=12))
def test_any_pattern_ends(pattern):
    for number, text in enumerate(braced(pattern)):
        assert isinstance(text, str)
        if number > 1000:
            break


def test_too_many_are_refused_before_they_are_made():
    with pytest.raises(DataError, match="more than 10,000,000 files"):
        expand("{0..99999999999}.tar")


def test_a_file_that_braces_name_must_be_there(tmp_path):
    for number in (0, 2):
        (tmp_path / f"{number}.tar").write_bytes(bytes(number))
    with pytest.raises(DataError, match=r"1\.tar does not exist; check the name"):
        expand(f"{tmp_path}/{{0..2}}.tar")
    assert expand(f"{tmp_path}/*.tar") == [Entry(f"{tmp_path}/0.tar", 0), Entry(f"{tmp_path}/2.tar", 2)]
    assert [entry.location for entry in expand(f"{tmp_path}/{{2,0}}.tar")] == [f"{tmp_path}/2.tar", f"{tmp_path}/0.tar"]
    with pytest.raises(DataError, match=r"nothing matches .*\*\.zip; check it, and quote it"):
        expand(f"{tmp_path}/*.zip")


def test_a_remote_file_that_braces_name_must_be_there(server):
    found = expand(f"{server.url}/{{a,b}}.tar")
    assert found == [Entry(f"{server.url}/a.tar", 1_000_000), Entry(f"{server.url}/b.tar", 300_001)]
    with pytest.raises(DataError, match=r"c\.tar does not exist"):
        expand(f"{server.url}/{{a,c}}.tar")
    assert exists(f"{server.url}/a.tar")
    assert not exists(f"{server.url}/c.tar")


def test_a_folder_is_listed_wholly(tmp_path):
    (tmp_path / "in [it]").mkdir()
    (tmp_path / "in [it]" / "b").write_bytes(b"b")
    (tmp_path / "a").write_bytes(b"")
    assert listing(str(tmp_path)) == [Entry(f"{tmp_path}/a", 0), Entry(f"{tmp_path}/in [it]/b", 1)]
    assert [entry.size for entry in listing(f"{tmp_path}/in [it]")] == [1]
    with pytest.raises(DataError):
        listing(f"{tmp_path}/none")


def test_programs_and_unknown_kinds_are_refused():
    with pytest.raises(DataError, match="programs are not run"):
        is_remote("pipe:cat a.tar")
    with pytest.raises(DataError, match="'ftp' is not a place"):
        is_remote("ftp://h/a.tar")
    assert is_remote("s3://b/a.tar")
    assert not is_remote("file:///a.tar")
    assert not is_remote("C:/photos")


@pytest.mark.parametrize(
    "spec", ["http://", "https:///a.tar", "https://[::1", "s3://", "gs://", "hub:../..", "hub:a/."]
)
def test_a_place_that_no_server_has_is_refused_at_once(spec, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("tried again"))
    with pytest.raises(DataError, match=r"names no (server or bucket|data set)|not closed"):
        open_source(spec)


def test_a_file_is_there_once_however_often_a_pattern_names_it(tmp_path):
    for name in ("1.jpg", "a/2.jpg", "a/b/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    right = [f"{tmp_path}/{name}" for name in ("1.jpg", "a/2.jpg", "a/b/3.jpg")]
    for pattern in ("**/*.jpg", "**/**/*.jpg", "{**,.}/**/*.jpg", "{**/**,**}/*.jpg"):
        assert sorted(entry.location for entry in expand(f"{tmp_path}/{pattern}")) == right
    assert [entry.location for entry in expand(f"{tmp_path}/{{1,1}}.jpg")] == right[:1]


@pytest.mark.parametrize("name", ["q[1].png", "q{a,b}.png", "q?.png", "q*.png"])
def test_a_file_that_is_there_as_it_is_written_is_no_pattern(tmp_path, name):
    for other in (name, "q1.png", "qa.png", "qb.png", "qq.png"):
        (tmp_path / other).write_bytes(other.encode())
    assert [entry.location for entry in expand(f"{tmp_path}/{name}")] == [f"{tmp_path}/{name}"]


@pytest.mark.parametrize("folder", ["x[1]", "x{a,b}", "x?/y[2]"])
def test_a_folder_that_is_there_as_it_is_written_is_no_pattern(tmp_path, folder):
    for where in (folder, "x1", "xa", "xb", "xx/y2"):
        (tmp_path / where).mkdir(parents=True)
        for name in ("0.png", "1.png", "2.png"):
            (tmp_path / where / name).write_bytes(b"")
    right = [f"{tmp_path}/{folder}/{number}.png" for number in (0, 1)]
    assert [entry.location for entry in expand(f"{tmp_path}/{folder}/[01].png")] == right
    assert [entry.location for entry in expand(f"{tmp_path}/{folder}/{{0..1}}.png")] == right
    spec = f"{tmp_path}/{folder}/lr=0.1"
    (tmp_path / folder / "lr=0.1").mkdir()
    assert divided(spec) == (spec, None)


@pytest.mark.parametrize(
    ("location", "said"), [("~nobody-here/x", "home folder of an unknown user"), ("a\0b", "zero byte")]
)
def test_a_place_that_no_file_can_have_is_named(location, said):
    with pytest.raises(DataError, match=said):
        open_source(location)


def test_urls_of_files_are_paths(tmp_path):
    (tmp_path / "a b.jpg").write_bytes(b"1")
    (tmp_path / "c%20d.jpg").write_bytes(b"2")
    for url in (f"file://{tmp_path}/a%20b.jpg", f"FILE://localhost{tmp_path}/a b.jpg", f"file://{tmp_path}/a b.jpg"):
        assert [entry.location for entry in expand(url)] == [f"{tmp_path}/a b.jpg"]
    assert [entry.location for entry in expand(f"file://{tmp_path}/c%20d.jpg")] == [f"{tmp_path}/c%20d.jpg"]
    with pytest.raises(DataError, match="a file of the machine server; mount it"):
        expand("file://server/share/a.jpg")
