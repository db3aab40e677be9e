"""Samples over training cost little by count, disturb nothing, and are the same after an interruption."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from corpus import saved
from nextpatch.core.marks import is_ours
from nextpatch.data.config import DataConfig
from nextpatch.model.config import ModelConfig
from nextpatch.runs.config import TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir, load_run
from nextpatch.sampling.error import SamplingError
from nextpatch.tasks.pretrain.run import pretrain
from nextpatch.train import showing
from nextpatch.train.showing import drawn_count, kept, moments


def recipe_on(folder: str = "", **values: Any) -> Recipe:
    sizes = {"embed_dim": 16, "depth": 1, "num_heads": 2, "head_width": 16, "head_depth": 1, "head": "flow"}
    train = TrainConfig(
        8, global_batch_size=2, micro_batch_size=2, precision="fp32", device="cpu", val_every=2, checkpoint_every=4,
        threads=1, ema_half_life=10.0, sinks=(),
    )  # fmt: skip
    model = ModelConfig("nano", (8, 8), 4, 3, **{**sizes, **values})
    return Recipe(model.resolved(), DataConfig(train=(folder,), val_images=2, workers=0), train=train)


def of_length(steps: int, val_every: int, batch: int) -> Recipe:
    recipe = recipe_on()
    train = dataclasses.replace(recipe.train, steps=steps, val_every=val_every, global_batch_size=batch)
    return dataclasses.replace(recipe, train=train)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(10):
        (folder / f"{number}.png").write_bytes(saved(rng.integers(0, 256, (8, 8, 3), np.uint8), "PNG"))
    return str(folder)


@pytest.mark.parametrize(("steps", "val_every"), [(1, 1), (8, 2), (668, 36), (1000, 1000), (100_000, 1000)])
def test_moments_are_few_validations_and_the_end_is_one(steps: int, val_every: int) -> None:
    found = moments(steps, val_every)
    assert found[-1] == steps
    assert 1 <= len(found) <= 5
    assert all(0 < step <= steps and (step % val_every == 0 or step == steps) for step in found)


def test_no_more_than_one_image_is_drawn_for_a_thousand_that_are_learned_from() -> None:
    for steps in (3, 39, 40, 400, 100_000):
        recipe = of_length(steps, max(1, steps // 20), 128)
        drawn = drawn_count(recipe) * len(moments(steps, recipe.train.val_every))
        assert drawn <= steps * 128 / 1000
    assert drawn_count(of_length(100_000, 1000, 128)) == 10


def trained(photos: str, out: Path) -> RunDir:
    return pretrain(recipe_on(photos), out).run


def test_drawing_changes_no_bit_of_a_run_and_the_files_are_the_same_again(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trained(photos, tmp_path / "plain")
    assert kept(plain.path) == []  # 16 images are too few to learn from
    monkeypatch.setattr(showing, "_LEARNED", 1)
    one, other = trained(photos, tmp_path / "one"), trained(photos, tmp_path / "other")
    assert [moment.step for moment in kept(one.path)] == [2, 4, 6, 8]
    for group in ("model", "optimizer", "ema"):
        file = next((one.path / "checkpoints").glob(f"step_*8/{group}*"))
        assert file.read_bytes() == (plain.path / "checkpoints" / file.parent.name / file.name).read_bytes()
    first = kept(one.path)[0].path
    with Image.open(first) as picture:
        assert picture.size == (8 * drawn_count(one.recipe), 8)
    assert is_ours(first)  # so that a collection that it lies in leaves it out
    assert [m.path.read_bytes() for m in kept(one.path)] == [m.path.read_bytes() for m in kept(other.path)]


def test_samples_are_those_of_the_averaged_weights(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showing, "_LEARNED", 1)
    run = trained(photos, tmp_path / "run")
    last = np.asarray(Image.open(kept(run.path)[-1].path))
    for raw, same in ((False, True), (True, False)):
        model = load_run(run.path, raw=raw).model
        again = showing.side_by_side(showing._drawn(model, run.recipe, drawn_count(run.recipe)))
        assert np.array_equal(np.asarray(again), last) is same


def test_a_resumed_run_draws_the_moments_that_are_left(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showing, "_LEARNED", 1)
    whole = trained(photos, tmp_path / "whole")
    cut = trained(photos, tmp_path / "cut")
    for step in (6, 8):
        kept(cut.path)[[m.step for m in kept(cut.path)].index(step)].path.unlink()
    newest = max((cut.path / "checkpoints").glob("step_*"))
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    pretrain(None, cut.path, resume=True)
    assert [m.path.read_bytes() for m in kept(cut.path)] == [m.path.read_bytes() for m in kept(whole.path)]


def test_what_goes_wrong_is_a_warning(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*args: object) -> torch.Tensor:
        raise SamplingError("no luck")

    monkeypatch.setattr(showing, "_LEARNED", 1)
    monkeypatch.setattr(showing, "_drawn", fails)
    assert kept(trained(photos, tmp_path / "run").path) == []
    assert "step 8: no samples were drawn: no luck" in caplog.text


def test_weights_that_make_no_images_draw_none(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(showing, "_LEARNED", 1)
    assert kept(pretrain(recipe_on(photos, head="mlp"), tmp_path / "run").run.path) == []
    assert "samples" not in caplog.text
