"""A run by two processes: the same batches and losses as by one, and what comes to one of them comes to both."""

import json
import os
import signal
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nextpatch.core import faults
from nextpatch.data.config import DataConfig
from nextpatch.data.error import DataError
from nextpatch.data.loader import TrainStream
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.ranks import PeerError, Ranks
from nextpatch.model.config import ModelConfig
from nextpatch.objective.next_patch import NextPatch
from nextpatch.runs.config import GuardConfig, OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir, load_run
from nextpatch.tasks.pretrain import run as runs
from nextpatch.tasks.pretrain.budget import Speed
from nextpatch.tasks.pretrain.run import pretrain
from nextpatch.train.step import BadStepError
from ranks import run_ranks

STEPS, BATCH = 8, 4


def recipe_on(folder, **values):
    model = ModelConfig(
        size="nano", img_size=(8, 8), patch_size=4, in_chans=3, embed_dim=16, depth=2, num_heads=2, head_width=16,
        head_depth=1,
    )  # fmt: skip
    train = TrainConfig(
        steps=STEPS, global_batch_size=BATCH, micro_batch_size=2, precision="fp32", device="cpu", val_every=4,
        checkpoint_every=3, log_every=1, threads=1,
    )  # fmt: skip
    data = DataConfig(train=(str(folder),), val_images=5, workers=0)
    recipe = Recipe(model, data, OptimConfig(lr=3e-3, warmup_steps=2), train)
    return replace(recipe, **values)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    from corpus import saved

    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(21):
        (folder / f"{number:02}.png").write_bytes(saved(rng.integers(0, 256, (10, 12, 3), np.uint8), "PNG"))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    return folder


def session(out, recipe, world, before_batch=lambda step: None, resume=False):
    """One session; what this rank was given, as [position, key] of each image, and how it ended."""
    seen, batches = [], TrainStream.batches

    def watched(self, start, size):
        for number, batch in enumerate(batches(self, start, size)):
            before_batch(start // size + number)
            seen.append(list(zip(batch.positions.tolist(), batch.keys, strict=True)))
            yield batch

    TrainStream.batches = watched
    try:
        ended = pretrain(recipe, Path(out), resume, Console(quiet=True), world).exit_code
    except (DataError, PeerError, BadStepError, OSError) as error:
        ended = f"{type(error).__name__}: {error}"
    finally:
        TrainStream.batches = batches
    return [seen, ended]


def by_minutes(out, recipe, world):
    """A session with a time budget; the speed that this rank measured, and how it ended."""
    found, real = [], runs.measured

    def watched(*args):
        found.append(astuple(real(*args)))
        return Speed(0.8 if world.is_main else 0.1, 0.1, 0.1)  # had each its own say, rank 1 would take far more steps

    runs.measured = watched
    try:
        recipe = replace(recipe, train=replace(recipe.train, steps=0, minutes=0.5))
        return [found, session(out, recipe, world)[1]]
    finally:
        runs.measured = real


def by_two(photos, out):
    """Sessions of two ranks: whole; stopped by a signal to one of them; failing data; a loss that is no number."""
    found = {}
    with Ranks.opened() as world:
        found["whole"] = session(f"{out}/whole", recipe_on(photos), world)
        found["sharded"] = session(f"{out}/sharded", recipe_on(photos, engine=EngineConfig(shard=2)), world)

        def stop(step):
            if step == 4 and world.rank == 1:
                os.kill(os.getpid(), signal.SIGUSR1)

        found["stopped"] = session(f"{out}/stopped", recipe_on(photos, engine=EngineConfig(shard=2)), world, stop)

        def fail(step):
            if step == 4 and world.rank == 1:
                raise DataError("the disk is gone")

        found["failing"] = session(f"{out}/failing", recipe_on(photos), world, fail)

        os.environ[faults.VARIABLE] = "enospc:save.tensors:2:1"
        beside = EngineConfig(replicate=2, shard=1, background_save=True)
        found["disk"] = session(f"{out}/disk", recipe_on(photos, engine=beside), world)
        del os.environ[faults.VARIABLE]

        found["minutes"] = by_minutes(f"{out}/minutes", recipe_on(photos), world)

        real, calls = NextPatch.loss_sum, []

        def explode(self, model, images, draws):
            calls.append(None)
            return real(self, model, images, draws) * (
                float("nan") if world.rank == 1 and len(calls) == 8 else 1
            )  # two are timed before step 1

        NextPatch.loss_sum = explode
        found["nan"] = session(f"{out}/nan", recipe_on(photos), world)
        calls.clear()
        found["skip"] = session(f"{out}/skip", recipe_on(photos, guard=GuardConfig(non_finite="skip")), world)
    return found


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def two(photos, out):
    return run_ranks(by_two, 2, str(photos), str(out))


@pytest.fixture(scope="module")
def one(photos, out):
    return session(out / "one", recipe_on(photos), Ranks())


def losses(path):
    return [entry["loss"] for entry in RunDir.open(path).read_metrics() if entry["kind"] in ("train", "val")]


@pytest.mark.parametrize("name", ["whole", "sharded"])
def test_two_ranks_see_the_global_batches_of_one_and_get_its_losses(one, two, out, name):
    shares = [rank[name][0] for rank in two]
    together = [sorted(map(tuple, a + b)) for a, b in zip(*shares, strict=True)]
    assert together == [sorted(map(tuple, batch)) for batch in one[0]]
    assert [rank[name][1] for rank in two] == [0, 0]
    assert losses(out / name) == pytest.approx(losses(out / "one"), rel=1e-5)
    said = [json.loads(line)["key"] for line in (out / name / "bad_samples.jsonl").read_text().splitlines()]
    assert [Path(key).name for key in said] == ["broken.jpg"]


def test_a_signal_to_one_rank_stops_both_after_the_same_step_and_one_process_goes_on(one, two, out):
    assert [rank["stopped"][1] for rank in two] == [128 + signal.SIGUSR1] * 2
    assert RunDir.open(out / "stopped").read_metrics()[-1]["step"] == 5
    seen, ended = session(out / "stopped", None, Ranks(), resume=True)
    assert ended == 0
    assert seen == [[tuple(pair) for pair in batch] for batch in one[0][5:]]
    assert losses(out / "stopped") == pytest.approx(losses(out / "one"), rel=1e-5)
    assert load_run(out / "stopped").step == STEPS


def test_data_that_fails_on_one_rank_stops_both(two):
    assert two[0]["failing"][1] == "PeerError: rank 1: DataError: the disk is gone"
    assert two[1]["failing"][1] == "DataError: the disk is gone"


def test_a_loss_that_is_no_number_on_one_rank_stops_both_and_names_its_images(two):
    first, second = (rank["nan"][1] for rank in two)
    assert first == second
    assert first.startswith("BadStepError: step 6: loss nan")
    culprits = {key for _, key in two[1]["nan"][0][5]}
    assert all(key in first for key in sorted(culprits)[:1])
    assert not any(key in first for _, key in two[0]["nan"][0][5] if key not in culprits)


def test_a_disk_that_is_full_for_one_rank_in_the_background_stops_both_and_the_last_good_checkpoint_stays(two, out):
    first, second = (rank["disk"][1] for rank in two)
    assert "No space left on device" in first
    assert "No space left on device" in second
    assert load_run(out / "disk").step == 3
    assert not list((out / "disk" / "checkpoints").glob("unfinished*"))


def test_two_ranks_measure_one_speed_and_take_the_steps_that_the_first_has_fixed(two, out, photos):
    (first, ended), (second, also_ended) = (rank["minutes"] for rank in two)
    assert (ended, also_ended) == (0, 0)
    assert len(first) == 1
    assert first == second
    fixed = RunDir.open(out / "minutes").recipe
    assert 20 <= fixed.train.steps <= 30
    assert load_run(out / "minutes").step == fixed.train.steps
    plain = replace(fixed, train=replace(fixed.train, minutes=0.0))
    assert session(out / "plain", plain, Ranks())[1] == 0
    assert losses(out / "minutes") == pytest.approx(losses(out / "plain"), rel=1e-5)
    ours, theirs = ((out / name / "bad_samples.jsonl").read_text().count("\n") for name in ("minutes", "plain"))
    assert ours == theirs == 1


def test_a_skipped_step_is_skipped_by_both(two, out):
    assert [rank["skip"][1] for rank in two] == [0, 0]
    entries = RunDir.open(out / "skip").read_metrics()
    assert [(e["step"], e["action"]) for e in entries if e["kind"] == "guard"] == [(6, "skip")]
    model = load_run(out / "skip").model
    assert all(bool(p.isfinite().all()) for p in model.parameters())
