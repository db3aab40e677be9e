"""Runs with averaged weights: what they export, resumed to the last bit, over two ranks, and no cost when off."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from torch import Tensor

import nextpatch
from corpus import saved
from nextpatch.cli import main
from nextpatch.config import ConfigError
from nextpatch.data.config import DataConfig
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.ranks import Ranks
from nextpatch.model.config import ModelConfig
from nextpatch.runs.config import GuardConfig, OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe, binding
from nextpatch.runs.run import EMA, RunDir, load_run
from nextpatch.tasks.pretrain.run import pretrain
from nextpatch.train.ema import decay_of
from nextpatch.weights.error import WeightsError
from ranks import run_ranks

HALF_LIFE = 8.0
QUIET = Console(quiet=True)


def recipe_on(folder: str, half_life: float = HALF_LIFE, every: int = 3) -> Recipe:
    model = ModelConfig(
        "nano", (8, 12), 4, 3, embed_dim=16, depth=2, num_heads=2, head_width=16, head_depth=1
    ).resolved()  # fmt: skip
    train = TrainConfig(
        6, global_batch_size=4, micro_batch_size=2, precision="fp32", device="cpu", val_every=3,
        checkpoint_every=every, keep_checkpoints=9, log_every=1, threads=1, ema_half_life=half_life,
    )  # fmt: skip
    return Recipe(model, DataConfig(train=(folder,), val_images=4, workers=0), OptimConfig(lr=3e-3), train)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(20):
        (folder / f"{number:02}.png").write_bytes(saved(rng.integers(0, 256, (10, 14, 3), np.uint8), "PNG"))
    return str(folder)


@pytest.fixture(scope="module")
def run(photos: str, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return pretrain(recipe_on(photos, every=1), tmp_path_factory.mktemp("runs") / "run", False, QUIET).run


def group(run: RunDir, name: str, step: int | None = None) -> dict[str, Tensor]:
    return run.checkpoint(step).tensors(name)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def validations(path: Path) -> list[float]:
    return [e[name] for e in RunDir.open(path).read_metrics() if e["kind"] == "val" for name in ("loss", "ema_loss")]


def test_the_average_is_of_the_weights_after_every_step(run: RunDir) -> None:
    wanted = {name: value.double() for name, value in group(run, "model", 1).items()}
    for step in range(2, 7):
        decay = decay_of(HALF_LIFE, 4, 4 * (step - 1))
        wanted = {name: decay * wanted[name] + (1 - decay) * v for name, v in group(run, "model", step).items()}
    averages = group(run, EMA)
    assert averages.keys() == wanted.keys()
    assert all(torch.allclose(averages[name].double(), wanted[name], atol=1e-6) for name in wanted)
    assert not same(averages, group(run, "model"))


def test_a_run_is_its_averages_and_the_raw_weights_are_there_by_name(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    averages, raw, exported = group(run, EMA), group(run, "model"), run.path / "model.safetensors"
    assert same(load_run(run.path).model.state_dict(), averages)
    assert same(load_run(run.path, raw=True).model.state_dict(), raw)
    assert same(nextpatch.load(exported).aim.state_dict(), averages)
    assert same(nextpatch.load(run.path, raw=True, step=5).aim.state_dict(), group(run, "model", 5))
    assert main(["export", str(run.path), "--raw", "--out", str(tmp_path / "raw.safetensors")]) == 0
    assert same(nextpatch.load(tmp_path / "raw.safetensors").aim.state_dict(), raw)
    for path, words in ((exported, "average"), (tmp_path / "raw.safetensors", "raw")):
        with safe_open(path, framework="pt") as file:
            assert (file.metadata()["weights"], file.metadata()["ema_half_life"]) == (words, "8")
    with pytest.raises(WeightsError, match="no other weights"):
        nextpatch.load(exported, raw=True)


def test_the_loss_of_the_averages_is_validated_beside_the_other(run: RunDir, photos: str, tmp_path: Path) -> None:
    entries = [entry for entry in run.read_metrics() if entry["kind"] == "val"]
    assert entries[0]["ema_loss"] == entries[0]["loss"]  # before the first step
    assert entries[-1]["ema_loss"] != entries[-1]["loss"]
    begun = replace(recipe_on(photos, 0.0), train=replace(recipe_on(photos, 0.0).train, init=str(run.path)))
    again = pretrain(begun, tmp_path / "again", False, QUIET).run
    assert again.read_metrics()[0]["loss"] == entries[-1]["ema_loss"], "a run that begins with another's averages"


def test_a_resumed_run_ends_with_the_same_bits(run: RunDir, tmp_path: Path) -> None:
    cut = RunDir(shutil.copytree(run.path, tmp_path / "cut"), run.recipe)
    for late in cut.checkpoints.glob("step_*[3456]"):
        shutil.rmtree(late)
    assert load_run(cut.path).step == 2
    pretrain(None, cut.path, True, QUIET)
    for name in (EMA, "model"):
        assert same(group(cut, name), group(run, name))
    assert validations(cut.path) == validations(run.path)


def test_nothing_changes_without(run: RunDir, photos: str, tmp_path: Path) -> None:
    plain = pretrain(recipe_on(photos, 0.0), tmp_path / "plain", False, QUIET).run
    assert same(group(plain, "model"), group(run, "model"))
    assert plain.checkpoint().names(EMA) == []
    assert not any("ema_loss" in entry for entry in plain.read_metrics())
    with safe_open(plain.path / "model.safetensors", framework="pt") as file:
        assert "weights" not in file.metadata()
    assert "ema_half_life" not in binding(plain.recipe)["train"], "recipes of earlier runs keep their digest"


@pytest.mark.parametrize(("began", "goes_on"), [(0.0, HALF_LIFE), (HALF_LIFE, 0.0), (HALF_LIFE, 9.0)])
def test_another_half_life_is_refused_at_resume(began: float, goes_on: float, photos: str, tmp_path: Path) -> None:
    RunDir.create(tmp_path / "run", recipe_on(photos, began))
    with pytest.raises(ConfigError, match=r"other values of train\.ema_half_life"):
        pretrain(recipe_on(photos, goes_on), tmp_path / "run", True, QUIET)


def test_skipped_steps_leave_the_averages_alone(photos: str, tmp_path: Path) -> None:
    recipe = replace(recipe_on(photos, every=1), guard=GuardConfig(spike="skip", sigmas=1e-3, window=4, max_skips=99))
    run = pretrain(recipe, tmp_path / "run", False, QUIET).run
    skipped = [entry["step"] for entry in run.read_metrics() if entry["kind"] == "guard"]
    assert skipped
    for step in skipped:
        assert same(group(run, EMA, step), group(run, EMA, step - 1))


def by_two(photos: str, out: str) -> list[int]:
    """Sharded (FSDP2) and in copies."""
    ended = []
    with Ranks.opened() as world:
        for name, engine in (("sharded", EngineConfig(shard=2)), ("copies", EngineConfig(replicate=2, shard=1))):
            recipe = replace(recipe_on(photos), engine=engine)
            ended.append(pretrain(recipe, Path(f"{out}/{name}"), False, QUIET, world).exit_code)
    return ended


def test_two_ranks_get_the_averages_of_one(run: RunDir, photos: str, tmp_path: Path) -> None:
    assert run_ranks(by_two, 2, photos, str(tmp_path)) == [[0, 0]] * 2
    for name in ("sharded", "copies"):
        two = RunDir.open(tmp_path / name)
        averages, wanted = group(two, EMA), group(run, EMA)
        assert all(torch.allclose(averages[key], wanted[key], rtol=1e-4, atol=1e-6) for key in wanted)
        assert validations(two.path) == pytest.approx(validations(run.path), rel=1e-5)
        assert same(nextpatch.load(two.path / "model.safetensors").aim.state_dict(), averages)
        alone = RunDir(shutil.copytree(two.path, tmp_path / f"{name}-alone"), two.recipe)  # goes on by one rank
        shutil.rmtree(alone.checkpoints / "step_00000006")
        pretrain(None, alone.path, True, QUIET)
        assert all(torch.allclose(group(alone, EMA)[key], wanted[key], rtol=1e-4, atol=1e-6) for key in wanted)
