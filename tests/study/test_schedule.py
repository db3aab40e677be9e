"""The order of work: so many at a time, each exactly once, a failure that stops no other, and a stop that saves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nextpatch.core.writer import only_writer
from nextpatch.study import work as work_module
from nextpatch.study.schedule import Stop, perform_all
from nextpatch.study.work import Command, Ended, RunWork, perform

STAND_IN = """
import os, signal, sys, threading, time
result, journal, how, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
def note(what):
    with open(journal, "a") as file:
        file.write(f"{what} {os.path.basename(result)} {os.environ.get('SLOT', '')} {time.monotonic()}\\n")
def stop(number, frame):
    note("saved")
    os._exit(143)
signal.signal(signal.SIGTERM, stop)
def with_parent():
    while os.read(0, 1): pass
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=with_parent, daemon=True).start()
note("began")
print("the loss is no longer finite" if how == "fail" else "fine", flush=True)
time.sleep(seconds)
if how == "fail":
    sys.exit(2)
open(result, "w").close()
note("ended")
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunWork]:
    """Makes a work whose steps take so many seconds, with a journal of what was begun, saved and ended."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(work_module, "PROGRAM", (sys.executable, str(script)))

    def made(name: str, steps: int = 1, how: str = "", seconds: float = 0.0) -> RunWork:
        places = [tmp_path / f"{name}.{number}" for number in range(steps)]
        words = [(str(place), str(tmp_path / "journal"), how, str(seconds)) for place in places]
        each = zip(words, places, strict=True)
        return RunWork(
            name, tuple(Command(w, place, tmp_path / f"{place.name}-out") for w, place in each), tmp_path / "log"
        )

    return made


def journal(folder: Path, what: str) -> list[str]:
    path = folder / "journal"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split()[1] for line in lines if line.startswith(what)]


def run_all(works: list[RunWork], jobs: int = 1, stop: Stop | None = None) -> list[Ended]:
    slots = [{"SLOT": str(number)} for number in range(jobs)]
    return list(perform_all(works, slots, stop or Stop(), lambda name: None, lambda: None))


def test_every_step_is_done_once_and_not_again(make: Callable[..., RunWork], tmp_path: Path) -> None:
    works = [make(name, steps=2) for name in "abc"]
    assert [one.how for one in run_all(works)] == ["done"] * 3
    assert journal(tmp_path, "began") == ["a.0", "a.1", "b.0", "b.1", "c.0", "c.1"]
    assert [one.how for one in run_all(works)] == ["done"] * 3
    assert len(journal(tmp_path, "began")) == 6


def test_as_many_at_a_time_as_there_are_slots(make: Callable[..., RunWork], tmp_path: Path) -> None:
    run_all([make(name, seconds=0.4) for name in "abcd"], jobs=2)
    lines = [line.split() for line in (tmp_path / "journal").read_text().splitlines()]
    running = at_most = 0
    for what, _, _, _ in sorted(lines, key=lambda line: float(line[3])):
        running += 1 if what == "began" else -1
        at_most = max(at_most, running)
    assert at_most == 2
    assert {slot for _, _, slot, _ in lines} == {"0", "1"}


def test_a_failure_is_told_by_its_last_lines_and_the_others_go_on(make: Callable[..., RunWork]) -> None:
    bad, good = make("bad", how="fail"), make("good")
    ended = {one.name: one for one in run_all([bad, good])}
    assert ended["good"].how == "done"
    assert ended["bad"].how == "failed"
    assert ended["bad"].reason.splitlines()[0].endswith("ended with exit code 2")
    assert ended["bad"].reason.splitlines()[-1] == "the loss is no longer finite"


def test_a_command_that_leaves_no_result_has_failed(make: Callable[..., RunWork], tmp_path: Path) -> None:
    lost = make("lost")
    (command,) = lost.commands
    command = Command(command.words, tmp_path / "elsewhere", command.writes)
    assert perform(RunWork("lost", (command,), lost.log), {}).how == "failed"


def test_a_stop_lets_what_runs_save_and_begins_nothing(make: Callable[..., RunWork], tmp_path: Path) -> None:
    stop = Stop()
    threading.Timer(1.0, stop.ask).start()
    ended = run_all([make("a", steps=2, seconds=60), make("b", seconds=60)], stop=stop)
    assert [(one.name, one.how) for one in ended] == [("a", "stopped")]
    assert journal(tmp_path, "began") == journal(tmp_path, "saved") == ["a.0"]


def test_an_error_in_the_middle_leaves_no_process_behind(make: Callable[..., RunWork], tmp_path: Path) -> None:
    def look() -> None:
        if journal(tmp_path, "began"):
            raise KeyboardInterrupt

    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(perform_all([make("a", seconds=60)], [{}], Stop(), lambda name: None, look))
    assert time.monotonic() - began_s < 30
    assert not [thread for thread in threading.enumerate() if thread.name == "a"]


def test_work_on_what_another_process_writes_waits_for_it(make: Callable[..., RunWork], tmp_path: Path) -> None:
    work = make("shared")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom nextpatch.core.writer import only_writer\n"
        "with only_writer(Path(sys.argv[1]), 'pretrain'):\n    print('held', flush=True)\n    time.sleep(1.5)\n"
        "    open(sys.argv[2], 'w').close()\n"
    )
    words = [sys.executable, "-c", code, str(work.commands[0].writes), str(work.commands[0].result)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert perform(work, {}).how == "done"
    assert journal(tmp_path, "began") == []  # the other one did it


def test_the_lock_of_an_output_is_free_for_the_command(make: Callable[..., RunWork]) -> None:
    work = make("a")
    assert perform(work, {}).how == "done"
    with only_writer(work.commands[0].writes, "test"):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL")
def test_a_command_stops_when_whoever_started_it_is_killed(make: Callable[..., RunWork], tmp_path: Path) -> None:
    work = make("a", seconds=60)
    code = (
        "import sys\nfrom pathlib import Path\nfrom nextpatch.study import work as w\n"
        "w.PROGRAM = (sys.executable, sys.argv[1])\nstep = w.Command(tuple(sys.argv[4:]), Path(sys.argv[2]), "
        "Path(sys.argv[3]))\nw.perform(w.RunWork('a', (step,), Path(sys.argv[3] + '.log')), {})\n"
    )
    (step,) = work.commands
    words = [str(tmp_path / "stand_in.py"), str(step.result), str(step.writes), *step.words]
    with subprocess.Popen([sys.executable, "-c", code, *words]) as study:
        while not journal(tmp_path, "began"):
            time.sleep(0.05)
        study.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while not journal(tmp_path, "saved") and time.monotonic() < until:
        time.sleep(0.05)
    assert journal(tmp_path, "saved") == ["a.0"]
