from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from nextpatch.core.locks import locked

SPAWN = multiprocessing.get_context("spawn")


def hold(path: Path, held_s: float) -> None:
    with locked(path):
        path.with_name("held").touch()
        time.sleep(held_s)
        path.with_name("held").unlink()


def held(path: Path, held_s: float):
    """Another process that holds the lock by now."""
    process = SPAWN.Process(target=hold, args=(path, held_s))
    process.start()
    while not path.with_name("held").exists():
        time.sleep(0.01)
    return process


def test_a_held_lock_is_refused_or_waited_for_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "new" / "lock"
    path.parent.mkdir()
    process = held(path, 0.7)
    with pytest.raises(BlockingIOError), locked(path, wait=False):
        raise AssertionError
    with caplog.at_level(logging.WARNING), locked(path, task="indexing"):
        assert not path.with_name("held").exists()
    process.join()
    assert "another process is indexing in" in caplog.text


def test_a_killed_holder_frees_it(tmp_path: Path) -> None:
    process = held(tmp_path / "lock", 600)
    process.kill()
    with locked(tmp_path / "lock"):
        pass


def test_threads_keep_each_other_out(tmp_path: Path) -> None:
    inside, most = [], []

    def work() -> None:
        for _ in range(20):
            with locked(tmp_path / "lock"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_was_forked_meanwhile_does_not_keep_it(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with locked(tmp_path / "lock"):
        child = os.fork()
        if not child:
            os.close(writer)
            os.read(reader, 1)  # until the parent has closed its end
            os._exit(0)
    with locked(tmp_path / "lock", wait=False):
        pass
    os.close(reader)
    os.close(writer)
    os.waitpid(child, 0)
