"""Runs that begin with given weights: further pre-training, and a head fitted on a frozen trunk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import nextpatch
from losses import predict
from nextpatch.cli import main
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.objective.cost import train_step_flops
from nextpatch.objective.generate_draws import KNOWN
from nextpatch.objective.objective import Draws
from nextpatch.objective.registry import objective_of
from nextpatch.runs.run import load_run
from nextpatch.tasks.pretrain.warm_start import freeze_trunk
from nextpatch.weights.error import WeightsError
from ranks import run_ranks
from weights_layout import CONFIG, state_of, write_snapshot

FAST = ["--train.steps", "3", "--train.global-batch-size", "4", "--train.device", "cpu", "--train.precision", "fp32",
        "--data.val-images", "4", "--data.workers", "0", "--model.head-width", "16",
        "--model.head-depth", "1"]  # fmt: skip


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_snapshot(tmp_path / "weights", state_of(CONFIG), CONFIG)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(24):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path / "photos"


def test_pre_training_goes_on_from_given_weights(weights: Path, photos: Path, tmp_path: Path) -> None:
    out, given = tmp_path / "run", nextpatch.load(weights).aim
    words = ["pretrain", "--data", str(photos), "--init", str(weights), "--out", str(out), *FAST]
    assert main([*words, "--optim.lr", "1e-30"]) == 0
    run = load_run(out)
    assert run.recipe.model.shape.embed_dim == 32
    assert run.recipe.model.img_size == (28, 28)
    assert run.recipe.data.mean == pytest.approx((0.485, 0.456, 0.406))
    ours, theirs = dict(run.model.named_parameters()), dict(given.named_parameters())
    assert len(theirs) == len([name for name in ours if not name.startswith("head.")])
    assert all(torch.allclose(ours[name], tensor, atol=1e-6) for name, tensor in theirs.items())
    weights.rename(tmp_path / "gone")  # a run that has begun needs them no more
    assert main(["pretrain", "--out", str(out), "--resume"]) == 0


def test_another_image_size_is_no_obstacle(weights: Path, photos: Path, tmp_path: Path) -> None:
    words = ["pretrain", "--data", str(photos), "--init", str(weights), "--out", str(tmp_path / "run"), *FAST]
    assert main([*words, "--model.img-size", "42", "28"]) == 0
    assert load_run(tmp_path / "run").model.cfg.img_size == (42, 28)


def test_a_shape_that_is_not_the_weights_is_named(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pretrain", "--data", str(photos), "--init", str(weights), "--out", str(tmp_path / "run")]
    assert main([*words, "--model.depth", "3"]) == 2
    assert "model.depth 3 is not that of" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_fitted_head_completes_and_leaves_the_trunk(weights: Path, photos: Path, tmp_path: Path) -> None:
    out, given = tmp_path / "head", nextpatch.load(weights).aim
    words = ["fit-head", "--weights", str(weights), "--data", str(photos), "--out", str(out), "--steps", "12",
             "--batch-size", "8", "--head-width", "16", "--head-depth", "1", "--device", "cpu"]  # fmt: skip
    assert main(words) == 0
    run = load_run(out)
    ours = dict(run.model.named_parameters())
    assert all(torch.equal(ours[name], tensor) for name, tensor in given.named_parameters())
    losses = [
        e["loss"] for e in map(json.loads, (out / "metrics.jsonl").read_text().splitlines()) if e["kind"] == "val"
    ]
    assert losses[-1] < losses[0]
    head = out / "pixel_head.safetensors"
    assert head.stat().st_size < 200_000
    both = nextpatch.load(f"{weights}+{head}")
    images, prefix = torch.randn(2, 3, 28, 28), torch.tensor([1, 2])
    with torch.no_grad():
        torch.testing.assert_close(predict(both.aim, images, prefix), predict(run.model, images, prefix))
    assert both.classifier is not None
    assert "Completions" in (out / "report.html").read_text() or "completed" in (out / "report.html").read_text()


FROZEN = ["--train.freeze-trunk", "True", "--model.head", "flow", "--model.order", "any", *FAST,
          "--train.checkpoint-every", "2"]  # fmt: skip


def test_a_frozen_trunk_without_a_start_token_learns_to_generate(weights: Path, photos: Path, tmp_path: Path) -> None:
    """Not a bit of it changes; what the sequence needs besides is new, learns, is resumed and travels with the head."""
    out, given = tmp_path / "run", nextpatch.load(weights).aim
    words = ["pretrain", "--data", str(photos), "--init", str(weights), "--out", str(out), *FROZEN]
    assert main(words) == 0
    assert "these weights have none: the start token, the map of the place that comes next, the head" in (
        said := (out / "log.txt").read_text()
    )
    assert "gradients pass through the frozen blocks" in said
    run, begun = load_run(out), load_run(out, step=2)
    ours, before = dict(run.model.named_parameters()), dict(begun.model.named_parameters())
    assert all(torch.equal(ours[name], tensor) for name, tensor in given.named_parameters())
    assert {name for name in ours if name.startswith("start.")} == {"start.token", "start.next_place.weight"}
    assert not any(torch.equal(ours[name], before[name]) for name in ours if name.startswith("start."))
    both = nextpatch.load(f"{weights}+{out / 'pixel_head.safetensors'}")
    assert both.classifier is None
    assert all(torch.equal(both.aim.state_dict()[name], tensor) for name, tensor in run.model.state_dict().items())
    other = write_snapshot(tmp_path / "other", state_of(CONFIG, seed=1), CONFIG)
    with pytest.raises(WeightsError, match="fitted to other weights"):
        nextpatch.load(f"{other}+{out / 'pixel_head.safetensors'}")
    resumed = tmp_path / "resumed"
    shutil.copytree(out, resumed)
    for late in (resumed / "checkpoints").glob("step_*3"):
        shutil.rmtree(late)
    assert main(["pretrain", "--out", str(resumed), "--resume"]) == 0
    again = load_run(resumed).model.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in run.model.state_dict().items())


@pytest.mark.parametrize("head", ["flow", "diffusion", "density"])
@pytest.mark.parametrize("order", ["raster", "any"])
@pytest.mark.parametrize("frozen", [False, True])
def test_operations_are_counted_with_a_start_token_that_learns_below_a_frozen_trunk_or_not(
    head: str, order: str, frozen: bool
) -> None:
    model = AIM(ModelConfig("nano", (8, 12), 4, 3, head=head, order=order, head_width=16, head_depth=2))
    init_weights(model, 0)
    if frozen:
        freeze_trunk(model)
    objective = objective_of(model.cfg)
    draws = Draws({**objective.draw(0, torch.arange(2)), KNOWN: torch.tensor([2, 2])})
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        objective.loss_sum(model, torch.randint(0, 256, (2, 3, 8, 12)) / 255, draws).backward()
    assert counter.get_total_flops() == 2 * train_step_flops(model.cfg, 4, frozen_trunk=frozen)
    learned = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert "start.token" in learned
    assert any(name.startswith(("trunk.", "patch_embed.")) for name in learned) != frozen


def test_a_frozen_trunk_costs_no_backward_pass() -> None:
    cfg = ModelConfig("small")
    assert train_step_flops(cfg, frozen_trunk=True) < 0.65 * train_step_flops(cfg)


def typed(words: list[str]) -> int:
    return main(words)


@pytest.mark.parametrize("kind", [["--train.freeze-trunk", "True", *FAST], FROZEN], ids=["head", "flow"])
def test_two_ranks_begin_with_the_same_weights(kind: list[str], weights: Path, photos: Path, tmp_path: Path) -> None:
    words = ["pretrain", "--data", str(photos), "--init", str(weights), *kind]
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*words, "--out", str(one)]) == 0
    assert run_ranks(typed, 2, [*words, "--out", str(two)]) == [0, 0]
    alone, together = load_run(one).model.state_dict(), load_run(two).model.state_dict()
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-5, atol=1e-6)
