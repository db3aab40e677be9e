"""What is chosen when little is said: for any folder a recipe that holds, with a reason for every value."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from PIL import Image

from nextpatch.config import ConfigError
from nextpatch.data.collection import Collection, open_collection
from nextpatch.data.error import DataError
from nextpatch.data.survey import Survey
from nextpatch.model.config import SIZES, ModelConfig
from nextpatch.tasks.pretrain import plan, sizes
from nextpatch.tasks.pretrain.plan import resolve
from nextpatch.train.heldout import held_out_parts


@pytest.fixture
def folder(tmp_path):
    """Makes a folder of `count` images of a size."""

    def make(count, height, width, mode="RGB"):
        for i in range(count):
            pixels = np.full((height, width, 3), i % 256, dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(tmp_path / f"{i:04d}.png")
        return str(tmp_path)

    return make


@pytest.fixture
def many(monkeypatch):
    """Pretends that a folder holds any number of images of a size."""

    def pretend(count, height, width, channels=3, shards=1):
        source = SimpleNamespace(random_access=shards == 1, shard_sizes=np.full(shards, count // shards))
        monkeypatch.setattr(plan, "open_collection", lambda specs: Collection(source, (source,), (1.0,)))
        monkeypatch.setattr(plan, "survey", lambda source, **_: Survey(count, channels, height, width, {}))
        return {"data": {"train": "pictures"}}

    return pretend


def test_plain_flags_on_a_folder_leave_nothing_open(folder):
    recipe, choices = resolve({"data": {"train": folder(20, 30, 40)}, "model": {"size": "nano"}})
    train, optim = recipe.train, recipe.optim
    assert recipe.model == recipe.model.resolved()
    assert min(train.steps, train.global_batch_size, train.micro_batch_size, train.val_every, train.threads) > 0
    assert train.checkpoint_every > 0
    assert "auto" not in (train.device, train.precision)
    assert optim.warmup_steps > 0
    assert recipe.data.workers >= 0
    assert all(": " in line and line.endswith(")") for line in choices)


@pytest.mark.parametrize(
    ("height", "width", "img_size", "patch_size"),
    [
        (28, 28, (28, 28), 4),
        (32, 32, (32, 32), 4),
        (64, 64, (64, 64), 8),
        (224, 224, (224, 224), 14),
        (375, 500, (224, 224), 14),
        (480, 160, (224, 72), 8),
        (120, 240, (112, 224), 8),
        (30, 46, (28, 44), 4),
    ],
)
def test_sizes_follow_the_images(many, height, width, img_size, patch_size):
    model = resolve(many(1000, height, width)).recipe.model
    assert (model.img_size, model.patch_size) == (img_size, patch_size)


@for_all(st.integers(4, 600), st.integers(4, 600))
def test_any_square_like_size_gives_a_sequence_the_model_can_take(height, width):
    if max(height, width) > 4 * min(height, width):
        return
    sides, _ = sizes.sides_for(height, width)
    patch = sizes.patch_for(min(sides))
    grid = [side // patch for side in sides]
    assert max(sides) <= 224
    assert sizes.FEWEST_PATCHES <= grid[0] * grid[1] <= 4 * sizes.MOST_PATCHES
    if height == width:
        assert grid[0] * grid[1] <= sizes.MOST_PATCHES


def test_what_is_given_stays(many):
    values = many(1000, 64, 64)
    values["model"] = {"size": "tiny", "img_size": [32, 32], "patch_size": 16, "in_chans": 1}
    values["train"] = {"steps": 3, "global_batch_size": 48, "micro_batch_size": 7, "val_every": 2, "threads": 1}
    values["optim"] = {"warmup_steps": 0}
    recipe, choices = resolve(values)
    assert (recipe.model.img_size, recipe.model.patch_size, recipe.model.in_chans) == ((32, 32), 16, 1)
    assert (recipe.train.steps, recipe.train.global_batch_size, recipe.train.micro_batch_size) == (3, 48, 7)
    assert (recipe.train.val_every, recipe.train.threads, recipe.optim.warmup_steps) == (2, 1, 0)
    assert recipe.model.shape == SIZES["tiny"]
    assert not [line for line in choices if line.startswith(("train.steps", "model.img_size", "optim.warmup"))]


@pytest.mark.parametrize(("given", "said"), [(0, "at every validation"), (50, "20 times a run"), (7, "validation")])
def test_checkpoints_are_said_to_be_at_validations_only_where_they_are(many, given, said):
    values = {**many(1000, 64, 64), "train": {"steps": 140, "val_every": given}}
    recipe, choices = resolve(values)
    assert recipe.train.checkpoint_every == 7
    [line] = [line for line in choices if line.startswith("train.checkpoint_every")]
    assert said in line


@pytest.mark.parametrize(("img_size", "patch_size"), [([30, 30], 5), ([224, 224], 14), ([28, 56], 4), ([64, 48], 8)])
def test_a_patch_divides_a_given_image_size(many, img_size, patch_size):
    values = {**many(1000, 64, 64), "model": {"img_size": img_size}}
    assert resolve(values).recipe.model.patch_size == patch_size


def test_an_image_size_that_no_patch_divides_is_refused(many):
    with pytest.raises(ConfigError, match="patch_size"):
        resolve({**many(1000, 64, 64), "model": {"img_size": [29, 31]}})


def test_a_wrong_value_is_named_before_any_image_is_read(monkeypatch):
    monkeypatch.setattr(plan, "open_collection", lambda spec: pytest.fail("read"))
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        resolve({"train": {"stepps": 3}})
    for table in ("model", "data"):
        with pytest.raises(ConfigError, match=f"'{table}' needs a table"):
            resolve({table: "pictures"})


@pytest.mark.parametrize(
    "model", [{"img_size": "big"}, {"img_size": [28]}, {"patch_size": "small"}, {"patch_size": -7}, {"size": "giant"}]
)
def test_a_wrong_model_is_named_before_any_image_is_read(model, monkeypatch):
    monkeypatch.setattr(plan, "open_collection", lambda spec: pytest.fail("read"))
    with pytest.raises(ConfigError, match=f"{next(iter(model)).removeprefix('img_')}"):
        resolve({"model": model})


def test_a_saved_recipe_resolves_to_itself(many):
    from nextpatch.config import to_dict

    recipe = resolve(many(1000, 64, 64)).recipe
    again = resolve(to_dict(recipe))
    assert again.recipe == recipe
    assert len(again.choices) == 1


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (9, 1), (100, 10), (100_000, 1024)])
def test_a_tenth_at_most_is_held_out(many, count, held_out):
    assert resolve(many(count, 64, 64)).recipe.data.val_images == held_out


@pytest.mark.parametrize("names", [("few", "lots"), ("lots", "few")])
def test_no_part_of_a_mixture_gives_more_than_a_tenth(tmp_path, names):
    pixels = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    for name, count in (("few", 20), ("lots", 200)):
        (tmp_path / name).mkdir()
        for i in range(count):
            pixels.save(tmp_path / name / f"{i}.png")
    weights = {"few": 0.5, "lots": 0.5}
    specs = [f"{tmp_path}/{name}={weights[name]}" for name in names]
    recipe = resolve({"data": {"train": specs}}).recipe
    parts = held_out_parts(recipe, open_collection(recipe.data.train))
    assert [len(part) for part in parts] == [2, 2]
    given = resolve({"data": {"train": specs, "val_images": 100}}).recipe
    counts = dict(zip(names, map(len, held_out_parts(given, open_collection(specs))), strict=True))
    assert counts == {"few": 19, "lots": 81}  # what one cannot give, another does, in whatever order they are named


def test_one_image_is_not_enough(many):
    with pytest.raises(DataError, match="one image"):
        resolve(many(1, 64, 64))


def test_holding_out_everything_is_refused(many):
    values = many(10, 64, 64)
    values["data"]["val_images"] = 10
    with pytest.raises(ConfigError, match="val_images 10"):
        resolve(values)


@pytest.mark.parametrize("count", [2, 3, 50, 5_000, 1_281_167])
def test_the_length_obeys_its_rule(many, count):
    recipe = resolve(many(count, 64, 64)).recipe
    train, trained_on = recipe.train, count - recipe.data.val_images
    seen = train.steps * train.global_batch_size
    assert train.global_batch_size <= trained_on
    assert seen >= min(trained_on, plan.MOST_SEEN)
    assert plan.LEAST_SEEN <= seen < plan.MOST_SEEN + train.global_batch_size
    assert train.val_every <= max(1, train.steps // 20)


def test_a_warm_up_longer_than_the_run_is_refused(many):
    with pytest.raises(ValueError, match="warmup_steps 50"):
        resolve({**many(100, 64, 64), "optim": {"warmup_steps": 50}, "train": {"steps": 10}})


def test_an_absent_device_is_refused(many, monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ValueError, match="'mps' is not available"):
        resolve({**many(100, 64, 64), "train": {"device": "mps"}})


def test_decoding_gets_processes_only_when_images_do_not_stay_in_memory(many):
    assert resolve(many(1000, 28, 28)).recipe.data.workers == 0
    assert resolve(many(10**6, 500, 375)).recipe.data.workers > 0


def test_more_channels_than_three_are_taken_over(many):
    model = resolve(many(100, 64, 64, channels=12)).recipe.model
    assert model.in_chans == 12
    assert isinstance(model, ModelConfig)
