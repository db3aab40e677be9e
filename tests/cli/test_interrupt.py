"""Ctrl-C at any moment of any verb: one line, no traceback, and soon."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextpatch.__main__ import command
from nextpatch.cli import main
from nextpatch.core import interrupt
from sampled import generator_of, saved

START = "print('up', flush=True); from nextpatch.__main__ import command; command()"
MOMENTS_S = (0.15, 0.5, 1.0, 2.0, 4.0, 7.0, 11.0)
VERBS = {
    "pretrain": ["pretrain", "demo", "--minutes", "3", "--out", "{out}"],
    "probe": ["probe", "{run}", "--data", "demo:train", "--test", "demo:test", "--out", "{out}"],
    "finetune": ["finetune", "--weights", "{run}", "--data", "demo:train", "--test", "demo:test", "--out", "{out}"],
    "embed": ["embed", "demo:train", "--weights", "{run}", "--out", "{out}.parquet"],
    "inspect": ["data", "inspect", "demo:train"],
    "pack": ["data", "pack", "demo:train", "--out", "{out}"],
    "sample": ["sample", "{flow}", "-n", "1000", "--steps", "1000", "--out", "{out}"],
    "tokenizer": ["tokenizer", "fit", "demo:train", "--out", "{out}.safetensors"],
    "report": ["report", "{run}"],
    "export": ["export", "{run}", "--to", "onnx", "--out", "{out}.onnx"],
    "check": ["check", "{run}"],
}
SMALL = ["--model", "nano", "--train.steps", "1", "--train.global-batch-size", "2", "--data.val-images", "8"]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Exit codes of what would have ended this process, which hears Ctrl-C also when begun in the background."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield codes
    signal.signal(signal.SIGINT, before)


def test_before_anything_has_begun_the_process_ends_at_once(
    heard: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    with interrupt.exit_on_interrupt():
        os.kill(os.getpid(), signal.SIGINT)
    assert heard == [130]
    assert capfd.readouterr().err == "nextpatch: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_is_ignored_stays_ignored(heard: list[int]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt.exit_on_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert not heard


def test_the_second_one_ends_what_is_being_taken_down(heard: list[int], capfd: pytest.CaptureFixture[str]) -> None:
    try:
        assert interrupt.interrupted() == 130
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert heard == [130]
    assert capfd.readouterr().err == "nextpatch: interrupted\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["pretrain", "--data", "demo:test", "--out", str(out), *SMALL]) == 0
    return out


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(generator_of(), tmp_path_factory.mktemp("runs") / "flow")


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_ctrl_c_at_any_moment_is_one_line_and_soon(verb: str, run: Path, flow: Path, tmp_path: Path) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    patience_s = max(2.0, 40 * (time.monotonic() - began))  # of a machine that others use as well
    codes = []
    for number, moment_s in enumerate(MOMENTS_S):
        words = [word.format(run=run, flow=flow, out=tmp_path / str(number)) for word in VERBS[verb]]
        command = [sys.executable, "-c", START, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
            assert process.stdout.readline() == "up\n"
            time.sleep(moment_s)
            process.send_signal(signal.SIGINT)
            sent = time.monotonic()
            out, err = process.communicate(timeout=60)
        codes.append(process.returncode)
        if process.returncode:
            told = f"{verb}, after {moment_s} s: {out}{err}"
            assert process.returncode == 130, told
            assert time.monotonic() - sent < patience_s, told
            assert "Traceback" not in err, told
            assert "Exception ignored" not in err, told
            assert "nextpatch: interrupted" in err or "SIGINT: stopped" in out + err, told
    assert codes[0] == codes[1] == 130


def test_the_interpreter_ends_without_a_walk_over_all_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["nextpatch", "--version"])
    monkeypatch.setattr("nextpatch.dist.launch.end_with_launcher", lambda: None)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    try:
        with pytest.raises(SystemExit):
            command()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
