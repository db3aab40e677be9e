"""A save that fails or is killed at any of its moments: the old checkpoint or the new one, nothing else."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from nextpatch.core import tensors as written
from nextpatch.runs.checkpoint import files, newest_checkpoint, verification, verify
from nextpatch.runs.checkpoint import save as saving
from saved import is_whole, save


class Killed(BaseException):
    """The process is gone: nothing after this runs."""


@contextmanager
def failing_at(number: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The `number`-th call that writes, syncs, renames or removes raises; once killed, so do all that follow."""
    done: list[str] = []

    def spied(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(done) == number or (len(done) > number and isinstance(error, Killed)):
                done.append(name)
                raise error
            done.append(name)
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for owner, name in (
            (written, "save_file"), (saving, "sync"), (Path, "write_text"), (Path, "mkdir"), (Path, "rename"),
            (Path, "chmod"), (shutil, "rmtree"), (os, "fsync"),
        ):  # fmt: skip
            patch.setattr(owner, name, spied(name, getattr(owner, name)))
        yield done


def every_moment(
    error: BaseException, folder: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[int, bool]]:
    """Save `step` with the error at call 0, 1, ... until a save gets through; yields (call, whether it got through)."""
    folder.mkdir()
    for number in range(100):
        shutil.rmtree(folder)
        save(folder, 1)
        save(folder, 2)
        with failing_at(number, error, monkeypatch):
            try:
                save(folder, step)
                through = True
            except type(error):
                through = False
        yield number, through
        if through and number > 20:
            return
    raise AssertionError("no save got through")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", [2, 3])
def test_a_failing_disk_publishes_nothing_half(
    code: int, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 0
    for number, through in every_moment(OSError(code, os.strerror(code)), tmp_path / "c", step, monkeypatch):
        failures += not through
        newest = newest_checkpoint(tmp_path / "c")
        assert newest is not None, number
        assert newest.step in (2, step), number
        assert is_whole(tmp_path / "c", newest.step), number
        assert through <= (newest.step == step), number
        newest_checkpoint(tmp_path / "c", mend=True)
        assert {p.name for p in (tmp_path / "c").iterdir()} <= {f"step_0000000{n}" for n in (1, 2, 3)}, number
        save(tmp_path / "c", 3)
        assert is_whole(tmp_path / "c", 3), number
    assert failures > 8


@pytest.mark.parametrize("step", [2, 3])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = 0
    for number, through in every_moment(Killed(), tmp_path / "c", step, monkeypatch):
        kills += not through
        newest = newest_checkpoint(tmp_path / "c", mend=True)
        assert newest is not None, number
        assert newest.step in (2, step), number
        assert is_whole(tmp_path / "c", newest.step), number
        assert {p.name for p in (tmp_path / "c").iterdir()} <= {f"step_0000000{n}" for n in (1, 2, 3)}, number
        save(tmp_path / "c", 3)
        assert is_whole(tmp_path / "c", 3), number
    assert kills > 8


def test_a_write_that_the_library_reports_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(written, "save_file", full)
    with pytest.raises(OSError, match="cannot be written: No space left"):
        save(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    (save(tmp_path, 2) / "model.safetensors").unlink()
    (tmp_path / "step_00000002" / "model.safetensors").mkdir()
    assert is_whole(tmp_path, 1)
    assert verify(tmp_path / "step_00000002") == ["model.safetensors is unreadable (Is a directory)"]


def test_a_checkpoint_pruned_while_it_is_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def removed(path: Path) -> dict[str, Any]:
        monkeypatch.setattr(verification, "fingerprint", fingerprint)
        save(tmp_path, 2)
        shutil.rmtree(tmp_path / "step_00000001")
        return fingerprint(path)

    fingerprint = files.fingerprint
    monkeypatch.setattr(verification, "fingerprint", removed)
    assert is_whole(tmp_path, 2)
