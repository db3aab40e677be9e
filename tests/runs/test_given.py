"""Recipes by path or name, and flags laid over them."""

import pytest

from nextpatch.config import ConfigError, to_dict
from nextpatch.model.config import SIZES, ModelConfig
from nextpatch.runs.given import SHIPPED, overlay, override, recipe_path
from nextpatch.runs.recipe import Recipe, recipe_from_dict


def test_a_recipe_is_a_path_or_a_shipped_name(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("")
    assert recipe_path(str(mine)) == mine
    assert recipe_path("demo") == SHIPPED / "demo.toml"


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'laptop'"):
        recipe_path("labtop")
    with pytest.raises(ConfigError, match="by its name alone: aim-1b"):
        recipe_path("recipes/aim-1b.toml")
    with pytest.raises(ConfigError, match=r"path of a \.toml"):
        recipe_path("zzzzzz")


def test_flags_win_value_by_value():
    below = {"optim": {"lr": 1e-3, "eps": 1e-8}, "train": {"steps": 5}}
    above = {"optim": {"lr": 2e-3}, "data": {"flip": 0.0}}
    assert overlay(below, above) == {
        "optim": {"lr": 2e-3, "eps": 1e-8},
        "train": {"steps": 5},
        "data": {"flip": 0.0},
    }
    assert below["optim"]["lr"] == 1e-3


@pytest.mark.parametrize("size", ["nano", "base"])
def test_a_size_replaces_the_whole_shape_of_a_saved_recipe(size):
    saved = to_dict(Recipe(model=ModelConfig("small").resolved()))
    model = recipe_from_dict(override(saved, {"model": {"size": size}})).model
    assert model.shape == SIZES[size]


def test_a_width_given_with_the_size_holds():
    saved = to_dict(Recipe(model=ModelConfig("small").resolved()))
    model = recipe_from_dict(override(saved, {"model": {"size": "nano", "depth": 3}})).model
    assert (model.shape.depth, model.shape.embed_dim) == (3, SIZES["nano"].embed_dim)


def test_a_recipe_that_is_no_table_is_named_later_and_not_a_crash():
    with pytest.raises(ConfigError, match="'model' needs a table"):
        recipe_from_dict(override({"model": 3}, {"train": {"steps": 1}}))
