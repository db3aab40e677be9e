"""The time that is left follows from the runs that have ended, and each run has a device of its own."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from nextpatch.study.progress import StudyProgress
from nextpatch.study.run import _device
from nextpatch.study.schedule import default_jobs
from nextpatch.study.work import Command, Ended, RunWork


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_rest_takes_what_its_operations_take_at_the_speed_of_the_runs_that_ended(tmp_path: Path) -> None:
    flops = {"a": 10.0, "b": 10.0, "c": 30.0}
    works = [
        RunWork(name, (Command((), tmp_path / f"{name}.done", tmp_path / name),), tmp_path / "log", value)
        for name, value in flops.items()
    ]
    clock, said = Clock(), io.StringIO()
    console = Console(file=said, width=200)
    with StudyProgress("runs", works, dict.fromkeys(flops, 100), tmp_path, 2, console, clock) as progress:
        progress.began("a")
        progress.began("b")
        assert progress.left_s({}) is None  # nothing is known yet
        clock.now_s = 20.0
        progress.ended(Ended("a", "done"), "a done")
        progress.began("c")
        assert progress.left_s({"b": 0.5}) == pytest.approx((5 + 30) * 2 / 2)  # 2 s an operation, two at a time
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "metrics.jsonl").write_text('{"kind": "train", "step": 50}\n')
        clock.now_s = 40.0
        progress.look()
    assert "a done" in said.getvalue()
    assert "b 50 %, c 0 % · about 35 s left" in said.getvalue()


def test_a_failed_run_is_not_waited_for(tmp_path: Path) -> None:
    works = [RunWork(name, (Command((), tmp_path / name, tmp_path / name),), tmp_path, 1.0) for name in "ab"]
    clock = Clock()
    with StudyProgress("runs", works, {}, tmp_path, 1, Console(quiet=True), clock) as progress:
        progress.began("a")
        clock.now_s = 3.0
        progress.ended(Ended("a", "done"), "")
        progress.began("b")
        progress.ended(Ended("b", "failed"), "")
        assert progress.left_s({}) == 0


def test_devices_are_divided_among_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [_device(slot, 2) for slot in range(4)] == ["0", "1", "0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-abc")
    assert [_device(slot, 2) for slot in range(3)] == ["5", "GPU-abc", "5"]
    assert default_jobs(40, devices=8) == 8
    assert default_jobs(3, devices=8) == 3


def test_without_devices_every_run_has_two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextpatch.study.schedule.usable_cores", lambda: 16)
    assert default_jobs(40, devices=0) == 8
    monkeypatch.setattr("nextpatch.study.schedule.usable_cores", lambda: 1)
    assert default_jobs(40, devices=0) == 1
