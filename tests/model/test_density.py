"""The density head in the model: probabilities of all images sum to one; values are drawn as they are weighed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Workload
from nextpatch.model.heads.density import DensityHead
from nextpatch.model.heads.distribution import Distribution, Draw, Known, TellsFigures
from nextpatch.model.heads.noise import Noise
from nextpatch.model.init import init_weights
from nextpatch.objective.generate import Generate
from nextpatch.objective.generate_draws import KNOWN, NOISE, ORDER
from nextpatch.objective.objective import Draws
from nextpatch.tasks.check.verdict import check_objective
from variants import SMALL, built

VALUES = {**SMALL, "head": "density", "head_depth": 1}
MEAN, STD = 0.3, 0.4


def every_image_of_two_pixels(side_by_side: bool) -> Tensor:
    pixels = torch.cartesian_prod(torch.arange(256), torch.arange(256)).double() / 255
    return ((pixels - MEAN) / STD).view(-1, 1, *((1, 2) if side_by_side else (2, 1)))


@pytest.mark.parametrize("order", ["raster", "any"])
@pytest.mark.parametrize("attention", ["causal", "prefix"])
@torch.no_grad()
def test_probabilities_of_all_images_of_two_pixels_sum_to_one(order, attention):
    cfg = ModelConfig(**VALUES | {"patch_size": 1, "in_chans": 1}, img_size=(1, 2), order=order, attention=attention)
    model, images, objective = built(cfg), every_image_of_two_pixels(True), Generate(cfg)
    model.head.measure([], [MEAN], [STD])
    count = len(images)
    values = {KNOWN: torch.zeros(count, dtype=torch.int64), NOISE: torch.zeros(count, dtype=torch.int64)}
    if order == "any":
        values[ORDER] = torch.tensor([1, 0]).expand(count, -1)
    nats = objective.position_losses(model, images, Draws(values)).sum(dim=1)
    torch.testing.assert_close((-nats).exp().sum(), torch.ones((), dtype=torch.float64), rtol=0, atol=1e-10)
    assert nats.std() > 0.1


def head_of(**values: object) -> tuple[ModelConfig, DensityHead]:
    cfg = ModelConfig(**VALUES | values, img_size=(4, 6))
    head = DensityHead(cfg)
    init_weights(head, 0)
    head.measure([], [MEAN] * cfg.in_chans, [STD] * cfg.in_chans)
    return cfg, head.double()


def noise_of(rows: int) -> Noise:
    return Noise(torch.arange(rows), torch.zeros(rows, dtype=torch.int64))


@torch.no_grad()
def test_values_are_drawn_with_the_probabilities_that_weigh_them():
    _, head = head_of(patch_size=1, in_chans=1)
    condition = torch.randn(1, 16, dtype=torch.float64).expand(20_000, -1)
    levels = head.levels.of(head.sample(condition, noise_of(20_000), Draw()))[:, 0]
    nats = head.losses(condition[:256], head.levels.pixels(torch.arange(256)[:, None]))
    expected = 20_000 * (-nats).exp()
    common = expected > 20
    deviation = (torch.bincount(levels, minlength=256) - expected)[common] / expected[common].sqrt()
    assert float(deviation.abs().max()) < 5
    assert 0.8 < float(deviation.std()) < 1.2


@torch.no_grad()
def test_known_values_stay_and_decide_on_those_after_them():
    _, head = head_of()
    condition = torch.randn(64, 16, dtype=torch.float64)
    mask = (torch.arange(12) < 6).expand(64, -1)
    plain = head.sample(condition, noise_of(64), Draw())
    black, white = (head.levels.pixels(torch.full((64, 12), level)) for level in (0, 255))
    dark, light = (head.sample(condition, noise_of(64), Draw(), known=Known(v, mask)) for v in (black, white))
    assert torch.equal(dark[mask], black[mask])
    assert torch.equal(light[mask], white[mask])
    assert not torch.equal(dark[~mask], light[~mask])
    own = head.sample(condition, noise_of(64), Draw(), known=Known(plain, mask))
    torch.testing.assert_close(own, plain)


@torch.no_grad()
def test_known_values_weigh_those_before_them():
    """Of three values the last is known: the first two are drawn with the probabilities that it leaves them."""
    torch.manual_seed(0)
    _, head = head_of(patch_size=1, in_chans=3)
    for parameter in head.within.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    condition, count = torch.randn(1, 16, dtype=torch.float64), 500
    some = torch.tensor([0, *range(3, 255, 6), 255])  # between the ends each stands for six
    pairs, times = torch.cartesian_prod(some, some), torch.tensor([1, *[6] * 42, 1])
    with_blind, means = torch.cat([pairs, torch.full((len(pairs), 1), 250)], dim=1), []
    nats = head.within.nats(condition.expand(len(pairs), -1), with_blind)
    for seen in (3, 2):  # with the known value, and blind to it
        share = (-nats[:, :seen].sum(dim=1)).exp() * torch.outer(times, times).flatten()
        means.append((share[:, None] * pairs).sum(dim=0) / share.sum())
    known = Known(head.levels.pixels(torch.full((count, 3), 250)), torch.tensor([False, False, True]).expand(count, -1))
    found = head.levels.of(head.sample(condition.expand(count, -1), noise_of(count), Draw(), known=known)).double()
    assert (found[:, 2] == 250).all()
    apart = (means[0] - means[1]).abs()
    assert float(apart.max()) > 20, "there is something to be told"
    assert (
        (found[:, :2].mean(dim=0) - means[0]).abs() < 0.1 * apart.max() + 3 * found[:, :2].std(dim=0) / count**0.5
    ).all()


@torch.no_grad()
def test_temperature_and_guidance_change_what_is_drawn():
    _, head = head_of()
    condition, other = (torch.randn(8, 16, dtype=torch.float64) for _ in range(2))
    cold, noises = Draw(temperature=0.0), (Noise(torch.full((8,), seed), torch.arange(8)) for seed in (1, 2))
    assert torch.equal(*(head.sample(condition, noise, cold) for noise in noises))
    plain = head.sample(condition, noise_of(8), Draw())
    assert torch.equal(head.sample(condition, noise_of(8), Draw(guidance=1.0), other), plain)
    assert not torch.equal(head.sample(condition, noise_of(8), Draw(guidance=3.0), other), plain)


def test_the_unit_is_nats_a_patch_and_bits_per_dimension_beside_it():
    cfg, head = head_of()
    assert isinstance(head, Distribution)
    assert isinstance(DensityHead, TellsFigures)
    guess = DensityHead.guess_losses(cfg, torch.zeros(3, 12))
    assert Generate(cfg).figures(float(guess[0]), {}) == {"bits_per_dim": pytest.approx(8.0)}
    assert float(guess[0]) == pytest.approx(12 * math.log(256))


def test_images_that_are_not_of_8_bits_are_refused():
    cfg, _ = head_of()
    model = built(cfg)
    with pytest.raises(UserError, match="8 bits"):
        Generate(cfg).loss_sum(model, torch.rand(2, 3, 4, 6, dtype=torch.float64), Generate(cfg).examples().part(0, 2))


def test_every_tensor_has_one_name_and_the_head_says_how_many_there_are():
    cfg, head = head_of()
    tensors = head.state_dict()
    assert len({tensor.data_ptr() for tensor in tensors.values()}) == len(tensors)
    assert DensityHead.params(cfg) == sum(values.numel() for values in head.parameters())
    assert DensityHead.table_values(cfg) == sum(values.numel() for values in head.buffers())
    assert len(DensityHead.units(cfg, Workload(1, 1, 1))) == len(head.blocks) == cfg.head_depth


def test_every_proof_of_check_holds():
    cfg, _ = head_of()
    found = check_objective(Generate(cfg), built(cfg))
    assert [verdict.claim for verdict in found if not verdict.holds] == []
