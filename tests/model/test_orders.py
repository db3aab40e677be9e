"""The orders of Table 3b by their definitions, on grids of every shape, and the seed of the random one."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nextpatch.core.errors import ConfigError
from nextpatch.core.random import torch_generator
from nextpatch.model.aim import AIM
from nextpatch.model.attention import Mode
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.model.names import DRAWN_ORDERS, ORDERS, SEEDLESS_ORDERS
from nextpatch.model.orders import order_of
from nextpatch.objective.next_patch import NextPatch, with_prefix
from nextpatch.patches import patchify
from nextpatch.runs.recipe import Recipe, binding, recipe_digest

GRIDS = [(1, 2), (1, 7), (7, 1), (2, 2), (2, 9), (9, 2), (3, 3), (4, 7), (7, 4), (5, 5), (16, 16), (24, 37)]
per_order = pytest.mark.parametrize("name", list(ORDERS))


def walk(name: str, grid: tuple[int, int], seed: int = 0) -> Iterator[tuple[int, int]]:
    """(row, column) of each patch of the sequence."""
    return ((place // grid[1], place % grid[1]) for place in ORDERS[name](grid, seed).tolist())


def distance(a: tuple[int, int], b: tuple[int, int]) -> int:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


@per_order
def test_every_place_comes_once_on_every_grid_and_alike_each_time(name: str) -> None:
    for grid in GRIDS:
        order = ORDERS[name](grid, 3 if name == "random" else 0)
        assert order.dtype == torch.int64
        assert torch.equal(order.sort().values, torch.arange(grid[0] * grid[1])), grid
        assert torch.equal(order, ORDERS[name](grid, 3 if name == "random" else 0))


@pytest.mark.parametrize("grid", GRIDS)
def test_a_spiral_goes_from_neighbour_to_neighbour_and_never_back_to_a_ring_further_in(grid: tuple[int, int]) -> None:
    path = list(walk("spiral", grid))
    assert all(distance(one, next_one) == 1 for one, next_one in pairwise(path))
    rings = [min(row, column, grid[0] - 1 - row, grid[1] - 1 - column) for row, column in path]
    assert rings == sorted(rings, reverse=True)
    assert path[-1] == (0, 0)


def test_a_spiral_turns_clockwise() -> None:
    """As Figure 8 draws it: from the centre of a 3 x 3 grid up, right, down, left and up again."""
    assert ORDERS["spiral"]((3, 3), 0).tolist() == [4, 1, 2, 5, 8, 7, 6, 3, 0]


@pytest.mark.parametrize("grid", GRIDS)
def test_a_checkerboard_takes_one_colour_in_raster_order_and_then_the_other(grid: tuple[int, int]) -> None:
    path = list(walk("checkerboard", grid))
    first = (grid[0] * grid[1] + 1) // 2
    assert {(row + column) % 2 for row, column in path[:first]} == {0}
    assert {(row + column) % 2 for row, column in path[first:]} <= {1}
    assert path[:first] == sorted(path[:first])
    assert path[first:] == sorted(path[first:])


def test_a_random_order_is_fixed_by_seed_and_grid() -> None:
    drawn = {(tuple(ORDERS["random"](grid, seed).tolist())) for seed in range(20) for grid in ((3, 4), (4, 3), (2, 6))}
    assert len(drawn) == 60
    assert ORDERS["random"]((2, 6), 0).tolist() == FIRST
    places = torch.stack([ORDERS["random"]((2, 3), seed).argsort() for seed in range(3000)]).double()
    torch.testing.assert_close(places.mean(0), torch.full((6,), 2.5).double(), atol=0.15, rtol=0)


FIRST = [5, 3, 6, 1, 0, 8, 11, 2, 4, 9, 10, 7]  # no later version may give another: weights depend on it


def config(**values: object) -> ModelConfig:
    return ModelConfig("nano", (8, 12), 4, 1, **values)


def test_the_order_of_a_configuration_follows_its_seed_and_its_images() -> None:
    def order(**values: object) -> Tensor:
        found = order_of(ModelConfig("nano", **{"img_size": (24, 32), "patch_size": 4, **values}))
        assert found is not None
        return found

    assert order_of(config()) is None
    assert torch.equal(order(order="random", order_seed=7), ORDERS["random"]((6, 8), 7))
    assert not torch.equal(order(order="random", order_seed=7), order(order="random"))
    assert torch.equal(order(order="spiral", img_size=(32, 24)), ORDERS["spiral"]((8, 6), 0))


FIXED = [name for name in SEEDLESS_ORDERS if name not in DRAWN_ORDERS]  # which are the same for all images


@pytest.mark.parametrize("name", FIXED)
def test_a_seed_that_nothing_uses_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"order_seed 4 changes nothing in the order {name}; leave it out, or choose"):
        config(order=name, order_seed=4)
    with pytest.raises(ConfigError, match="order_seed -1 must lie between 0 and"):
        config(order="random", order_seed=-1)
    assert config(order="random", order_seed=4).order_seed == 4


def test_order_and_seed_are_part_of_what_a_run_is_and_older_runs_keep_their_digest() -> None:
    assert {"order", "order_seed"}.isdisjoint(binding(Recipe(config()))["model"])
    recipes = [Recipe(config(order="random", order_seed=seed)) for seed in (0, 1)]
    recipes += [Recipe(config(order=name)) for name in FIXED]
    assert len({recipe_digest(recipe) for recipe in recipes}) == 5
    # as of earlier versions: with another digest a run that was begun cannot be resumed
    assert recipe_digest(Recipe(config())) == "c17df42b3689bc378b3cc95f8ca9fc02213d648df2c321f8a3611e3273accbbe"


def test_the_picture_of_the_page_is_of_these_orders() -> None:
    root = Path(__file__).parents[2]
    drawn = runpy.run_path(str(root / "runs" / "draw_orders.py"))["drawing"]()
    assert (root / "docs" / "orders.svg").read_text() == drawn


SMALL = ModelConfig("nano", (6, 8), 2, 2, embed_dim=16, depth=2, num_heads=2, head_width=16, head_depth=1)
ORDERED = [SMALL, *(replace(SMALL, order=name) for name in ("spiral", "checkerboard"))]
ORDERED += [replace(SMALL, order="random", order_seed=5), replace(SMALL, order="spiral", img_size=(10, 4))]
per_model = pytest.mark.parametrize("cfg", ORDERED, ids=lambda cfg: f"{cfg.order}-{cfg.img_size}")


def model_of(cfg: ModelConfig) -> AIM:
    model = AIM(cfg).double()
    init_weights(model, 3)
    return model


def images_of(cfg: ModelConfig, batch: int = 2) -> Tensor:
    return torch.randn(batch, cfg.in_chans, *cfg.img_size, dtype=torch.float64, generator=torch_generator(1))


def seen_by(model: AIM, mode: Mode, prefix_len: Tensor | None, layer: str) -> Tensor:
    """Bool "batch place patch": whether the feature at each place of the image depends on each patch."""
    images, rows = images_of(model.cfg).requires_grad_(), []
    found = model(images, mode, prefix_len, [layer])[layer]
    for place in range(model.cfg.num_patches):
        (gradient,) = torch.autograd.grad(found[:, place].square().sum(), images, retain_graph=True)
        rows.append(patchify(gradient, model.cfg.patch_size).abs().amax(-1) > 0)
    return torch.stack(rows, dim=1)


@per_model
@pytest.mark.parametrize("layer", ["block_1", "post_trunk_norm"])
def test_causal_features_depend_on_what_comes_before_in_the_sequence_alone(cfg: ModelConfig, layer: str) -> None:
    order = ORDERS[cfg.order](cfg.grid, cfg.order_seed).tolist()
    seen = seen_by(model_of(cfg), "causal", None, layer)
    for i, place in enumerate(order):
        assert set(seen[0, place].nonzero().flatten().tolist()) == set(order[: i + 1])


@per_model
def test_a_prefix_is_of_the_first_places_of_the_sequence(cfg: ModelConfig) -> None:
    order, prefix = ORDERS[cfg.order](cfg.grid, cfg.order_seed).tolist(), [1, 7]
    seen = seen_by(model_of(cfg), "prefix", torch.tensor(prefix), "block_0")
    for image, length in enumerate(prefix):
        for i, place in enumerate(order):
            wanted = set(order[: max(i + 1, length)])
            assert set(seen[image, place].nonzero().flatten().tolist()) == wanted


@per_model
def test_bidirectional_features_do_not_know_of_an_order(cfg: ModelConfig) -> None:
    model, raster = model_of(cfg), AIM(replace(cfg, order="raster", order_seed=0)).double()
    raster.load_state_dict(model.state_dict())
    images, layers = images_of(cfg), model.layer_names()
    ours, theirs = model(images, layers=layers), raster(images, layers=layers)
    assert all(torch.equal(ours[layer], theirs[layer]) for layer in layers)
    assert torch.equal(model(images, "causal", layers=["tokens"])["tokens"], ours["tokens"])
    assert cfg.order == "raster" or not torch.allclose(
        model(images, "causal", layers=layers)["block_0"], raster(images, "causal", layers=layers)["block_0"]
    )


@per_model
def test_causal_features_are_those_that_the_loss_predicts_from(cfg: ModelConfig) -> None:
    """The head's input at each place of the sequence, as pre-training computes it, in raster order."""
    model, images = model_of(replace(cfg, attention="causal", head="none")), images_of(cfg)
    order = ORDERS[cfg.order](cfg.grid, cfg.order_seed)
    predicted = NextPatch(model.cfg).predict(model, images, with_prefix(torch.ones(2, dtype=torch.int64)))
    features = model(images, "causal")["post_trunk_norm"]
    torch.testing.assert_close(model.head.pred(features[:, order]), predicted)


def test_images_of_another_size_have_the_order_of_their_own_grid() -> None:
    model = model_of(replace(SMALL, order="spiral"))
    model.resize((10, 4))
    other = model_of(replace(SMALL, order="spiral", img_size=(10, 4)))
    other.load_state_dict(model.state_dict())
    images = images_of(model.cfg)
    assert torch.equal(model(images, "causal")["post_trunk_norm"], other(images, "causal")["post_trunk_norm"])
