"""Promises that are tried by killing, stopping and restarting real runs."""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import forge
from figure import Figure, pytest_figure
from forge import HUNG, Kill, chain, ledger, recipe_on, session

from nextpatch.runs.checkpoint import POINTS, newest_checkpoint
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir


@contextmanager
def forged() -> Iterator[Path]:
    """An empty place with photos, in a process that is fit to fork."""
    forge.ready()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        forge.photos(place / "photos")
        yield place


def kills() -> Figure:
    """P1: at every point of a save; SIGKILL at random moments; chains of three; saved beside; on two ranks.

    Only runs count in which every kill found its run alive; runs in which one did not must end with the same bits, too.
    With FEW in the environment, a few of each.
    """
    with forged() as place:
        tally, whole = Counter[str](), {}
        for ranks, recipe, wanted, draw in _families(place / "photos", random.Random(0), few="FEW" in os.environ):
            if ranks not in whole:
                whole[ranks], _ = chain(recipe, place / f"whole {ranks}", [], ranks)
            landed = number = 0
            while landed < wanted and number < 3 * wanted:
                some = draw(number)
                number += 1
                found, codes = chain(recipe, place / f"{tally.total()}", some, ranks)
                hit = all(kill.landed(ended) for kill, ended in zip(some, codes, strict=False))
                landed += hit
                tally["runs" if hit else "missed"] += 1
                tally["different"] += found != whole[ranks]
                tally["hung"] += any(code == HUNG for ended in codes for code in ended)
                if hit:
                    tally["chains"] += len(some) == 3
                    tally["two ranks"] += ranks == 2
                    tally["at points"] += sum(bool(kill.fault) for kill in some)
                    tally["between"] += sum(not kill.fault and kill.batches > 0 for kill in some)
                    tally["at starts"] += sum(not kill.fault and not kill.batches for kill in some)
            tally["short"] += wanted - landed
    runs, different = tally["runs"], tally["different"]
    figure = (
        f"{runs - different} of {runs} bit-identical, {tally['chains']} of them chains of three kills, "
        f"{tally['two ranks']} on two ranks; kills that landed: {tally['at points']} at named points of a save, "
        f"{tally['between']} at random amid training, {tally['at starts']} at starts; {tally['hung']} hung; "
        f"{tally['missed']} runs not counted because a kill came too late"
    )
    enough = runs >= 200 or "FEW" in os.environ
    return Figure(figure, enough and not different and not tally["hung"] and not tally["short"])


def _families(
    photos: Path, chance: random.Random, few: bool
) -> Iterator[tuple[int, Recipe, int, Callable[[int], list[Kill]]]]:
    """Ranks, recipe, how many are wanted, and the kills of the number-th run.

    `save.replace` is left out: no run comes there by itself.
    """
    single, two = recipe_on(photos), recipe_on(photos, shard=2)
    beside = recipe_on(photos, background_save=True)
    points = [point for point in POINTS if point not in ("save.metadata", "save.replace", "mend")]

    def point() -> Kill:
        name = chance.choice(points)
        return Kill(f"die:{name}:{1 if name.startswith('prune') else chance.randint(1, 2)}:0")

    def moment() -> Kill:
        return Kill(batches=chance.randint(1, 4), after_s=chance.uniform(0, 0.04))

    def three(_: int) -> list[Kill]:
        return [chance.choice((point, moment))() for _ in range(3)]

    fixed = [[Kill(f"die:{name}:{number}")] for name, number in product(points, (3,) if few else (1, 2, 4))]
    fixed.append([Kill("die:save.done:2"), Kill("die:mend:1")])
    yield 1, single, len(fixed), fixed.__getitem__
    yield 1, single, 1 if few else 50, lambda _: [Kill(batches=chance.randint(1, 10), after_s=chance.uniform(0, 0.04))]
    yield 1, single, 0 if few else 10, lambda _: [Kill(after_s=chance.uniform(0.02, 0.2))]
    yield 1, single, 1 if few else 70, three
    yield 1, beside, 1 if few else 15, three
    spread = [[Kill(f"die:{name}:2:{rank}")] for name in [*points, "save.metadata"] for rank in _reaching(name)]
    yield 2, two, 1 if few else len(spread), spread[1:2].__getitem__ if few else spread.__getitem__
    yield 2, two, 0 if few else 10, three


def _reaching(point: str) -> tuple[int, ...]:
    """Which of two ranks come to a point of a save."""
    return (0, 1) if point in ("save.tensors", "save.written", "save.synced", "save.agreed") else (0,)


def exactly_once() -> Figure:
    """P2: three kills in a row, for each number of ranks and data workers."""
    with forged() as place:
        lost = repeated = seen = chains = 0
        whole = ledger(place / "whole") if chain(recipe_on(place / "photos"), place / "whole", []) else []
        for ranks, workers in product((1, 2), (0, 1, 2, 4)):
            out = place / f"{ranks} {workers}"
            some = [Kill(f"die:save.{point}:1:0") for point in ("done", "rename", "state")]
            chain(recipe_on(place / "photos", workers), out, some, ranks)
            chains += 1
            for ours, theirs in zip(ledger(out), whole, strict=True):
                a, b = [tuple(pair) for pair in ours], [tuple(pair) for pair in theirs]
                lost += len(set(b) - set(a))
                repeated += len(a) - len(set(a)) + len(set(a) - set(b))
                seen += len(a)
    said = pytest_figure("tests/data/test_ledger.py")
    figure = f"{lost} lost, {repeated} repeated of {seen} in {chains} chains, workers 0, 1, 2, 4 x ranks 1, 2"
    return Figure(f"{figure}; {said.figure}", not lost and not repeated and bool(said.met))


def other_numbers() -> Figure:
    """P3: killed on W ranks, gone on with on W'."""
    with forged() as place:
        recipe = recipe_on(place / "photos")
        chain(recipe, place / "whole", [])
        batches, far, same, pairs = ledger(place / "whole"), 0.0, 0, 0
        expected = _losses(place / "whole")
        for before, after in product((1, 2, 4), repeat=2):
            out = place / f"{before} {after}"
            session(recipe, out, Kill("die:save.done:3:0"), before)
            codes = session(recipe, out, Kill(), after)
            assert codes == [0] * after, codes
            _drop_what_was_done_twice(out, done=6)
            pairs += 1
            same += ledger(out) == batches
            far = max(far, *(abs(a / b - 1) for a, b in zip(_losses(out), expected, strict=True)))
    return Figure(f"{same} of {pairs} pairs see the same global batches; losses within {far:.1e}", same == pairs)


def _drop_what_was_done_twice(out: Path, done: int) -> None:
    """Sessions of unequal numbers of ranks: of a step after the kill only what the second one was given counts."""
    for path in out.glob("ledger-*.jsonl"):
        lines, kept, last = path.read_text().splitlines(), [], -1
        for line in lines:
            step = json.loads(line)[0]
            if step <= last:
                kept = [entry for entry in kept if json.loads(entry)[0] < step]
            kept.append(line)
            last = step
        if last < 11:  # a rank of the first session alone
            kept = [line for line in kept if json.loads(line)[0] < done]
        path.write_text("".join(line + "\n" for line in kept))


def _losses(out: Path) -> list[float]:
    entries = RunDir.open(out / "run").read_metrics()
    return [entry["loss"] for entry in entries if entry["kind"] == "train"]


def restarts() -> Figure:
    """P12: a rank of two is killed under torchrun, which starts both again."""
    with forged() as place:
        seconds, right, tried = [], 0, 6
        alone = _torchrun(place, "alone")
        for number in range(tried):
            start = time.monotonic()
            fault = ("die:save.written:3:1", "die:save.done:2:0")[number % 2]
            done = _torchrun(place, f"killed {number}", fault)
            seconds.append(time.monotonic() - start)
            right += done == alone
    median = statistics.median(seconds)
    return Figure(
        f"{right} of {tried} recovered with identical losses, median {median:.1f} s from start to end", right == tried
    )


def _torchrun(place: Path, name: str, fault: str = "") -> list[float]:
    """Losses of a run of two ranks under torchrun; the fault happens in the first attempt only."""
    out = place / name
    words = [
        "torchrun", "--standalone", "--nproc-per-node", "2", "--max-restarts", "3",
        str(Path(__file__).with_name("once.py")), "pretrain", "--data", str(place / "photos"), "--out", str(out),
        "--model", "nano", "--model.depth", "2", "--model.img_size", "8", "8", "--model.patch_size", "4", "--resume",
        "--train.steps", "12", "--train.checkpoint_every", "2", "--train.log_every", "1", "--train.precision", "fp32",
        "--train.global_batch_size", "4",
    ]  # fmt: skip
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    env |= {"NEXTPATCH_FAULT_ONCE": fault} if fault else {}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return [entry["loss"] for entry in RunDir.open(out).read_metrics() if entry["kind"] == "train"]


def preemption() -> Figure:
    """P13: SIGTERM and SIGUSR1, to one rank or to all, at random moments."""
    with forged() as place:
        chance, seconds, lost, right, tried = random.Random(1), [], 0, 0, 0
        base = recipe_on(place / "photos", shard=2)
        recipe = replace(base, train=replace(base.train, steps=400, checkpoint_every=400, val_every=400))
        for number, everybody, _ in product((signal.SIGTERM, signal.SIGUSR1), (False, True), range(3)):
            out = place / str(tried)
            kill = Kill(after_s=chance.uniform(3.5, 6.0), number=number, everybody=everybody)
            start = time.monotonic()
            codes = session(recipe, out, kill, 2)
            seconds.append(time.monotonic() - start - kill.after_s)
            tried += 1
            run = RunDir.open(out / "run")
            trained = max((e["step"] for e in run.read_metrics() if e["kind"] == "train"), default=0)
            saved = newest_checkpoint(run.checkpoints)
            lost += trained - (saved.step if saved else 0)
            right += codes == [128 + number] * 2
    p95 = sorted(seconds)[round(0.95 * (len(seconds) - 1))]
    figure = f"{lost} steps lost in {tried} tries, {right} with the right exit code; p95 {p95:.1f} s to exit"
    return Figure(figure, not lost and right == tried and p95 < 30)


def same_bits() -> Figure:
    """P18: the same run twice; with recomputation; with data workers."""
    with forged() as place:
        ways = {
            "first": recipe_on(place / "photos"), "again": recipe_on(place / "photos"),
            "recomputed in full": recipe_on(place / "photos", activation_checkpointing="full"),
            "recomputed in part": recipe_on(place / "photos", activation_checkpointing="selective"),
            "two workers": recipe_on(place / "photos", workers=2),
            "saved beside": recipe_on(place / "photos", background_save=True),
        }  # fmt: skip
        found = {name: chain(recipe, place / name, [])[0] for name, recipe in ways.items()}
    equal = [name for name in found if found[name] == found["first"]]
    return Figure(f"{len(equal)} of {len(found)} equal: {', '.join(equal)}", len(equal) == len(found))
