"""Images' files are read whole, and what is none is refused at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nextpatch.data.error import DataError
from nextpatch.data.sources.contents import contents_of
from nextpatch.data.sources.open import open_source
from nextpatch.data.storage.near import MOST, read_near


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)) * 500)
    assert read_near(tmp_path / "a") == bytes(range(256)) * 500


def test_what_is_no_file_or_too_large_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(MOST + 1)
    for name, said in (("pipe", "pipe or a device"), ("zero", "pipe or a device"), ("large", "more than any image")):
        with pytest.raises(OSError, match=said):
            read_near(tmp_path / f"{name}.png")
    with pytest.raises(IsADirectoryError):
        read_near(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_near(tmp_path / "gone")


def test_pipes_and_devices_are_named_and_counted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    for name in ("pipe.png", "pipe"):
        with pytest.raises(DataError, match=rf"{name} is a pipe or a device, not a file"):
            open_source(str(tmp_path / name))
    found = contents_of(tmp_path)
    assert found.images == ["a.png"]
    assert found.summary() == "3 pipe, device or link to itself"
    (tmp_path / "list.csv").write_text("path,label\na.png,x\npipe.png,y\na.png,x\n")
    listed = open_source(str(tmp_path / "list.csv"))
    with pytest.raises(OSError, match="pipe or a device"):
        listed.read(1)
