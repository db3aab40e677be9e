"""Shards fetched ahead: in order, as the run goes on, and never in its way."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from marks import Marks, plan
from nextpatch.data.storage.prefetch import Prefetcher


def seen(folder: Path, wanted: set[int]) -> bool:
    deadline = time.monotonic() + 30
    while not wanted <= {int(path.name) for path in folder.iterdir()}:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The process that fetches must find the source's class."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)


def test_shards_are_asked_for_as_the_run_goes_on(tmp_path):
    with Prefetcher(Marks(str(tmp_path)), partial(plan, width=3)) as ahead:
        ahead.advance(0)
        assert seen(tmp_path, {0, 1, 2})
        ahead.advance(5)
        assert seen(tmp_path, {5, 6, 7})
    assert not (tmp_path / "3").exists()


def test_a_shard_that_fails_is_said_and_the_others_come(tmp_path, caplog):
    with (
        caplog.at_level(logging.WARNING, "nextpatch"),
        Prefetcher(Marks(str(tmp_path), (1,)), partial(plan, width=3)) as ahead,
    ):
        ahead.advance(0)
        assert seen(tmp_path, {0, 2})
        deadline = time.monotonic() + 10
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.02)
    assert [r.getMessage() for r in caplog.records] == ["shard 1 was not fetched ahead: no shard 1"]


def test_no_torch_is_loaded_for_it(tmp_path):
    with Prefetcher(Marks(str(tmp_path)), partial(plan, width=1)) as ahead:
        ahead.advance(0)
        assert seen(tmp_path, {0})
        assert "libtorch" not in Path(f"/proc/{ahead._child.pid}/maps").read_text()


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP])
def test_its_death_disturbs_nobody(tmp_path, stop):
    with Prefetcher(Marks(str(tmp_path)), partial(plan, width=1)) as ahead:
        ahead.advance(0)
        assert seen(tmp_path, {0})
        os.kill(ahead._child.pid, stop)
        for position in range(20_000):  # more than a pipe holds
            ahead.advance(position)
    ahead.advance(1)


def test_it_goes_on_after_it_was_too_busy_to_listen(tmp_path):
    with Prefetcher(Marks(str(tmp_path)), partial(plan, width=1)) as ahead:
        ahead.advance(0)
        assert seen(tmp_path, {0})
        os.kill(ahead._child.pid, signal.SIGSTOP)
        for _ in range(50_000):
            ahead.advance(7)
        os.kill(ahead._child.pid, signal.SIGCONT)
        assert seen(tmp_path, {7})
        ahead.advance(8)
        assert seen(tmp_path, {8})


def test_it_ends_with_its_parent(tmp_path):
    """Although a shard is on its way, and a worker that the parent started still holds the pipe."""
    os.mkfifo(tmp_path / "1")  # nobody reads: this one is never done
    script = (
        "import os, time; from functools import partial; from marks import Marks, plan\n"
        "from nextpatch.data.storage.prefetch import Prefetcher\n"
        f"ahead = Prefetcher(Marks({str(tmp_path)!r}), partial(plan, width=3)); ahead.advance(0)\n"
        "worker = os.fork()\n"
        "if worker: print(ahead._child.pid, worker, flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child, worker = map(int, parent.stdout.readline().split())
    assert seen(tmp_path, {0, 2})
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 15
    while not gone(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    assert gone(child)


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
