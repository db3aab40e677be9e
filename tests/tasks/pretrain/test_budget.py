"""A time budget: the steps that fit are fixed before the first, kept for ever, and change nothing else."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from nextpatch.cli import main
from nextpatch.core.errors import ConfigError
from nextpatch.data.config import DataConfig
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.objective.next_patch import NextPatch
from nextpatch.runs.checkpoint import newest_checkpoint
from nextpatch.runs.config import OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir
from nextpatch.tasks.pretrain import run as runs
from nextpatch.tasks.pretrain.budget import LEAST_STEPS, Speed, fitted, measured
from nextpatch.tasks.pretrain.data import open_data
from nextpatch.tasks.pretrain.run import Pretrained, pretrain
from nextpatch.train import validation

MODEL = ModelConfig(
    size="nano", img_size=(8, 12), patch_size=4, in_chans=3, embed_dim=16, depth=1, num_heads=2, head_width=16,
    head_depth=1,
).resolved()  # fmt: skip
TRAIN = TrainConfig(
    minutes=0.5,
    global_batch_size=4,
    micro_batch_size=2,
    precision="fp32",
    device="cpu",
    log_every=1,
    threads=1,
    val_every=10,
    checkpoint_every=20,
)
FAST = Speed(step_s=0.8, validation_s=0.1, save_s=0.1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (15, 17, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return Recipe(MODEL, DataConfig(train=(str(folder),), val_images=3, workers=0), OptimConfig(), TRAIN)


def quiet(recipe: Recipe | None, out: Path, resume: bool = False) -> Pretrained:
    return pretrain(recipe, out, resume, Console(quiet=True))


def weights(out: Path) -> dict[str, torch.Tensor]:
    checkpoint = newest_checkpoint(out / "checkpoints")
    assert checkpoint is not None
    return {**checkpoint.tensors("model"), **checkpoint.tensors("optimizer")}


def entries(out: Path) -> list[dict[str, Any]]:
    times = ("elapsed_s", "images_per_s", "tflops")
    return [{k: v for k, v in entry.items() if k not in times} for entry in RunDir.open(out).read_metrics()]


@pytest.fixture
def known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured for real, but with a result that is the same on any machine."""
    monkeypatch.setattr(runs, "measured", lambda *args: (measured(*args), FAST)[1])


@pytest.mark.parametrize("clocks", [{}, {"val_every": 7}, {"val_every": 500, "checkpoint_every": 50}])
@pytest.mark.parametrize("minutes", [1.0, 60.0, 5000.0])
def test_the_steps_that_fit_are_the_most_that_fit(recipe: Recipe, minutes: float, clocks: dict[str, int]) -> None:
    train = replace(recipe.train, minutes=minutes, **{"val_every": 0, "checkpoint_every": 0, **clocks})
    asked = replace(recipe, train=train)
    speed = Speed(0.2, 1.5, 0.3)
    found = fitted(asked, speed, 60 * minutes)
    assert 0.85 * 60 * minutes < speed.total_s(found) < 60 * minutes
    steps = found.train.steps
    longer = replace(found, train=replace(found.train, steps=int(steps * 1.05)))
    assert speed.total_s(longer) > 60 * minutes * 0.97 - 5
    assert found.optim.warmup_steps == round(0.025 * steps)
    assert all(getattr(found.train, name) == value for name, value in clocks.items())


def test_slow_validations_are_made_less_often(recipe: Recipe) -> None:
    open_clocks = replace(recipe, train=replace(recipe.train, minutes=2.0, val_every=0, checkpoint_every=0))
    often, rarely = (fitted(open_clocks, Speed(0.2, validation_s, 0.1), 120).train for validation_s in (0.01, 5.0))
    assert often.steps // often.val_every == 20
    assert rarely.val_every == rarely.checkpoint_every == 255
    assert rarely.steps * 0.2 > 0.75 * 120
    assert fitted(open_clocks, Speed(0.6, 5.0, 0.1), 36).train.val_every <= 36  # the end of the run counts too


def test_a_budget_for_hardly_a_step_says_what_would_do(recipe: Recipe) -> None:
    with pytest.raises(ConfigError, match=r"train.minutes 0.5 is too short: a step takes 10 s.*give at least") as error:
        fitted(recipe, Speed(10.0, 1.0, 0.1), 30)
    enough = float(str(error.value).rpartition("at least ")[2].split()[0])
    assert fitted(recipe, Speed(10.0, 1.0, 0.1), 60 * enough).train.steps >= LEAST_STEPS


def test_a_run_that_was_refused_leaves_its_place_free(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "measured", lambda *args: Speed(10.0, 1.0, 0.1))
    with pytest.raises(ConfigError, match="too short"):
        quiet(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(runs, "measured", lambda *args: Speed(0.01, 0.01, 0.01))
    with pytest.raises(ConfigError, match=r"warmup_steps 1000000000 must be below train\.steps"):
        quiet(replace(recipe, optim=replace(recipe.optim, warmup_steps=10**9)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_it_is_the_run_of_the_steps_that_were_fixed(recipe: Recipe, tmp_path: Path, known_speed: None) -> None:
    budget = quiet(recipe, tmp_path / "budget").run
    fixed = RunDir.open(budget.path).recipe
    assert fixed.train.steps == budget.recipe.train.steps >= LEAST_STEPS
    plain = quiet(replace(fixed, train=replace(fixed.train, minutes=0.0)), tmp_path / "plain").run
    ours, theirs = weights(budget.path), weights(plain.path)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert entries(budget.path) == entries(plain.path)
    said = (budget.path / "log.txt").read_text()
    assert "measuring how many steps fit into 0.5 minutes" in said
    assert f"train.steps: {fixed.train.steps} (fits into 0.5 minutes)" in said
    assert f"for {fixed.train.steps} steps of" in said  # the whole time, before the first step


def test_killed_while_it_measures_it_measures_again_and_killed_later_it_keeps_what_was_fixed(
    recipe: Recipe, tmp_path: Path, known_speed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "fitted", killed)
        with pytest.raises(KeyboardInterrupt):
            quiet(recipe, tmp_path / "run")
    assert RunDir.open(tmp_path / "run").recipe.train.steps == 0
    with monkeypatch.context() as patch:
        patch.setattr(runs, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            quiet(None, tmp_path / "run", resume=True)
    fixed = RunDir.open(tmp_path / "run").recipe.train.steps
    assert fixed >= LEAST_STEPS
    monkeypatch.setattr(runs, "measured", killed)
    assert quiet(None, tmp_path / "run", resume=True).step == fixed


@pytest.mark.parametrize("factor", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_while_measuring_leaves_the_weights_as_they_were(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    calls, real = [0], NextPatch.loss_sum

    def once(self: NextPatch, *args: Any) -> torch.Tensor:
        calls[0] += 1
        return real(self, *args) * (factor if calls[0] == 2 else 1)

    monkeypatch.setattr(NextPatch, "loss_sum", once)
    model = AIM(recipe.model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measured(model, *open_data(recipe), replace(recipe, train=replace(recipe.train, minutes=0.01)))
    assert calls[0] > 2
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minutes", "5", "--train.steps", "9"], "both say how long the run is"),
        (["--minutes", "5", "--train.minutes", "9"], "say the same thing"),
        (["--minutes", "0"], "leaves no time"),
        (["--minutes", "nan"], "minutes"),
        (["--minutes", "-3"], "minutes"),
        (["--minutes", "1e300"], "minutes"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(
    recipe: Recipe, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", "--data", *recipe.data.train, "--out", str(tmp_path / "run"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


STEPS = replace(TRAIN, minutes=0.0, steps=6, val_every=2, checkpoint_every=3)


def interrupted_at(validation_pass: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C amid the passes of a validation; the counted passes begin with two that are timed beforehand."""
    passes, sums = [0], validation._sums

    def once(*args: Any) -> Any:
        passes[0] += 1
        if passes[0] == validation_pass:
            os.kill(os.getpid(), signal.SIGINT)
        return sums(*args)

    monkeypatch.setattr(validation, "_sums", once)


@pytest.mark.parametrize(("at", "stopped_at"), [(3, 0), (5, 2), (7, 4)])
def test_stopped_amid_a_validation_it_leaves_at_once_and_makes_it_up(
    recipe: Recipe, tmp_path: Path, at: int, stopped_at: int, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked = replace(
        recipe, train=STEPS, optim=OptimConfig(warmup_steps=1), data=replace(recipe.data, val_images=4, val="")
    )
    monkeypatch.setattr("nextpatch.train.heldout.GROUP_SIZE", 2)  # two passes in each validation
    whole = quiet(asked, tmp_path / "whole").run
    with monkeypatch.context() as patch:
        interrupted_at(at, patch)
        outcome = quiet(asked, tmp_path / "run")
    assert (outcome.step, outcome.signal) == (stopped_at, signal.SIGINT)
    assert "SIGINT: stopping after this step" in capfd.readouterr().err
    assert quiet(None, tmp_path / "run", resume=True).step == STEPS.steps
    assert entries(tmp_path / "run") == entries(whole.path)
    ours, theirs = weights(tmp_path / "run"), weights(whole.path)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
