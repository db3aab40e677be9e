"""Killed at random moments, some inside a save, a resumed run equals the uninterrupted one bit for bit."""

import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image

from nextpatch.data.config import DataConfig
from nextpatch.model.config import ModelConfig
from nextpatch.runs.checkpoint import newest_checkpoint
from nextpatch.runs.config import OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir
from nextpatch.tasks.pretrain.run import pretrain

KILLS = 20
MODEL = ModelConfig(
    size="nano", img_size=(8, 8), patch_size=4, in_chans=1, embed_dim=64, depth=2, num_heads=2, head_width=64,
    head_depth=2,
).resolved()  # fmt: skip
TRAIN = TrainConfig(
    steps=4500, global_batch_size=4, micro_batch_size=4, precision="fp32", device="cpu", val_every=100,
    checkpoint_every=20, log_every=1, threads=1,
)  # fmt: skip
TIMES = {"elapsed_s", "images_per_s", "tflops"}


def session(context, recipe, out, resume):
    """A process that trains, quietly."""
    process = context.Process(target=_train, args=(recipe, out, resume))
    process.start()
    return process


def _train(recipe, out, resume):
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    pretrain(recipe, out, resume)


def finish(context, recipe, out, resume):
    process = session(context, recipe, out, resume)
    process.join()
    assert process.exitcode == 0


def saving(folder):
    """Whether a save is under way: something in the checkpoints folder that is not a published step."""
    return any(not path.name.startswith("step_") for path in folder.iterdir()) if folder.exists() else False


def kill_soon(process, out, rng, inside_a_save):
    """SIGKILL after a random delay and, if wanted, at the next moment in which a save is under way."""
    time.sleep(rng.uniform(0.2, 1.5))
    while inside_a_save and process.is_alive() and not saving(out / "checkpoints"):
        time.sleep(0.0002)
    caught = saving(out / "checkpoints")
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL, caught


def timeless(run):
    return [{k: v for k, v in entry.items() if k not in TIMES} for entry in run.read_metrics()]


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for i in range(40):
        pixels = np.random.default_rng(i).integers(0, 256, (10, 10)).astype(np.uint8)
        Image.fromarray(pixels).save(images / f"{i}.png")
    recipe = Recipe(MODEL, DataConfig(train=(str(images),), val_images=8, workers=0), OptimConfig(), TRAIN)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nextpatch.tasks.pretrain.run"])
    finish(context, recipe, tmp_path / "whole", False)

    out, rng, kills, inside, attempt = tmp_path / "killed", random.Random(0), 0, 0, 0
    while attempt < KILLS:
        process = session(context, recipe, out, (out / "recipe.toml").exists())
        killed, caught = kill_soon(process, out, rng, inside_a_save=attempt % 2 == 1)
        kills, inside, attempt = kills + killed, inside + (killed and caught), attempt + 1
    assert kills == KILLS, "the run is too short: it ended before the last kill"
    assert inside >= 3
    finish(context, recipe, out, True)

    whole, survivor = RunDir.open(tmp_path / "whole"), RunDir.open(out)
    assert timeless(survivor) == timeless(whole)
    theirs, ours = newest_checkpoint(whole.checkpoints), newest_checkpoint(survivor.checkpoints)
    assert ours.step == theirs.step == TRAIN.steps
    for part in ("model", "optimizer"):
        wanted, found = theirs.tensors(part), ours.tensors(part)
        assert wanted.keys() == found.keys()
        assert all(torch.equal(wanted[name], found[name]) for name in wanted)
