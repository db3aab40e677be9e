"""A study that is killed again and again ends with the same study.json, and no run is trained twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nextpatch.runs.run import sessions_of
from nextpatch.study import run as run_module
from nextpatch.study import work as work_module
from nextpatch.study.run import run_study
from studies_made import small

STAND_IN = """
import hashlib, json, os, signal, sys, threading, time
recipe, out = sys.argv[2], sys.argv[4]
def with_parent():
    while os.read(0, 1): pass
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=with_parent, daemon=True).start()
os.makedirs(out, exist_ok=True)
journal = open(os.path.join(out, "journal"), "a", buffering=1)
if os.path.exists(os.path.join(out, "model.safetensors")):
    journal.write("again\\n")
at = os.path.join(out, "at")
first = int(open(at).read()) if os.path.exists(at) else 0
for step in range(first, 10):
    time.sleep(0.02)
    with open(at + ".new", "w") as file: file.write(str(step + 1))
    os.replace(at + ".new", at)
loss = int(hashlib.sha256(open(recipe).read().encode()).hexdigest()[:8], 16) / 2**32
with open(os.path.join(out, "metrics.jsonl"), "w") as file:
    file.write(json.dumps({"kind": "val", "step": 3, "loss": loss}) + "\\n")
open(os.path.join(out, "model.safetensors"), "w").close()
journal.write("finished\\n")
"""


def _study(out: Path, script: Path | None, seeds: int) -> None:
    """One session, quietly; its commands are `script`, where one is given."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(devnull, number)
    if script is not None:
        work_module.PROGRAM = (sys.executable, str(script))
        run_module._page = lambda *_: None
    run_study(small(seeds=list(range(seeds))), out, jobs=2)


def session(out: Path, script: Path | None, seeds: int) -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nextpatch.study.run"])
    process = context.Process(target=_study, args=(out, script, seeds))
    process.start()
    return process


def finish(out: Path, script: Path | None, seeds: int) -> bytes:
    """What study.json holds when the study has ended."""
    for _ in range(2):  # a killed child is a failed run, which the next call tries again
        process = session(out, script, seeds)
        process.join()
        assert process.exitcode == 0
    found = (out / "study.json").read_bytes()
    assert {run["status"] for variant in json.loads(found)["variants"] for run in variant["runs"]} == {"done"}
    return found


def children(process: Any) -> list[int]:
    listing = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children") if listing.exists() else []
    return [int(number) for task in tasks for number in task.read_text().split()]


def kill_soon(process: Any, rng: random.Random, after_s: float, child: bool) -> bool:
    """SIGKILL to the study or to one of its runs, after a while; whether there was one to kill."""
    until = time.monotonic() + rng.uniform(0.1, 1.0) * after_s
    while time.monotonic() < until and process.is_alive():
        time.sleep(0.01)
    runs = children(process) if child and process.is_alive() else []
    if runs:
        os.kill(rng.choice(runs), signal.SIGKILL)
        return True
    alive = process.is_alive()
    process.kill()
    process.join()
    return bool(alive)


def compared(folder: Path, script: Path | None, seeds: int, kills: int, after_s: float) -> None:
    """Run one study undisturbed, and one with so many kills, every other one of a run; both must end alike."""
    rng, hits, out = random.Random(0), 0, folder / "killed"
    while hits < kills:
        process = session(out, script, seeds)
        while process.is_alive():
            hits += kill_soon(process, rng, after_s, child=hits % 2 == 1)
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"it ended after {hits} kills, too early for a test of {kills}"
    assert finish(out, script, seeds) == finish(folder / "undisturbed", script, seeds)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the children of a process in /proc")
def test_a_study_of_four_runs_that_is_killed_ends_alike(tmp_path: Path) -> None:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    compared(tmp_path, script, seeds=2, kills=3, after_s=0.6)
    journals = [path.read_text().split() for path in (tmp_path / "killed" / "runs").glob("*/journal")]
    assert journals == [["finished"]] * 4


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(sys.platform != "linux", reason="finds the children of a process in /proc")
def test_a_study_of_forty_trainings_killed_twenty_times_ends_alike(tmp_path: Path) -> None:
    compared(tmp_path, None, seeds=20, kills=20, after_s=20.0)
    runs = list((tmp_path / "killed" / "runs").iterdir())
    assert len(runs) == 40
    for run in runs:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3]
        assert sessions_of(run)
    done = [json.loads(line) for line in (tmp_path / "killed" / "times.jsonl").read_text().splitlines()]
    finished = [line["run"] for line in done if line["exit"] == 0]
    assert len(finished) == len({*finished})  # none was trained again after it had ended
