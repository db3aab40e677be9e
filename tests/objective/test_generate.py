"""Generation: who sees what, by gradients; the loss that training computes; draws, noise and labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nextpatch.core.errors import ConfigError
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.objective.generate import Generate
from nextpatch.objective.generate_draws import KNOWN, LABEL, NOISE, ORDER, UNLABELLED
from nextpatch.objective.labels import TakesLabels
from nextpatch.objective.objective import Objective, fixed_patches, scored_count
from nextpatch.patches import patchify
from variants import SMALL, built, images_of

GENERATE = {**SMALL, "img_size": (4, 6)}
KINDS: dict[str, dict[str, Any]] = {
    "flow": {"head": "flow"},
    "diffusion, any order, causal": {"head": "diffusion", "order": "any", "attention": "causal"},
    "flow, any order, classes": {"head": "flow", "order": "any", "classes": 3, "label_dropout": 0.0},
    "flow, known first": {"head": "flow", "order": "known_first"},
    "flow, any order, enlarging": {"head": "flow", "order": "any", "upscale": 2},
    "pixels, spiral": {"objective": "generate", "target": "pixels", "order": "spiral"},
    "pixels, transformer, any order": {
        "objective": "generate", "target": "pixels", "order": "any", "head": "transformer",
    },
    "pixels, no head, causal": {"objective": "generate", "target": "pixels", "head": "none", "attention": "causal"},
}  # fmt: skip
per_kind = pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)


def made(values: dict[str, Any]) -> tuple[Generate, AIM]:
    cfg = ModelConfig(**{**GENERATE, **values})
    return Generate(cfg), built(cfg)


@per_kind
def test_a_place_sees_the_patches_before_it_and_no_other(values: dict[str, Any]) -> None:
    objective, model = made(values)
    images, draws = images_of(model.cfg, 4)[:1], objective.draw(3, torch.arange(4))
    for i in range(4):
        one, given = draws.part(i, i + 1), images.clone().requires_grad_()
        outputs = objective.predict(model, given, one)[0]
        assert len(outputs) == model.cfg.num_patches
        for place, output in enumerate(outputs):
            (gradient,) = torch.autograd.grad(output.square().sum(), given, retain_graph=True, allow_unused=True)
            found = patchify(given.new_zeros(given.shape) if gradient is None else gradient, 2)[0]
            assert torch.equal((found != 0).any(dim=-1), objective.may_see(one)[0, place])


@per_kind
def test_the_start_token_and_the_class_reach_every_place(values: dict[str, Any]) -> None:
    objective, model = made(values)
    draws = objective.draw(3, torch.arange(2))
    if model.cfg.classes:
        draws = objective.labelled(draws, torch.tensor([2, 1]))
        assert draws[LABEL].tolist() == [2, 1]
    assert model.start is not None
    watched = model.start.token if model.start.classes is None else model.start.classes
    for output in objective.predict(model, images_of(model.cfg, 2), draws)[0]:
        (gradient,) = torch.autograd.grad(output.square().sum(), watched, retain_graph=True)
        assert bool((gradient if gradient.ndim == 1 else gradient[2]).abs().max() > 0)
        assert gradient.ndim == 1 or not gradient[:2].any()


@per_kind
def test_packed_and_cut_equal_the_plain_formulation(values: dict[str, Any]) -> None:
    objective, model = made(values)
    assert isinstance(objective, Objective)
    assert isinstance(objective, TakesLabels)
    images, draws = images_of(model.cfg, 5), objective.draw(1, torch.arange(5))
    plain = objective.position_losses(model, images, draws)
    packed = objective.loss_sum(model, images, draws)
    cut = sum(objective.loss_sum(model, images[i : i + 2], draws.part(i, i + 2)) for i in (0, 2, 4))
    torch.testing.assert_close(packed, plain.sum(), rtol=1e-12, atol=0)
    torch.testing.assert_close(packed, cut, rtol=1e-12, atol=0)
    assert torch.equal(plain != 0, objective.scored(draws))


def test_what_is_drawn_belongs_to_seed_and_position_alone() -> None:
    objective, _ = made({"head": "flow", "order": "any", "classes": 3, "label_dropout": 0.3})
    whole, turned = objective.draw(7, torch.arange(400)), objective.draw(7, torch.arange(400).flip(0))
    assert {*whole} == {KNOWN, ORDER, NOISE, UNLABELLED}
    for name, values in whole.items():
        assert torch.equal(values.flip(0), turned[name])
        assert not torch.equal(values, objective.draw(8, torch.arange(400))[name])
    counts = torch.bincount(whole[KNOWN], minlength=6)
    assert len(counts) == 6
    assert int(counts.min()) > 35
    assert 0.2 < float(whole[UNLABELLED].float().mean()) < 0.4
    assert torch.equal(whole[ORDER].sort(dim=1).values, torch.arange(6).expand(400, -1))
    assert torch.bincount(whole[ORDER][:, 0], minlength=6).min() > 35
    assert len(set(whole[NOISE].tolist())) == 400


def test_known_first_is_a_random_set_and_then_the_rest_both_in_raster_order() -> None:
    objective, _ = made({"head": "flow", "order": "known_first"})
    whole = objective.draw(7, torch.arange(1500))
    assert torch.equal(whole[ORDER].flip(0), objective.draw(7, torch.arange(1500).flip(0))[ORDER])
    sets = set()
    for order, known in zip(whole[ORDER].tolist(), whole[KNOWN].tolist(), strict=True):
        assert order == sorted(order[:known]) + sorted(order[known:])
        sets.add(tuple(order[:known]))
    assert len(sets) == 2**6 - 1, "every set but the whole"


def test_a_class_is_told_unless_it_is_dropped() -> None:
    objective, model = made({"head": "flow", "classes": 3, "label_dropout": 0.5})
    draws = objective.draw(0, torch.arange(64))
    told = objective.labelled(draws, torch.full((64,), 2))[LABEL]
    assert torch.equal(told == -1, draws[UNLABELLED])
    images, dropped = images_of(model.cfg, 64), objective.labelled(draws, torch.full((64,), -1))
    assert torch.equal(objective.predict(model, images, dropped), objective.predict(model, images, draws))
    apart = objective.predict(model, images, objective.labelled(draws, torch.full((64,), 2)))
    same = (apart == objective.predict(model, images, draws)).flatten(1).all(dim=1)
    assert torch.equal(same, draws[UNLABELLED])


def test_the_first_patch_is_scored_and_places_of_drawn_orders_are_no_patches() -> None:
    objective, _ = made({"head": "flow", "attention": "causal"})
    draws = objective.draw(0, torch.arange(3))
    assert scored_count(objective, draws) == 3 * 6
    assert fixed_patches(objective) is not None
    assert fixed_patches(made({"head": "flow", "order": "any"})[0]) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"objective": "generate"}, "norm_pixels, which leave out each patch's mean"),
        ({"head": "flow", "objective": "masked"}, "distribution over the next patch"),
        ({"head": "flow", "target": "pixels"}, "changes nothing; leave model.target out"),
        ({"target": "distribution"}, "for heads that are one"),
        ({"classes": 3}, "model.classes 3 is for the objective generate"),
        ({"order": "any"}, "model.order any is for the objective generate"),
        ({"head": "flow", "order": "any", "order_seed": 1}, "order_seed 1 changes nothing in the order any"),
        ({"order": "known_first"}, "model.order known_first is for the objective generate"),
        ({"head": "flow", "order": "known_first", "attention": "causal"}, "the order known_first is raster"),
        ({"head": "flow", "label_dropout": 0.2}, "changes nothing without classes"),
        ({"objective": "generate", "target": "pixels", "draws": 2}, "draws 2 changes nothing with the head mlp"),
        ({"head": "flow", "mask_ratio": 0.3}, "mask_ratio 0.3 changes nothing in the objective generate"),
        ({"head": "flow", "attention": "bidirectional"}, "would see the patches that it predicts"),
    ],
)
def test_what_does_not_go_together_is_told(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ModelConfig(**{**GENERATE, **values})


def test_a_head_that_is_a_distribution_settles_objective_and_target() -> None:
    cfg = ModelConfig(**GENERATE, head="flow")
    assert (cfg.objective, cfg.target, cfg.attention, cfg.outputs) == ("generate", "distribution", "prefix", 12)
    assert ModelConfig(**{**GENERATE, "head": "flow", "objective": cfg.objective, "target": cfg.target}) == cfg
