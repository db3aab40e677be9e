from __future__ import annotations

import logging
import os

import pytest

from nextpatch.data.error import DataError
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


@pytest.mark.parametrize("names", [["one/1.jpg", "one/2.jpg"], ["cat/1.jpg", "dog/1.jpg", "3.jpg"]])
def test_one_folder_or_loose_images_make_no_classes(tmp_path, names):
    write(tmp_path, *names)
    assert FolderSource(tmp_path).classes == ()


def test_links_are_followed_and_loops_end(tmp_path):
    write(tmp_path, "data/a.jpg", "elsewhere/b.jpg")
    (tmp_path / "data" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "self").symlink_to(tmp_path / "data" / "self")
    assert shown(FolderSource(tmp_path / "data"), tmp_path) == ["data/a.jpg", "data/linked/b.jpg"]


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
