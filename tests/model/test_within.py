"""The network inside a patch is a distribution: probabilities of all patches sum to one, in one pass and in steps."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nextpatch.core.errors import UserError
from nextpatch.model.heads.levels import PixelLevels
from nextpatch.model.heads.logistics import MIXTURES
from nextpatch.model.heads.within import Within
from nextpatch.model.init import init_weights


def network(values: int = 3, levels: int = 4, depth: int = 2) -> Within:
    found = Within(8, values, 16, depth, levels)
    init_weights(found, 0)
    return found.double()


def every_patch(values: int, levels: int) -> Tensor:
    return torch.tensor(list(product(range(levels), repeat=values)))


@pytest.mark.parametrize(("values", "levels"), [(1, 5), (3, 4), (4, 3)])
@torch.no_grad()
def test_likelihoods_of_all_patches_sum_to_one(values, levels):
    inside, patches = network(values, levels), every_patch(values, levels)
    condition = torch.randn(1, 8, dtype=torch.float64)
    each = -inside.nats(condition.expand(len(patches), -1), patches).sum(dim=1)
    torch.testing.assert_close(each.exp().sum(), torch.ones((), dtype=torch.float64), rtol=0, atol=1e-12)
    assert each.std() > 0.01  # not merely uniform


def test_a_value_depends_on_those_before_it_and_on_no_other():
    inside, condition = network(5, 7), torch.randn(2, 8, dtype=torch.float64)
    values = torch.randint(0, 7, (2, 5))
    plain = inside.nats(condition, values)
    for place in range(5):
        other = values.clone()
        other[:, place] = (other[:, place] + 1) % 7
        moved = (inside.nats(condition, other) - plain).abs().amax(dim=0)
        assert bool((moved[:place] == 0).all())
        assert bool((moved[place + 1 :] > 1e-6).all())


@torch.no_grad()
def test_steps_give_what_one_pass_gives():
    inside, condition, values = network(6, 9), torch.randn(3, 8, dtype=torch.float64), torch.randint(0, 9, (3, 6))
    begun = inside.begin(condition)
    steps = torch.stack([inside.step(begun, values[:, :place]) for place in range(6)], dim=1)
    torch.testing.assert_close(steps.sum(dim=-1), torch.ones(3, 6, dtype=torch.float64), rtol=0, atol=1e-12)
    each = -steps.gather(-1, values[..., None]).squeeze(-1).log()
    torch.testing.assert_close(each, inside.nats(condition, values), rtol=0, atol=1e-10)


@pytest.mark.parametrize("sharpness", [-20.0, -5.0, 0.0, 20.0])
def test_probabilities_in_the_tails_are_finite_and_have_gradients(sharpness):
    inside = network(1, 256)
    parameters = torch.full((256, 3 * MIXTURES), -sharpness, dtype=torch.float32, requires_grad=True)
    nats = inside.pred.nats(parameters, torch.arange(256))
    nats.sum().backward()
    assert parameters.grad is not None
    assert bool(torch.isfinite(nats).all())
    assert bool(torch.isfinite(parameters.grad).all())
    with torch.no_grad():
        found = inside.pred.probabilities(parameters[0])
    assert bool((found >= 0).all())
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-5)


def test_costs_are_those_of_the_modules():
    inside = Within(12, 5, 16, 2)
    init_weights(inside, 0)
    assert Within.params(12, 5, 16, 2) == sum(values.numel() for values in inside.parameters())
    with FlopCounterMode(display=False) as counter:
        inside.nats(torch.randn(3, 12), torch.randint(0, 256, (3, 5)))
    assert counter.get_total_flops() == 2 * 3 * Within.macs(12, 5, 16, 2)


@pytest.mark.parametrize(("mean", "std"), [(0.286, 0.353), (0.0, 1e-3), (1.0, 1.0), (0.9999, 1e-5), (0.5, 50.0)])
def test_all_256_pixels_are_found_again_from_normalized_floats(mean, std):
    levels = PixelLevels(1)
    init_weights(levels, 0)
    levels.measure([mean], [std])
    pixels = torch.arange(256)
    ways = [(pixels.float() - torch.tensor([mean]) * 255) / (torch.tensor([std]) * 255)]  # as the loader does it
    ways += [(pixels.float() / 255 - mean) / std, levels.pixels(pixels[None])[0]]
    for normalized in ways:
        assert torch.equal(levels.of(normalized[None])[0], pixels)


@pytest.mark.parametrize("pixel", [127.5, -1.0, 256.0, float("nan")])
def test_what_is_no_pixel_of_8_bits_is_refused(pixel):
    levels = PixelLevels(1)
    init_weights(levels, 0)
    with pytest.raises(UserError, match="8 bits"):
        levels.of(torch.tensor([[pixel / 255]]))
