"""Any order of the patches: sequence, targets, prefix and positions follow it, and nothing is seen too early."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nextpatch.core.errors import ConfigError
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.model.names import ORDERS
from nextpatch.objective.next_patch import NextPatch, with_prefix
from nextpatch.objective.registry import objective_of
from nextpatch.patches import patchify
from nextpatch.tasks.check.verdict import check_objective

CFG = ModelConfig("nano", (6, 8), 2, 2, embed_dim=16, depth=2, num_heads=2, head_width=16, head_depth=1)


def columns(grid: tuple[int, int], seed: int = 0) -> Tensor:
    return torch.arange(grid[0] * grid[1]).reshape(grid).T.flatten()


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ORDERS._places, "columns", columns)
    monkeypatch.setitem(ORDERS._places, "twice", lambda grid, seed: torch.zeros(grid[0] * grid[1], dtype=torch.int64))


def built(**values: object) -> AIM:
    model = AIM(replace(CFG, **values)).double()
    init_weights(model, 3)
    return model


@pytest.mark.parametrize("attention", ["prefix", "causal"])
def test_all_proofs_hold_in_another_order(attention):
    model = built(order="columns", attention=attention)
    verdicts = check_objective(objective_of(model.cfg), model)
    assert len(verdicts) == 9
    assert [verdict for verdict in verdicts if verdict.reason] == []


@pytest.mark.parametrize("head", ["mlp", "none"])
@pytest.mark.parametrize("target", ["norm_pixels", "pixels"])
def test_the_order_changes_which_patch_is_next_and_not_where_a_patch_is(target, head):
    """The same images turned over their diagonal, read by columns, are raster order with turned positions."""
    cfg = replace(CFG, img_size=(8, 8))
    turned = AIM(replace(cfg, order="columns", target=target, head=head)).double()
    init_weights(turned, 0)
    raster = AIM(replace(cfg, target=target, head=head)).double()
    raster.load_state_dict(turned.state_dict())
    order = columns(cfg.grid)
    raster.patch_embed.positions = turned.patch_embed.positions[order]
    if head == "mlp":
        raster.head.positions = turned.head.positions[order]
    images = torch.randn(3, 2, 8, 8, dtype=torch.float64)
    cut = patchify(images, 2)
    draws, same = with_prefix(torch.tensor([1, 5, 15])), torch.empty(16, dtype=torch.int64)
    same[order] = torch.arange(16)
    rows = cut[:, same].reshape(3, 4, 4, 2, 2, 2).permute(0, 5, 1, 3, 2, 4).reshape(3, 2, 8, 8)
    ours, theirs = NextPatch(turned.cfg), NextPatch(raster.cfg)
    torch.testing.assert_close(patchify(rows, 2)[:, order], cut)
    torch.testing.assert_close(ours.loss_sum(turned, rows, draws), theirs.loss_sum(raster, images, draws))
    torch.testing.assert_close(ours.position_losses(turned, rows, draws), theirs.position_losses(raster, images, draws))


def test_a_picture_of_a_completion_is_in_raster_order():
    model, images = built(order="columns", target="pixels"), torch.randn(2, 2, 6, 8, dtype=torch.float64)
    objective = objective_of(model.cfg)
    draws = objective.showcase(2)
    perfect = objective.target(images, draws)
    torch.testing.assert_close(perfect, images)
    known = objective.given(draws)
    drawn = patchify(objective.complete(model, images, draws), 2)
    torch.testing.assert_close(drawn[known], patchify(images, 2)[known])
    assert not torch.allclose(drawn[~known], patchify(images, 2)[~known])


def test_an_order_names_each_place_once_and_is_named_in_a_recipe():
    with pytest.raises(ValueError, match="does not name each of 12 places once"):
        objective_of(replace(CFG, order="twice"))
    with pytest.raises(ConfigError, match=r"unknown order 'raser' \(did you mean 'raster'\?\)"):
        replace(CFG, order="raser")
    with pytest.raises(ConfigError, match="unknown objective 'x'; there are next_patch"):
        replace(CFG, objective="x")
