"""Noise of rows: a pure function of seed and place, to the last bit, with the moments of its distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nextpatch.model.heads.noise import Noise


def rows(images: int, places: int) -> tuple[Tensor, Tensor]:
    seeds = torch.arange(images).mul(2**60 + 3).repeat_interleave(places)
    return seeds, torch.arange(places).repeat(images)


def test_a_row_has_the_same_numbers_in_any_batch() -> None:
    seed, place = rows(7, 5)
    normal, uniform = Noise(seed, place).normal(3, 3, 7), Noise(seed, place).uniform(3, 5)
    mixed = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    for part in (mixed, mixed[:1], mixed[1:4], mixed[4:]):
        assert torch.equal(Noise(seed[part], place[part]).normal(3, 3, 7), normal[part])
        assert torch.equal(Noise(seed[part], place[part]).uniform(3, 5), uniform[part])


def test_other_seeds_places_and_streams_have_other_numbers() -> None:
    seed, place = rows(20, 20)
    every = torch.cat([Noise(seed, place).normal(stream, 50).flatten() for stream in (0, 1, 2, 16)])
    assert len(every.unique()) > 0.99 * len(every)


def test_moments() -> None:
    seed, place = rows(200, 10)
    normal, uniform = Noise(seed, place).normal(0, 100).double(), Noise(seed, place).uniform(1, 100).double()
    error = 4 / math.sqrt(normal.numel())  # four standard errors of a mean of unit variance
    for power, moment, deviation in ((1, 0, 1), (2, 1, math.sqrt(2)), (3, 0, math.sqrt(15)), (4, 3, math.sqrt(96))):
        assert abs(float((normal**power).mean()) - moment) < error * deviation
    assert abs(float(uniform.mean()) - 0.5) < error / math.sqrt(12)
    assert abs(float((uniform**2).mean()) - 1 / 3) < error
    assert float(uniform.min()) > 0
    assert float(uniform.max()) <= 1
    for one, other in ((normal[:, :50], normal[:, 50:]), (normal[1:], normal[:-1]), (normal[:-10], normal[10:])):
        assert abs(float((one * other).mean())) < 2 * error


def test_normal_values_are_those_of_box_and_muller() -> None:
    seed, place = rows(50, 10)
    noise = Noise(seed, place)
    words, normal = noise._words(0, 100), noise.normal(0, 200)
    radius = (-2 * ((((words >> 32) + 2**31).double() + 0.5) / 2**32).log()).sqrt()
    angle = 2 * math.pi * (((words & (2**32 - 1)).double() + 0.5) / 2**32 - 0.5)
    wanted = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
    torch.testing.assert_close(normal.double(), wanted, rtol=0, atol=2e-5)
