"""Room on the disk, asked for before it is needed."""

import shutil
from collections import namedtuple

import pytest

from nextpatch.runs.checkpoint import check_disk_space, prune
from saved import save

Usage = namedtuple("Usage", "total used free")


def test_too_little_room_is_an_error_that_says_how_much_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 5 * 2**30))
    check_disk_space(tmp_path / "not" / "yet", 2**30, checkpoints=4)
    with pytest.raises(OSError, match=r"5 checkpoints of 1.07 GB need 5.48 GB, and 5.37 GB are free; make room"):
        check_disk_space(tmp_path / "not" / "yet", 2**30, checkpoints=5)


def test_every_so_many_th_checkpoint_stays_for_ever(tmp_path):
    for step in range(1, 11):
        save(tmp_path, step)
        prune(tmp_path, 2, keep_every=4)
    assert sorted(int(path.name[5:]) for path in tmp_path.iterdir()) == [4, 8, 9, 10]
