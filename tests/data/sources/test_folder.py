from __future__ import annotations

import logging
import os
import re

import pytest

from nextpatch.data.error import DataError
from nextpatch.data.sources import contents
from nextpatch.data.sources.folder import FolderSource


def write(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def shown(source, root):
    return [os.path.relpath(source.key(i), root) for i in range(len(source))]


def test_finds_images_at_any_depth_in_a_fixed_order(tmp_path):
    write(tmp_path, "b.jpg", "a/deep/er/c.PNG", "a/x.webp", "z.npy", "a.tiff")
    source = FolderSource(tmp_path)
    assert shown(source, tmp_path) == ["a.tiff", "a/deep/er/c.PNG", "a/x.webp", "b.jpg", "z.npy"]
    assert source.read(1) == b"a/deep/er/c.PNG"
    assert source.classes == ()
    assert source.label(0) is None


def test_other_files_and_hidden_ones_are_left_out(tmp_path):
    write(tmp_path, "a.jpg", "notes.txt", "labels.json", ".DS_Store", "._a.jpg", ".cache/b.jpg", "jpg", "c.jpg.part")
    assert shown(FolderSource(tmp_path), tmp_path) == ["a.jpg"]


def test_first_level_folders_are_the_classes(tmp_path):
    write(tmp_path, "dog/1.jpg", "cat/deep/2.jpg", "cat/1.jpg")
    source = FolderSource(tmp_path)
    assert source.classes == ("cat", "dog")
    assert [source.label(i) for i in range(3)] == [0, 0, 1]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["one/1.jpg", "one/2.jpg"], "all images lie in one folder, 'one'"),
        (["cat/1.jpg", "dog/1.jpg", "3.jpg"], "1 image lies beside the class folders, as 3.jpg"),
        (["1.jpg", "labels.csv"], "if labels.csv names them, give that file: --data .*labels.csv"),
    ],
)
def test_one_folder_or_loose_images_make_no_classes_and_it_is_said_why(tmp_path, names, why):
    write(tmp_path, *names)
    source = FolderSource(tmp_path)
    assert source.classes == ()
    assert re.search(why, source.why_unlabeled)


def test_wrapping_folders_are_no_classes(tmp_path):
    write(tmp_path, "set/images/cat/1.jpg", "set/images/dog/a/2.jpg")
    assert FolderSource(tmp_path).classes == ("cat", "dog")


def test_accents_in_two_spellings_are_one_class(tmp_path):
    write(tmp_path, "caf\u00e9/1.jpg", "cafe\u0301/2.jpg", "te\u0301/3.jpg")
    source = FolderSource(tmp_path)
    assert source.classes == ("caf\u00e9", "t\u00e9")
    assert [source.label(i) for i in range(3)] == [0, 0, 1]


@pytest.mark.parametrize("folder", ["@eaDir", "#recycle", "lost+found", "__MACOSX", "$RECYCLE.BIN"])
def test_folders_of_the_system_hold_no_images(tmp_path, folder):
    write(tmp_path, "cat/1.jpg", f"cat/{folder}/1.jpg/thumb.jpg", "dog/2.jpg", f"{folder}/3.jpg")
    source = FolderSource(tmp_path)
    assert (len(source), source.classes) == (2, ("cat", "dog"))
    assert f"2 {folder}/" in source.left_out


def test_a_run_of_ours_in_the_data_is_left_out(tmp_path):
    write(tmp_path, "a.jpg", "run/recipe.toml", "run/metrics.jsonl", "run/samples/1.png")
    source = FolderSource(tmp_path)
    assert len(source) == 1
    assert "run/ (a run of nextpatch)" in source.left_out


JPEG, HEIC = b"\xff\xd8\xff\xe0", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_unknown_endings_are_told_by_the_first_bytes_and_the_rest_is_counted(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(contents, "is_read", lambda kind: kind != "heic")
    monkeypatch.setattr(contents, "image_endings", lambda: frozenset({"jpg", "jfif"}))
    write(tmp_path, "a.jpg", "b.JFIF", "notes.txt", "photo.heic", "photo.xyz")
    for name, data in {"c": JPEG, "d.2024": JPEG, "e.x": b"P6\n1 1\n255\n", "f": HEIC}.items():
        (tmp_path / name).write_bytes(data)
    with caplog.at_level(logging.WARNING):
        source = FolderSource(tmp_path)
    assert shown(source, tmp_path) == ["a.jpg", "b.JFIF", "c", "d.2024", "e.x"]
    assert "1 .heic (pip install 'nextpatch[heif]' reads them)" in source.left_out
    assert all(f"1 {ending}" in source.left_out for ending in (".txt", ".xyz", "without an ending (pip"))
    assert source.left_out in caplog.text


def test_raw_photos_are_left_out_with_the_remedy(tmp_path, caplog):
    write(tmp_path, "a.jpg", "b.DNG", "c.nef")
    (tmp_path / "d").write_bytes(b"II*\0\x10\0\0\0CR\2\0")  # a CR2 without its ending
    with caplog.at_level(logging.WARNING):
        source = FolderSource(tmp_path)
    assert shown(source, tmp_path) == ["a.jpg"]
    for ending in (".dng", ".nef", "without an ending"):
        assert f"1 {ending} (save raw photos as TIFF or JPEG)" in source.left_out
    assert source.left_out in caplog.text


def test_files_of_known_endings_are_not_opened(tmp_path, monkeypatch):
    write(tmp_path, *(f"{i}.{ending}" for i in range(20) for ending in ("jpg", "txt", "json")))
    monkeypatch.setattr(contents, "first_bytes", lambda path: pytest.fail(path))
    assert len(FolderSource(tmp_path)) == 20


def test_an_ending_that_never_is_an_image_is_not_opened_for_ever(tmp_path, monkeypatch):
    write(tmp_path, "a.jpg", *(f"{i}.odd" for i in range(9)))
    opened = []
    monkeypatch.setattr(contents, "_SNIFFED", 4)
    monkeypatch.setattr(contents, "first_bytes", lambda path: opened.append(path) or b"")
    assert len(FolderSource(tmp_path)) == 1
    assert len(opened) == 4


def test_links_are_followed_and_loops_end(tmp_path):
    write(tmp_path, "data/a.jpg", "elsewhere/b.jpg")
    (tmp_path / "data" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "self").symlink_to(tmp_path / "data" / "self")
    (tmp_path / "data" / "parent").symlink_to(tmp_path)
    (tmp_path / "data" / "twice").symlink_to(tmp_path / "elsewhere")
    source = FolderSource(tmp_path / "data")
    assert shown(source, tmp_path) == ["data/a.jpg", "data/linked/b.jpg"]
    for told in ("up leads to a folder that is read anyway", "parent leads to a folder that this one lies in"):
        assert f"the link {told}" in source.left_out
    assert "twice leads to a folder that was read before" in source.left_out


def test_a_pipe_is_no_image_and_a_dead_link_cannot_be_read(tmp_path):
    write(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "nowhere")
    source = FolderSource(tmp_path)
    assert shown(source, tmp_path) == ["a.jpg", "dead.jpg"]
    with pytest.raises(OSError, match="No such file"):
        source.read(1)


def test_names_that_are_not_text_can_be_logged(tmp_path):
    (tmp_path / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(b"x")
    source = FolderSource(tmp_path)
    assert source.key(0).encode("utf-8").endswith(rb"\xff\xfe.jpg")
    assert source.read(0) == b"x"


def test_a_folder_that_cannot_be_read_is_named(tmp_path, caplog, monkeypatch):
    write(tmp_path, "a.jpg", "closed/b.jpg")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError("not yours")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with caplog.at_level(logging.WARNING):
        assert len(FolderSource(tmp_path)) == 1
    assert "closed: not yours" in caplog.text


def test_no_images_is_an_error_that_says_what_was_looked_for(tmp_path):
    write(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=r"no images in .*\.jpg"):
        FolderSource(tmp_path)


@pytest.mark.parametrize(
    ("names", "classes", "labels"),
    [
        (["fold1/a/1.jpg", "fold1/b/2.jpg", "fold2/a/3.jpg", "fold2/b/4.jpg"], ("a", "b"), [0, 1, 0, 1]),
        (["x/year=23/a/1.jpg", "x/year=23/b/2.jpg", "x/year=24/a/3.jpg", "x/year=24/b/c/4.jpg"], ("a", "b"), [0, 1, 0, 1]),  # noqa: E501
        (["cat/back/1.jpg", "cat/front/2.jpg", "dog/back/3.jpg", "dog/front/4.jpg"], ("cat", "dog"), [0, 0, 1, 1]),
        (["site1/a/1.jpg", "site1/b/2.jpg", "site2/a/3.jpg", "site2/c/4.jpg"], ("site1", "site2"), [0, 0, 1, 1]),
        (["part1/1.jpg", "part2/2.jpg"], ("part1", "part2"), [0, 1]),
    ],
)  # fmt: skip
def test_numbered_parts_with_the_same_folders_are_no_classes(tmp_path, names, classes, labels):
    write(tmp_path, *names)
    source = FolderSource(tmp_path)
    assert source.classes == classes
    assert [source.label(i) for i in range(len(source))] == labels
