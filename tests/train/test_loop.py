"""The one training loop, on the real model: what it writes down, and resuming bit for bit."""

import io
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from nextpatch.config import ConfigError
from nextpatch.data.config import DataConfig
from nextpatch.data.loader import TrainStream
from nextpatch.data.mixture import Mixture, MixturePart
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.objective.next_patch import NextPatch
from nextpatch.runs.checkpoint import newest_checkpoint
from nextpatch.runs.config import GuardConfig, OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir
from nextpatch.tasks.pretrain.learner import Pretraining
from nextpatch.train.heldout import HeldOut
from nextpatch.train.loop import fit
from nextpatch.train.step import BadStepError

MODEL = ModelConfig(
    size="nano", img_size=(8, 8), patch_size=4, in_chans=1, embed_dim=16, depth=2, num_heads=2, head_width=16,
    head_depth=1,
)  # fmt: skip
TRAIN = TrainConfig(
    steps=12, global_batch_size=4, micro_batch_size=3, precision="fp32", device="cpu", val_every=5, checkpoint_every=4,
    log_every=3,
)  # fmt: skip
RECIPE = Recipe(MODEL, DataConfig(workers=0), OptimConfig(lr=3e-3, warmup_steps=2), TRAIN)
TIMES = {"elapsed_s", "images_per_s", "tflops"}


class MemorySource:
    """Gradients of gray at random angles; `on_read` is called with each index."""

    name, classes, digest, random_access, remote = "memory", (), "memory", True, False

    def __init__(self, count=10, on_read=lambda index: None):
        self.count, self.on_read = count, on_read
        self.shard_sizes = np.array([count])

    def __len__(self):
        return self.count

    def read(self, index):
        self.on_read(index)
        rng = np.random.default_rng(index)
        ramp = np.add.outer(np.arange(8) * rng.integers(0, 16), np.arange(8) * rng.integers(0, 16))
        out = io.BytesIO()
        Image.fromarray(ramp.astype(np.uint8)).save(out, "PNG")
        return out.getvalue()

    def key(self, index):
        return f"image {index}"

    def label(self, index):
        return None

    def prefetch(self, shard): ...


def train(run, after_step=lambda step: None, count=10):
    """One session of a run; `after_step` is called before each batch with the steps done so far."""
    model = AIM(run.recipe.model)
    init_weights(model, run.recipe.train.seed)
    seed = run.recipe.train.seed
    order = Mixture([MixturePart(np.array([count]), np.arange(count - 3, count))], seed)
    stream = TrainStream(MemorySource(count), order, run.recipe.data, (8, 8), 1, seed)
    batches = stream.batches

    def watched(start, size):
        for number, batch in enumerate(batches(start, size)):
            after_step(start // size + number)
            yield batch

    stream.batches = watched
    held_out = HeldOut(MemorySource(count), np.arange(count - 3, count), run.recipe.model)
    learner = Pretraining(model, stream, held_out, run)
    return fit(learner, learner.task(), Console(quiet=True))


def timeless(run):
    return [{k: v for k, v in entry.items() if k not in TIMES} for entry in run.read_metrics()]


def final(run):
    checkpoint = newest_checkpoint(run.checkpoints)
    assert checkpoint is not None
    return {name: checkpoint.tensors(name) for name in ("model", "optimizer")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupts."""
    run = RunDir.create(tmp_path_factory.mktemp("runs") / "whole", RECIPE)
    assert train(run).exit_code == 0
    return run


def assert_same(run, whole):
    assert timeless(run) == timeless(whole)
    ours, theirs = final(run), final(whole)
    for part in theirs:
        assert ours[part].keys() == theirs[part].keys()
        for name, value in theirs[part].items():
            assert torch.equal(ours[part][name], value), name


def test_a_run_writes_down_what_the_contract_says(whole):
    entries = timeless(whole)
    assert [e["step"] for e in entries if e["kind"] == "train"] == [3, 6, 9, 12]
    assert [e["step"] for e in entries if e["kind"] == "val"] == [0, 5, 10, 12]
    assert [e["images"] for e in entries if e["kind"] == "train"] == [12, 24, 36, 48]
    assert set(whole.read_metrics()[1]) == {
        "kind", "step", "loss", "lr", "grad_norm", "images", "images_per_s", "tflops", "elapsed_s",
    }  # fmt: skip
    val = next(e for e in entries if e["kind"] == "val")
    assert val["images"] == 3
    assert len(val["position_loss"]) == MODEL.num_patches - 1
    assert len(val["chunk_loss"]) == len(val["chunk_start"]) == min(16, MODEL.num_patches)
    upside_down = [sorted(key for key in e if key.startswith("flipped")) for e in entries if e["kind"] == "val"]
    assert upside_down == [[], [], [], ["flipped_chunk_loss", "flipped_loss", "flipped_position_loss"]]
    last = entries[-1]
    assert len(last["flipped_chunk_loss"]) == len(last["chunk_loss"])
    assert last["flipped_loss"] != last["loss"]
    assert newest_checkpoint(whole.checkpoints).step == 12
    assert len(list(whole.checkpoints.iterdir())) == TRAIN.keep_checkpoints


def test_a_run_learns(whole):
    losses = [entry["loss"] for entry in whole.read_metrics() if entry["kind"] == "val"]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_the_resumed_run_equals_the_whole_one(tmp_path, whole, number):
    run = RunDir.create(tmp_path / "run", RECIPE)
    outcome = train(run, lambda step: step == 4 and os.kill(os.getpid(), number))
    assert outcome.exit_code == 128 + number
    assert outcome.step == 5  # the step in which it came was finished
    assert newest_checkpoint(run.checkpoints).step == 5
    assert train(RunDir.open(run.path)).exit_code == 0
    assert_same(run, whole)


class Killed(BaseException):
    """Stands for SIGKILL: nothing is saved on the way out."""


@pytest.mark.parametrize("deaths", [(2,), (7,), (5, 6, 11)])
def test_a_killed_run_resumed_equals_the_whole_one(tmp_path, whole, deaths):
    run = RunDir.create(tmp_path / "run", RECIPE)
    for death in deaths:

        def die(step, death=death):
            if step == death:
                raise Killed

        with pytest.raises(Killed):
            train(run, die)
    assert train(RunDir.open(run.path)).exit_code == 0
    assert_same(run, whole)


def test_a_finished_run_resumed_changes_nothing(tmp_path, whole):
    before = timeless(whole)
    assert train(RunDir.open(whole.path)).exit_code == 0
    assert timeless(whole) == before


def exploding(monkeypatch, when, factor=float("nan")):
    """The loss is multiplied at these (step, micro-batch)es, counted from 0, of which there are two a step."""
    real, calls = NextPatch.loss_sum, []

    def explode(self, model, images, draws):
        now = divmod(len(calls), 2)
        calls.append(now)
        return real(self, model, images, draws) * (factor if now in when else 1)

    monkeypatch.setattr(NextPatch, "loss_sum", explode)


def test_a_non_finite_loss_stops_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    run = RunDir.create(tmp_path / "run", RECIPE)
    exploding(monkeypatch, {(5, 1)})
    with pytest.raises(BadStepError, match=r"step 6: loss nan.*not finite for: image \d\. Stopped.*lower optim\.lr"):
        train(run)
    assert newest_checkpoint(run.checkpoints).step == 4


@pytest.mark.parametrize("cut", [None, 7])
def test_a_step_to_be_skipped_changes_no_weight_and_the_run_goes_on_also_when_resumed(tmp_path, monkeypatch, cut):
    recipe = replace(RECIPE, guard=GuardConfig(non_finite="skip"))
    run = RunDir.create(tmp_path / "run", recipe)
    exploding(monkeypatch, {(5, 0), (6, 1)})
    if cut:
        train(run, lambda step: step == cut and os.kill(os.getpid(), signal.SIGTERM))
    assert train(run).exit_code == 0
    entries = run.read_metrics()
    assert [(e["step"], e["action"]) for e in entries if e["kind"] == "guard"] == [(6, "skip"), (7, "skip")]
    assert "loss is not finite for: image" in next(e["trouble"] for e in entries if e["kind"] == "guard")
    assert all(np.isfinite(e["loss"]) for e in entries if e["kind"] in ("train", "val"))
    assert float(final(run)["optimizer"]["head.pred.weight/step"]) == TRAIN.steps - 2
    assert newest_checkpoint(run.checkpoints).state["position"] == TRAIN.steps * TRAIN.global_batch_size


@pytest.mark.parametrize("non_finite", ["stop", "skip"])
def test_a_validation_loss_of_infinity_is_null_and_the_guard_decides(tmp_path, monkeypatch, non_finite):
    run = RunDir.create(tmp_path / "run", replace(RECIPE, guard=GuardConfig(non_finite=non_finite)))
    real = NextPatch.position_losses
    monkeypatch.setattr(NextPatch, "position_losses", lambda *args: real(*args) + float("inf"))
    if non_finite == "skip":
        assert train(run).exit_code == 0
    else:
        with pytest.raises(BadStepError, match=r"step 0: the validation loss is inf.*--guard.non-finite skip"):
            train(run)
    values = [entry for entry in run.read_metrics() if entry["kind"] == "val"]
    assert len(values) == {"stop": 1, "skip": 4}[non_finite]
    assert all(entry["loss"] is None and entry["not_finite"]["loss"] == "inf" for entry in values)
    assert any("validation loss is inf" in e["trouble"] for e in run.read_metrics() if e["kind"] == "guard")


def test_too_many_skipped_steps_in_a_row_stop_the_run(tmp_path, monkeypatch):
    run = RunDir.create(tmp_path / "run", replace(RECIPE, guard=GuardConfig(non_finite="skip", max_skips=2)))
    exploding(monkeypatch, {(step, 0) for step in range(5, 12)})
    with pytest.raises(BadStepError, match=r"step 8: .*after 2 skipped steps in a row"):
        train(run)


def test_a_spike_is_named_and_applied_unless_configured_otherwise(tmp_path, monkeypatch, caplog):
    run = RunDir.create(tmp_path / "run", replace(RECIPE, guard=GuardConfig(window=4)))
    exploding(monkeypatch, {(9, 0)}, 1e3)
    assert train(run).exit_code == 0
    (entry,) = (e for e in run.read_metrics() if e["kind"] == "guard")
    assert entry["action"] == "apply"
    assert "step 10: loss" in entry["trouble"]
    assert "is far above" in entry["trouble"]
    assert float(final(run)["optimizer"]["head.pred.weight/step"]) == TRAIN.steps


def test_a_data_set_of_another_size_is_refused(tmp_path):
    run = RunDir.create(tmp_path / "run", RECIPE)
    train(run, lambda step: step == 1 and os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(ConfigError, match="gives 9 training images, but gave 7"):
        train(run, count=12)
