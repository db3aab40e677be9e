"""The page shows images that training never saw, and compares with a guess on exactly what validation scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from losses import prefix_lengths, targets
from nextpatch.core.random import FixedSeed
from nextpatch.data.views import to_model_input
from nextpatch.objective.next_patch import scored_mask
from nextpatch.patches import patchify
from nextpatch.runs.recipe import Recipe, load_recipe
from nextpatch.tasks.pretrain.data import open_data
from nextpatch.tasks.report.heldout import mean_guess_loss, some
from nextpatch.train.heldout import held_out


def variants(run: Path) -> list[Recipe]:
    """Held out of the training data; a validation source, in part and whole."""
    recipe = load_recipe(run / "recipe.toml")
    (folder,) = recipe.data.train
    return [recipe, *(replace(recipe, data=replace(recipe.data, val=folder, val_images=n)) for n in (5, 50))]


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_the_images_are_those_that_pretraining_validates_on(run: Path, variant: int) -> None:
    recipe = variants(run)[variant]
    ours, (_, theirs) = held_out(recipe), open_data(recipe)
    assert ours.source.name == theirs.source.name
    assert np.array_equal(ours.indices, theirs.indices)


def test_some_are_distinct_spread_and_never_more_than_there_are(run: Path) -> None:
    images = held_out(load_recipe(run / "recipe.toml"))
    list(images)  # what is kept in memory must not be carried over
    few = some(images, 3)
    assert len(set(few.indices)) == 3
    assert {images.indices[0], images.indices[-1]} <= set(few.indices)
    assert sum(len(batch.keys) for batch in few) == 3
    assert len(some(images, 100).indices) == len(images.indices)


def test_some_are_read_as_all_are_and_none_is_known_to_be_damaged(run: Path) -> None:
    recipe = load_recipe(run / "recipe.toml")
    (folder,) = recipe.data.train
    deep = np.arange(16 * 24, dtype=np.uint16).reshape(16, 24)
    for path in Path(folder).iterdir():
        Image.fromarray(deep).save(path)
    data = replace(recipe.data, pixel_range=(0.0, 383.0))
    images = held_out(replace(recipe, data=data, model=replace(recipe.model, in_chans=1)))
    Path(images.source.key(int(images.indices[0]))).write_bytes(b"")
    whole = torch.cat([batch.images for batch in images])
    (few,) = some(images, 1)
    assert torch.equal(few.images[0], whole[0])
    assert whole.max() == 255


def test_the_guess_is_scored_on_the_patches_that_validation_scores(run: Path) -> None:
    recipe = load_recipe(run / "recipe.toml")
    images = held_out(recipe)
    pixels = torch.cat([batch.images for batch in images])
    positions = torch.cat([batch.positions for batch in images])
    inputs = to_model_input(pixels, *recipe.data.statistics(3))
    wanted = targets(patchify(inputs, 8)[:, 1:], "norm_pixels").square().mean(dim=-1)
    scored = scored_mask(prefix_lengths(recipe.model, FixedSeed.VALIDATION, positions), recipe.model.num_patches)
    assert mean_guess_loss(recipe, images) == pytest.approx(float(wanted[scored].mean()), rel=1e-5)


def test_the_level_of_guessing_needs_no_device_of_the_run(run: Path) -> None:
    recipe = load_recipe(run / "recipe.toml")
    elsewhere = replace(recipe, train=replace(recipe.train, device="mps", precision="bf16"))
    assert mean_guess_loss(elsewhere, held_out(elsewhere)) == mean_guess_loss(recipe, held_out(recipe))
