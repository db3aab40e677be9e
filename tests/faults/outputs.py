"""Promises tried with real processes: two with one output, ranks whose launcher is killed, views of thin images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from figure import Figure
from PIL import Image

from nextpatch.core.writer import lock_of

_SMALL = ["--model", "nano", "--model.depth", "1", "--model.head-depth", "1", "--model.img-size", "16", "16",
          "--model.patch-size", "8", "--data.workers", "0", "--train.precision", "fp32"]  # fmt: skip
_ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


@contextmanager
def _place() -> Iterator[Path]:
    """A folder of labeled images, 24 of each of two classes, and a finished run."""
    with tempfile.TemporaryDirectory() as name:
        place, rng = Path(name), np.random.default_rng(0)
        for kind in ("a", "b"):
            (place / "data" / kind).mkdir(parents=True)
            for i in range(24):
                pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / "data" / kind / f"{i}.png")
        run = _command(place, "pretrain", "--data", "data", "--out", "run", "--train.steps", "2", *_SMALL)
        assert run.wait(120) == 0, run.communicate()
        yield place


def _command(place: Path, *words: str) -> subprocess.Popen[str]:
    started = [sys.executable, "-m", "nextpatch", *words]
    return subprocess.Popen(started, cwd=place, env=_ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _verbs(place: Path) -> dict[str, tuple[Path, bool, list[str]]]:
    """By verb: its output, whether that is a file, and the words."""
    return {
        "pretrain": (place / "p", False, ["pretrain", "--data", "data", "--out", "p", "--train.steps", "40", *_SMALL]),
        "finetune": (place / "f", False,
                     ["finetune", "--weights", "run", "--data", "data", "--out", "f", "--epochs", "2", "--rank", "2"]),
        "probe": (place / "m", False,
                  ["probe", "run", "--data", "data", "--out", "m", "--labels", "16", "--epochs", "1"]),
        "embed": (place / "e", False, ["embed", "data", "--weights", "run", "--out", "e", "--shard-images", "8"]),
        "pack": (place / "s", False, ["data", "pack", "data", "--out", "s", "--workers", "0"]),
        "report": (place / "run" / "report.html", True, ["report", "run"]),
        "preview": (place / "v.png", True, ["data", "preview", "data", "--out", "v.png"]),
        "inspect": (place / "i.json", True, ["data", "inspect", "data", "--json", "i.json", "--workers", "0"]),
        "similar": (place / "n.png", True, ["similar", "data/a/0.png", "--index", "e", "--out", "n.png"]),
    }  # fmt: skip


def two_at_once() -> Figure:
    """P26: the first process is stopped once it holds the output, the second must be told, the first must finish."""
    right, wrong = [], []
    with _place() as place:
        for verb, (out, is_file, words) in _verbs(place).items():
            lock = lock_of(out, is_file)
            first = _command(place, *words)
            held = _stopped_at(first, lock)
            second = _command(place, *words)
            try:
                said = second.communicate(timeout=60)[1]
            except subprocess.TimeoutExpired:
                second.kill()
                said = "hung"
            os.kill(first.pid, signal.SIGCONT)
            error = first.communicate(timeout=120)[1]
            told = held and second.returncode == 2 and "is being written by" in said and str(first.pid) in said
            good = told and first.returncode == 0 and not lock.exists()
            (right if good else wrong).append(verb)
            if not good:
                print(verb, held, second.returncode, said[-300:], first.returncode, error[-300:], file=sys.stderr)
    figure = f"{len(right)} of {len(right) + len(wrong)} verbs: the second process named the first and left"
    return Figure(f"{figure}; failed: {', '.join(wrong)}" if wrong else figure, not wrong)


def _stopped_at(process: subprocess.Popen[str], lock: Path) -> bool:
    """Stop the process as soon as it holds the lock; False where it never did."""
    while process.poll() is None:
        try:
            whole = json.loads(lock.read_bytes())["pid"] == process.pid
        except (OSError, ValueError):
            whole = False
        if whole:
            process.send_signal(signal.SIGSTOP)
            return True
        time.sleep(0.001)
    return False


def launcher_killed(tries: int = 3) -> Figure:
    """P27: torchrun is killed at random moments; its ranks must be gone soon after, and the run must go on."""
    seconds: list[float] = []
    few = "FEW" in os.environ
    with _place() as place:
        words = ["pretrain", "--data", "data", "--out", "two", "--train.steps", "100000", "--resume", *_SMALL,
                 "--train.checkpoint-every", "5"]  # fmt: skip
        for number in range(1 if few else tries):
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
            launcher = subprocess.Popen(
                [*torchrun, "-m", "nextpatch", *words], cwd=place, env=_ENV, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            ranks = _ranks_of(launcher.pid)
            time.sleep((0.0, 5.0, 10.0)[number % 3])
            launcher.kill()
            launcher.wait()
            seconds.append(_gone_after(ranks))
        going = _command(place, "pretrain", "--out", "two", "--resume")
        time.sleep(12)
        going.send_signal(signal.SIGTERM)
        resumed = going.wait(60) == 128 + signal.SIGTERM or not (place / "two" / "recipe.toml").exists()
    figure = f"{len(seconds)} launchers killed: ranks gone after {max(seconds):.1f} s at most; "
    return Figure(figure + ("the run went on" if resumed else "the run did NOT go on"), resumed and max(seconds) < 15)


def _ranks_of(pid: int) -> list[int]:
    """The two processes that torchrun starts, waited for."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(found) >= 2:
            return [int(rank) for rank in found]
        time.sleep(0.05)
    raise TimeoutError("torchrun started no ranks")


def _gone_after(ranks: list[int], limit_s: float = 60) -> float:
    """Seconds until none of the processes is left; they are killed at the limit."""
    start = time.monotonic()
    while left := [rank for rank in ranks if _runs(rank)]:
        if time.monotonic() - start > limit_s:
            for rank in left:
                os.kill(rank, signal.SIGKILL)
        time.sleep(0.1)
    return time.monotonic() - start


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


_THIN = """
import resource, sys, numpy, torch
from nextpatch.data.config import DataConfig
from nextpatch.data.views import eval_view, train_view
image = torch.zeros(3, int(sys.argv[1]), int(sys.argv[2]), dtype=torch.uint8)
small = torch.zeros(3, 300, 300, dtype=torch.uint8)
chance = numpy.random.default_rng(0)
views = (lambda x: eval_view(x, (224, 224)), lambda x: train_view(x, (224, 224), DataConfig(), chance))
[view(small) for view in views]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert all(view(image).shape == (3, 224, 224) for view in views)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def thin_images() -> Figure:
    """P30: views of images of one pixel's height or width, each in a process of its own; MiB beyond a square image."""
    sides = [(1, 60_000), (60_000, 1), (2, 1_000_000), (1_000_000, 2), (3, 30_000), (224, 100_000)]
    most = 0
    for height, width in sides:
        words = [sys.executable, "-c", _THIN, str(height), str(width)]
        done = subprocess.run(words, env=_ENV, capture_output=True, text=True, timeout=120)
        most = max(most, int(done.stdout) if done.returncode == 0 else 10**6)
    return Figure(f"{len(sides)} shapes, up to 2 x 1,000,000: at most {most} MiB", most <= 64)
