"""One writer for each output: a second one is told who holds it, a dead one is taken over."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nextpatch.core import writer
from nextpatch.core.errors import UserError
from nextpatch.core.writer import InUseError, lock_of, only_writer

HOLD = """
import sys, time
from pathlib import Path
from nextpatch.core.writer import only_writer
with only_writer(Path(sys.argv[1]), "embed"):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(out: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def linked(lock: Path) -> None:
    lock.symlink_to(lock.with_name("precious"))


@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo, linked], ids=["folder", "fifo", "link"])
def test_what_is_no_plain_file_is_no_lock_and_stays_as_it_was(put: Callable[[Path], None], tmp_path: Path):
    (tmp_path / "precious").write_text("kept")
    put(lock_of(tmp_path / "out.parquet", file=True))
    with (
        pytest.raises(UserError, match="not a regular file; remove it"),
        only_writer(tmp_path / "out.parquet", "embed", file=True),
    ):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_place_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="run cannot be written: Not a directory; choose another place"):
        only_writer(tmp_path / "file" / "run", "bench").__enter__()


def test_a_second_process_is_told_who_holds_it_and_a_killed_one_is_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    out = tmp_path / "run"
    process = holder(out)
    try:
        with (
            pytest.raises(InUseError, match=rf"nextpatch embed, process {process.pid} on {socket.gethostname()}"),
            only_writer(out, "embed"),
        ):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    with caplog.at_level(logging.WARNING), only_writer(out, "embed"):
        assert f"process {process.pid}" in caplog.text
        assert "taken over" in caplog.text


def test_it_may_be_entered_again_and_leaves_nothing(tmp_path: Path):
    out = tmp_path / "new"
    with only_writer(out, "probe"), only_writer(out, "probe"):
        assert lock_of(out).exists()
    assert list(tmp_path.iterdir()) == []
    with only_writer(tmp_path / "x.parquet", "embed", file=True):
        assert [path.name for path in tmp_path.iterdir()] == [".x.parquet.lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_keeps_what_was_put_into_it(tmp_path: Path):
    with only_writer(tmp_path / "out", "pack"):
        (tmp_path / "out" / "a").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


def _killed_with_a_child(out: str) -> None:
    with only_writer(Path(out), "pretrain"):
        if os.fork() == 0:
            time.sleep(3)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:This process")
def test_children_of_a_dead_writer_do_not_hold_it(tmp_path: Path):
    process = multiprocessing.get_context("fork").Process(target=_killed_with_a_child, args=(str(tmp_path / "r"),))
    process.start()
    process.join()
    with only_writer(tmp_path / "r", "pretrain"):
        pass


def elsewhere(out: Path) -> Path:
    path = lock_of(out)
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "another", "pid": 1, "start": 0.0, "verb": "pretrain"}))
    return path


def test_a_writer_on_another_machine_is_watched_for_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "WATCHED_S", 0.2)
    path = elsewhere(tmp_path / "silent")
    with only_writer(tmp_path / "silent", "pretrain"):
        pass
    path = elsewhere(tmp_path / "alive")
    with (
        beating(path, monkeypatch),
        pytest.raises(InUseError, match="another"),
        only_writer(tmp_path / "alive", "pretrain"),
    ):
        pass


class beating:
    """The lock's time changes whenever it is looked at."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.monkeypatch = path, monkeypatch

    def __enter__(self) -> None:
        slept: Callable[[float], None] = time.sleep

        def sleep(seconds: float) -> None:
            os.utime(self.path, (1, 1))
            slept(seconds)

        self.monkeypatch.setattr(writer.time, "sleep", sleep)

    def __exit__(self, *error: object) -> None:
        self.monkeypatch.undo()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\x00", b"{}", b'{"host": 3, "pid": "x", "start": null}'])
def test_a_damaged_lock_never_stops_anyone(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "WATCHED_S", 0.01)
    (tmp_path / "out").mkdir()
    lock_of(tmp_path / "out").write_bytes(content)
    with only_writer(tmp_path / "out", "embed"):
        pass


def test_threads_of_one_process_leave_in_any_order(tmp_path):
    first, second = only_writer(tmp_path / "out", "a"), only_writer(tmp_path / "out", "b")
    first.__enter__()
    thread = threading.Thread(target=second.__enter__)
    thread.start()
    thread.join()
    first.__exit__(None, None, None)
    assert lock_of(tmp_path / "out").exists()
    second.__exit__(None, None, None)
    assert not (tmp_path / "out").exists()


def test_a_folder_by_two_names_has_one_lock(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert lock_of(tmp_path / "link") == lock_of(tmp_path / "out")
    assert lock_of(tmp_path / "link" / "a.json", file=True) == lock_of(tmp_path / "out" / "a.json", file=True)
