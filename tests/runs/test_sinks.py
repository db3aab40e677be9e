"""Metric sinks: a run that goes on is the same one there, nothing is there twice, and no failure reaches the run."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from nextpatch.core.errors import ConfigError
from nextpatch.runs.config import TrainConfig
from nextpatch.runs.logs import Logs, truncate_metrics
from nextpatch.runs.recipe import Recipe, recipe_digest, recipe_from_dict
from nextpatch.runs.sinks import names, sink

NAME = "trackio"  # whose place the sink in memory takes
SERVICES = [name for name in names.SINKS if name not in ("auto", "tensorboard")]


class Memory:
    """A service in memory; it refuses the steps of `broken`."""

    replaces = False
    rows: list[tuple[str, int, float]]
    opened: list[str]
    broken: set[int]

    def __init__(self, session: sink.Session) -> None:
        self.run_id = session.run_id or "first"
        self.opened.append(session.run_id)

    def log(self, kind: str, step: int, values: Any) -> None:
        if step in self.broken:
            raise OSError("no network")
        self.rows.append((kind, step, values["loss"]))

    def close(self) -> None: ...


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> type[Memory]:
    class Fresh(Memory):
        rows, opened, broken = [], [], set()

    monkeypatch.setattr(f"nextpatch.runs.sinks.{NAME}.open_sink", Fresh)
    monkeypatch.setattr(names, "find_spec", lambda name: name == NAME)
    return Fresh


def session(path: Path, steps: range, *, sinks: tuple[str, ...] = (NAME,), cut: int = 0) -> None:
    """One session of a run that resumes at `steps.start` and is killed, or ends, after the last one."""
    truncate_metrics(path / "metrics.jsonl", steps.start or -1)
    with Logs(path, steps.start, sinks=sinks, values={"optim": {"lr": 0.1}}) as logs:
        for step in steps:
            logs.metric("train", step + 1, loss=float(step + 1), chunk_loss=[1.0])
            if step % 2:
                logs.metric("val", step + 1, loss=0.5)


WANTED = [(kind, step, float(step) if kind == "train" else 0.5) for step in range(1, 9)
          for kind in ("train", "val") if kind == "train" or step % 2 == 0]  # fmt: skip


def test_a_run_that_goes_on_is_the_same_one_and_replays_nothing(tmp_path: Path, memory: type[Memory]) -> None:
    for steps in (range(5), range(3, 6), range(6, 8)):  # the first was killed after a checkpoint of step 3
        session(tmp_path, steps)
    assert memory.opened == ["", "first", "first"]
    assert memory.rows == WANTED


def test_a_sink_that_is_new_to_a_run_gets_what_was_before(tmp_path: Path, memory: type[Memory]) -> None:
    session(tmp_path, range(4), sinks=())
    session(tmp_path, range(4, 8))
    assert memory.rows == WANTED


def test_a_failing_sink_is_told_of_once_and_counted(
    tmp_path: Path, memory: type[Memory], caplog: pytest.LogCaptureFixture
) -> None:
    memory.broken = {3, 4}
    session(tmp_path, range(8))
    assert memory.rows == [row for row in WANTED if row[1] not in (3, 4)]
    assert [record.message for record in caplog.records] == [
        "trackio cannot record this run's figures (no network); the run and metrics.jsonl continue",
        "trackio failed 3 times; metrics.jsonl holds all entries",
    ]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == len(WANTED)


def test_a_service_that_cannot_be_reached_gets_it_all_next_time(
    tmp_path: Path, memory: type[Memory], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(f"nextpatch.runs.sinks.{NAME}.open_sink", lambda session: sys.exit("log in first"))
        session(tmp_path, range(4))
    assert "log in first" in caplog.text
    session(tmp_path, range(4, 8))
    assert memory.rows == WANTED


def test_a_slow_sink_holds_nothing_up(
    tmp_path: Path, memory: type[Memory], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sink, "_WAITING", 3)
    monkeypatch.setattr(sink, "_PATIENCE_S", 0.01)
    go = threading.Event()
    monkeypatch.setattr(memory, "log", lambda *args: go.wait())
    session(tmp_path, range(8))
    go.set()
    assert "it is too slow" in caplog.text
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == len(WANTED)


def test_only_the_first_rank_logs(tmp_path: Path, memory: type[Memory]) -> None:
    with Logs(tmp_path, silent=True, sinks=(NAME,)) as logs:
        logs.metric("train", 1, loss=1.0)
    assert not memory.opened
    assert not any(tmp_path.iterdir())


def test_a_damaged_note_of_a_sink_stops_nothing(
    tmp_path: Path, memory: type[Memory], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks" / f"{NAME}.json").write_text('{"run_id": 3')
    session(tmp_path, range(8))
    assert memory.rows == WANTED
    assert "the service then gets a new run" in caplog.text


def test_names_and_packages_are_checked_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "find_spec", lambda name: None)
    for name in (*SERVICES, "tensorboard"):
        with pytest.raises(ConfigError, match=rf"pip install 'nextpatch\[{name}\]'"):
            names.chosen((name,))
    assert names.chosen(("auto",)) == names.chosen(()) == ()
    with pytest.raises(ConfigError, match=r"unknown metric sink .wand."):
        recipe_from_dict({"train": {"sinks": ["wand"]}})
    with pytest.raises(ConfigError, match=r"unknown metric sink .wand. \(did you mean .wandb.\?\)"):
        names.check_names(["wand"])


def test_each_name_has_its_module_and_its_extra() -> None:
    extras = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    for name in (*SERVICES, "tensorboard"):
        assert callable(import_module(f"nextpatch.runs.sinks.{name}").open_sink)
        assert f"\n{name} = [" in extras


def test_where_figures_go_does_not_bind_a_run() -> None:
    assert recipe_digest(Recipe()) == recipe_digest(Recipe(train=TrainConfig(sinks=())))


def test_no_service_is_imported_unasked() -> None:
    code = f"import nextpatch.runs.logs, nextpatch.train.loop, sys; sys.exit(str(sys.modules.keys() & {set(SERVICES)}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


TWO_SESSIONS = """
import sys, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import socket
made = socket.socket.connect
def connect(self, address):
    assert not isinstance(address, tuple) or address[0] in ("127.0.0.1", "localhost", "::1"), address
    return made(self, address)
socket.socket.connect = connect
def bind(self, address):
    raise AssertionError(address)
socket.socket.bind = bind
from test_sinks import session
for steps in (range(5), range(3, 8)):
    session(Path(sys.argv[1]), steps, sinks=(sys.argv[2],))
"""


def two_sessions(name: str, run: Path) -> None:
    """A run in a process of its own, with a home of its own, that was killed and went on."""
    pytest.importorskip(name, reason=f"{name} is not installed")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "MLFLOW", "TRACKIO", "HF_"))}
    env = {**kept, "HOME": str(run), "TRACKIO_DIR": str(run / "figures"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", TWO_SESSIONS, str(run), name, str(Path(__file__).parent)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cannot record" not in done.stderr


def test_mlflow_in_the_run_directory(tmp_path: Path) -> None:
    two_sessions("mlflow", tmp_path)
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        found = store.execute("select key, step, value from metrics order by step, key").fetchall()
        assert store.execute("select name, status from runs").fetchall() == [(tmp_path.name, "FINISHED")]
        assert store.execute("select key, value from params").fetchall() == [("optim.lr", "0.1")]
    assert found == [(f"{kind}/loss", step, value) for kind, step, value in WANTED]


def test_trackio_in_its_local_folder(tmp_path: Path) -> None:
    two_sessions("trackio", tmp_path)
    with sqlite3.connect(tmp_path / "figures" / "nextpatch.db") as store:
        rows = store.execute("select run_name, step, metrics from metrics order by step, id").fetchall()
    assert len({name for name, _, _ in rows}) == 1
    found = [(key.split("/")[0], step, value) for _, step, text in rows for key, value in json.loads(text).items()]
    assert found == WANTED


def wandb_records(path: Path) -> Iterator[bytes]:
    """The records of a .wandb file: a header of 7 bytes, then LevelDB's log (crc, length, type in blocks of 32 KiB)."""
    data, at, parts = path.read_bytes(), 7, list[bytes]()
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:
            at += 2**15 - at % 2**15
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts.clear()


def test_wandb_offline(tmp_path: Path) -> None:
    two_sessions("wandb", tmp_path)
    from wandb.proto import wandb_internal_pb2 as records

    found, ids = [], set()
    for path in sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb")):
        for data in wandb_records(path):
            record = records.Record.FromString(data)
            ids |= {record.run.run_id} - {""}
            row = {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
            found += [(key.split("/")[0], row["step"], row[key]) for key in row if key.endswith("/loss")]
    assert len(ids) == 1
    assert found == WANTED
