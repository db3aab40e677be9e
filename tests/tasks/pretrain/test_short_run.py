"""Whoever starts a short run from scratch is told what it can give; nobody else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nextpatch
from nextpatch.data.config import DataConfig
from nextpatch.model.config import ModelConfig
from nextpatch.runs.config import OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.pretrain.short_run import MOST_SEEN, short_run_advice

RECIPE = Recipe(
    ModelConfig(),
    DataConfig(train=("photos",)),
    OptimConfig(),
    TrainConfig(steps=MOST_SEEN // 100, global_batch_size=100),
)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, True), ({"steps": 1, "global_batch_size": 1}, True), ({"steps": MOST_SEEN // 100 + 1}, False),
        ({"init": "apple/aim-600M"}, False),
    ],
)  # fmt: skip
def test_short_runs_from_scratch_are_told_what_they_give(changes: dict[str, object], told: bool) -> None:
    recipe = replace(RECIPE, train=replace(RECIPE.train, **changes))  # type: ignore[arg-type]
    advice = short_run_advice(recipe)
    assert bool(advice) == told
    if told:
        assert f"{recipe.train.steps * recipe.train.global_batch_size:,} images" in advice[0]
        assert "untrained" in advice[0]
        assert "--init" in advice[1]
        heading = advice[1].rsplit('"', 2)[1]
        assert f"## {heading}\n" in (Path(__file__).parents[3] / "docs" / "measure.md").read_text()


def test_a_run_that_is_to_make_images_is_told_nothing_of_features() -> None:
    assert short_run_advice(replace(RECIPE, model=ModelConfig(head="flow"))) == ()


def test_a_run_is_told_once_and_not_when_it_goes_on(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (16, 8, 8), np.uint8)
    small = {"embed_dim": 16, "depth": 1, "num_heads": 1, "head_width": 16, "head_depth": 1, "patch_size": 4}
    run = nextpatch.pretrain(pixels, tmp_path / "run", model="nano", steps=2, report=False, quiet=True, **small)
    log = run.run / "log.txt"
    assert log.read_text().count("starts from scratch") == 1
    nextpatch.pretrain(pixels, run.run, resume=True, report=False, quiet=True)
    further = nextpatch.pretrain(
        pixels, tmp_path / "further", init=run, model="nano", steps=2, report=False, quiet=True, **small
    )
    assert log.read_text().count("starts from scratch") == 1
    assert "starts from scratch" not in (further.run / "log.txt").read_text()
