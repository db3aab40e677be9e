"""Every shipped recipe loads, builds, and says in its header what it is."""

import pytest
import torch

from nextpatch.model.aim import AIM
from nextpatch.runs.given import SHIPPED
from nextpatch.runs.recipe import load_recipe
from nextpatch.train.schedule import lr_at

RECIPES = sorted(SHIPPED.glob("*.toml"))
PAPER = {
    "aim-600m": ("600m", 500_000),
    "aim-1b": ("1b", 1_250_000),
    "aim-3b": ("3b", 1_250_000),
    "aim-7b": ("7b", 1_250_000),
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_builds(path):
    recipe = load_recipe(path)
    with torch.device("meta"):
        AIM(recipe.model)
    recipe.data.statistics(recipe.model.in_chans)
    if recipe.train.steps:
        assert lr_at(0, recipe.optim, recipe.train.steps) > 0


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_header_says_command_data_cost_and_expectation(path):
    text = path.read_text()
    for word in ("command", "data", "cost", "expect"):
        assert f"# {word} " in text


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_recipes_are_table_10(name):
    recipe = load_recipe(RECIPES[0].parent / f"{name}.toml")
    model, data, optim, train = recipe.model, recipe.data, recipe.optim, recipe.train
    assert (model.size, train.steps) == PAPER[name]
    assert (model.img_size, model.patch_size, model.shape.head_width, model.shape.head_depth) == (
        (224, 224),
        14,
        2048,
        12,
    )
    assert (optim.lr, optim.min_lr, optim.weight_decay, optim.clip_norm) == (1e-3, 0, 0.05, 1.0)
    assert (optim.betas, optim.warmup_steps) == ((0.9, 0.95), 31_250)
    assert (data.crop_scale, data.crop_ratio, data.flip) == ((0.4, 1.0), (0.75, 4 / 3), 0.5)
    assert (train.global_batch_size, train.precision) == (4096, "bf16")
