"""A fingerprint tells images that were changed, swapped or moved; copies elsewhere are the same images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nextpatch.data.fingerprint import changes, fingerprint_of, same_images
from nextpatch.data.sources.folder import FolderSource


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for kind in "ab":
        (tmp_path / "in" / kind).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "in" / kind / f"{number}.png").write_bytes(f"{kind}{number}".encode())
    return tmp_path / "in"


def rewritten(folder: Path) -> None:
    (folder / "a" / "1.png").write_bytes(b"xx")


def swapped(folder: Path) -> None:
    (folder / "a").rename(folder / "c")
    (folder / "b").rename(folder / "a")
    (folder / "c").rename(folder / "b")


def grown(folder: Path) -> None:
    (folder / "a" / "1.png").write_bytes(b"longer")


def renamed(folder: Path) -> None:
    (folder / "a" / "1.png").rename(folder / "a" / "9.png")


def touched(folder: Path) -> None:
    os.utime(folder / "a" / "1.png", (1, 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (rewritten, "contents of images"),
        (swapped, "contents of images"),
        (grown, "sizes of files"),
        (renamed, "names or order"),
    ],
)
def test_changed_images_are_other_images(images: Path, change: Callable[[Path], None], words: str):
    before = fingerprint_of(FolderSource(images))
    change(images)
    after = fingerprint_of(FolderSource(images))
    assert words in changes(before, after)
    assert not same_images(before, after)


def test_copied_and_touched_images_are_the_same_images_but_not_the_same_files(images: Path, tmp_path: Path):
    before = fingerprint_of(FolderSource(images))
    touched(images)
    shutil.copytree(images, tmp_path / "copy")
    for folder in (images, tmp_path / "copy"):
        after = fingerprint_of(FolderSource(folder))
        assert same_images(before, after)
        assert changes(before, after) == "times of files"


@pytest.mark.parametrize(("random_access", "reads"), [(True, 64), (False, 4)])
def test_of_images_in_shards_few_are_read(random_access, reads):
    class Counted:
        name, classes, digest, remote = "counted", (), "0", False
        read_so_far = 0

        def __len__(self):
            return 1000

        def read(self, index):
            self.read_so_far += 1
            return b"x"

        def key(self, index):
            return str(index)

        def label(self, index):
            return None

    source = Counted()
    source.random_access = random_access
    fingerprint_of(source)
    assert source.read_so_far == reads
