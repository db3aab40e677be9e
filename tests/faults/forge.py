"""Runs that are killed and resumed, hundreds of them: a session is a child forked from a process that is ready.

The parent imports everything and starts no thread, so that a session costs what it trains. A session is the real
`pretrain` on real files; beside it stands only a ledger of the images that each step was given.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from corpus import saved
from nextpatch.core import faults
from nextpatch.data.config import DataConfig
from nextpatch.data.loader import TrainStream
from nextpatch.dist.ranks import Ranks
from nextpatch.model.config import ModelConfig
from nextpatch.runs.checkpoint import newest_checkpoint
from nextpatch.runs.config import OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir
from nextpatch.tasks.pretrain.run import pretrain

STEPS, BATCH, IMAGES = 12, 4, 22
TIMES = {"elapsed_s", "images_per_s", "tflops"}
HUNG = -999  # instead of an exit code


def photos(folder: Path) -> Path:
    """Small images, one of them broken."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        (folder / f"{number:02}.png").write_bytes(saved(rng.integers(0, 256, (10, 12, 3), np.uint8), "PNG"))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    return folder


def recipe_on(folder: Path, workers: int = 0, **engine: object) -> Recipe:
    """A run of a second: 12 steps, a checkpoint after every second one."""
    model = ModelConfig(
        size="nano", img_size=(8, 8), patch_size=4, in_chans=3, embed_dim=16, depth=2, num_heads=2, head_width=16,
        head_depth=1,
    )  # fmt: skip
    train = TrainConfig(
        steps=STEPS, global_batch_size=BATCH, micro_batch_size=2, precision="fp32", device="cpu", val_every=4,
        checkpoint_every=2, log_every=1, threads=1,
    )  # fmt: skip
    recipe = Recipe(
        model, DataConfig((str(folder),), val_images=5, workers=0), OptimConfig(3e-3, warmup_steps=2), train
    )
    return replace(recipe, engine=replace(recipe.engine, **engine))


@dataclass(frozen=True)
class Kill:
    """How a session ends: at a fault point ("die:save.rename:2"), by a signal, or in peace.

    The signal comes when the session has taken so many batches, and so many seconds later. Seconds alone would not do:
    on a busy machine a session has not begun by then, on an idle one it is over.
    """

    fault: str = ""
    batches: int = 0
    after_s: float = 0.0
    number: signal.Signals = signal.SIGKILL
    everybody: bool = False

    def landed(self, codes: Sequence[int]) -> bool:
        """Whether a session that was to be killed was, and did not end before."""
        return 137 in codes if self.fault else -self.number in codes


def session(recipe: Recipe, out: Path, kill: Kill, ranks: int = 1) -> list[int]:
    """One session of all ranks, begun or resumed; their exit codes (negative: the signal that ended them)."""
    port, counted = _free_port(), out / f"ledger-{ranks - 1}.jsonl"
    had = _lines(counted)
    children = [_fork(lambda rank=rank: _train(recipe, out, kill, rank, ranks, port)) for rank in range(ranks)]
    if kill.batches or kill.after_s:
        while _lines(counted) < had + kill.batches and not any(_is_over(child) for child in children):
            time.sleep(0.002)
        time.sleep(kill.after_s)
        for child in children if kill.everybody else children[-1:]:
            os.kill(child, kill.number)
    return [_ended(child) for child in children]


def _fork(work: Callable[[], int]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _is_over(child: int) -> bool:
    """Whether it ended; its exit code is left for `_ended`."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _ended(child: int, patience_s: float = 90) -> int:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HUNG


def _train(recipe: Recipe, out: Path, kill: Kill, rank: int, ranks: int, port: int) -> int:
    if kill.fault:
        os.environ[faults.VARIABLE] = kill.fault
    out.mkdir(parents=True, exist_ok=True)
    os.environ["RANK"] = str(rank)
    log = (out / f"said-{rank}.txt").open("ab")
    os.dup2(log.fileno(), 2)
    if ranks > 1:
        os.environ.update(
            WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )  # fmt: skip
    _keep_ledger(out / f"ledger-{rank}.jsonl", recipe.train.global_batch_size)
    with Ranks.opened() as world:
        return pretrain(recipe, out / "run", RunDir.exists(out / "run"), Console(quiet=True), world).exit_code


def _keep_ledger(path: Path, batch_size: int) -> None:
    batches = TrainStream.batches

    def written(self: TrainStream, start: int, size: int):  # type: ignore[no-untyped-def]
        with path.open("a") as file:
            for number, batch in enumerate(batches(self, start, size)):
                pairs = list(zip(batch.positions.tolist(), batch.keys, strict=True))
                file.write(json.dumps([start // batch_size + number, pairs]) + "\n")
                file.flush()
                yield batch

    TrainStream.batches = written  # type: ignore[method-assign]


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass(frozen=True)
class Result:
    """What a finished run comes to: entries without times, a digest of all tensors, and who was seen at each step."""

    entries: str
    tensors: str
    ledger: str


def result(out: Path) -> Result:
    """Of a run that went through all its steps, in however many sessions."""
    run = RunDir.open(out / "run")
    entries = [{k: v for k, v in entry.items() if k not in TIMES} for entry in run.read_metrics()]
    checkpoint = newest_checkpoint(run.checkpoints)
    assert checkpoint is not None
    assert checkpoint.step == STEPS, f"step {checkpoint.step}"
    digest = hashlib.sha256()
    for group in ("model", "optimizer"):
        for name, tensor in sorted(checkpoint.tensors(group).items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return Result(json.dumps(entries), digest.hexdigest(), json.dumps(ledger(out)))


def ledger(out: Path) -> list[list[list[object]]]:
    """For each step, the images that were trained on: of a step done twice because of a kill, the later time."""
    steps: dict[int, dict[int, list[list[object]]]] = {}
    for rank, path in enumerate(sorted(out.glob("ledger-*.jsonl"))):
        for line in path.read_text().splitlines():
            try:
                step, pairs = json.loads(line)
            except ValueError:
                continue  # cut by the kill
            steps.setdefault(step, {})[rank] = pairs
    return [sorted(pair for own in steps[step].values() for pair in own) for step in range(STEPS)]


def chain(recipe: Recipe, out: Path, kills: Sequence[Kill], ranks: int = 1) -> tuple[Result, list[list[int]]]:
    """A run that is killed so many times, and then left alone until it is done."""
    codes = [session(recipe, out, kill, ranks) for kill in kills]
    codes.append(session(recipe, out, Kill(), ranks))
    assert codes[-1] == [0] * ranks, (codes, *[p.read_text()[-1500:] for p in sorted(out.glob("said-*.txt"))])
    return result(out), codes


def ready() -> None:
    """Make the process fit to fork: one thread, and nothing loaded only on first use."""
    torch.set_num_threads(1)
    assert torch.get_num_threads() == 1
