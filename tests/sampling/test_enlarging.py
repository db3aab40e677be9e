"""Images enlarged: down again they are what was given, whatever the tiles; each a function of its number alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nextpatch.data.downsampling import downsampled
from nextpatch.data.views import to_model_input
from nextpatch.model.attention import attention_mask
from nextpatch.model.start import Started
from nextpatch.objective.generate import Generate
from nextpatch.patches import patchify
from nextpatch.sampling.config import SamplingConfig
from nextpatch.sampling.enlarging import Enlarger
from nextpatch.sampling.error import SamplingError
from nextpatch.sampling.projection import disagreement, project
from nextpatch.sampling.sampler import Sampler
from nextpatch.sampling.tiles import tiles_of
from nextpatch.train.showing import generates
from sampled import MEAN, SIZE, STD, generator_of, images_of, sampler_of


def random_pixels(seed: int, shape: Sequence[int], saturated: bool) -> Tensor:
    values = torch.randint(0, 256, tuple(shape), generator=torch.Generator().manual_seed(seed))
    return ((values * 6 - 640) if saturated else values).clamp(0, 255).byte()


def enlarger_of(**values: Any) -> Enlarger:
    config = {name: values.pop(name) for name in ("batch_size", "average") if name in values}
    model = generator_of(**{"upscale": 2, "classes": 0, **values})
    mean, std = MEAN[: model.cfg.in_chans], STD[: model.cfg.in_chans]
    model.start.low_res.measure(mean, std)
    return Enlarger(Sampler(model, mean, std, SamplingConfig(steps=3, **config)))


@given(st.integers(0, 2**32), st.sampled_from([2, 3, 4]), st.booleans(), st.booleans(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_what_is_projected_agrees_always_and_what_agrees_stays(
    seed: int, factor: int, one: bool, two: bool, channels: int
) -> None:
    images = random_pixels(seed, (2, channels, 3 * factor, 5 * factor), one)
    low = random_pixels(seed + 1, (2, channels, 3, 5), two)
    found = project(images, low, factor)
    assert torch.equal(downsampled(found, factor), low)
    assert torch.equal(project(found, low, factor), found)
    means = found.double().reshape(2, channels, 3, factor, 5, factor).mean(dim=(3, 5))
    assert float((means - low.double()).abs().max()) <= 0.5


def test_the_projection_brings_an_image_nearer_to_the_true_one() -> None:
    true = random_pixels(1, (3, 3, 40, 40), True)
    guess = (true.int() + torch.randint(-90, 91, true.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 255)
    found = project(guess.byte(), downsampled(true, 2), 2)
    before, after = ((one.double() - true.double()).square().mean() for one in (guess, found))
    assert after < 0.9 * before
    assert disagreement(guess.byte(), downsampled(true, 2), 2) > 10


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"order": "any", "attention": "causal"},
        {"head": "density", "order": "spiral"},
        {"head": "transformer", "target": "pixels", "objective": "generate"},
    ],
)
def test_conditions_of_sampling_are_those_of_training(values: dict[str, Any]) -> None:
    enlarger = enlarger_of(**values)
    model, sampler = enlarger.sampler.model, enlarger.sampler
    seen: list[Tensor] = []
    draw = sampler._draw
    sampler._draw = lambda condition, *rest: (seen.append(condition), draw(condition, *rest))[1]  # type: ignore
    low = random_pixels(0, (1, 3, SIZE[0] // 2, SIZE[1] // 2), False)
    orders: list[Tensor] = []
    generate = type(model).condition
    model.condition = lambda f, place, around=None: (orders.append(place), generate(model, f, place, around))[1]  # type: ignore
    [made] = list(sampler.sample(5, [0], None, None, low))
    turn = torch.stack(orders, dim=1)[0] if orders else torch.arange(model.cfg.num_patches)
    patches = patchify(to_model_input(made.images, MEAN, STD), model.cfg.patch_size)
    started = Started(patches[:, turn[:-1]], turn[None], around=model.start.low_res.of_pixels(low))
    with torch.no_grad():
        wanted = model.generate(started, attention_mask("causal", None, model.cfg.num_patches, patches.device))
    for place, condition in enumerate(seen):
        found = model.head.pred(condition[:1])  # of a distribution the condition itself
        torch.testing.assert_close(found, wanted[:, place], atol=0.05, rtol=0.05)  # images are rounded to 8 bits


@pytest.mark.parametrize(("size", "channels"), [((3, 4), 1), ((7, 4), 3), ((5, 9), 2)])
def test_any_size_and_number_of_channels_agrees_with_what_was_given(size: tuple[int, int], channels: int) -> None:
    enlarger = enlarger_of(in_chans=channels)
    low, heard = random_pixels(3, (channels, *size), True), []
    found = enlarger.enlarge(low, 1, [0, 1, 2], said=heard.append)
    assert found.shape == (3, channels, 2 * size[0], 2 * size[1])
    assert torch.equal(downsampled(found, 2), low.expand(3, -1, -1, -1))
    assert len({image.numpy().tobytes() for image in found}) == 3
    assert sum(heard) == enlarger.parts(1, size, 3)
    again = enlarger.enlarge(low, 1, [2, 7])
    assert torch.equal(again[0], found[2])
    twice = enlarger.enlarge(low, 1, [0, 1], passes=2)
    assert torch.equal(downsampled(twice, 4), low.expand(2, -1, -1, -1))


def test_a_tile_knows_what_the_one_before_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of tiles that both see differ nowhere but where they are blended."""
    enlarger = enlarger_of(patch_size=2)
    given: list[Any] = []
    sample = type(enlarger.sampler).sample

    def heard(self: Any, seed: int, numbers: Any, labels: Any, known: Any, low: Tensor) -> Any:
        given.append((seed, known, low))
        return sample(self, seed, numbers, labels, known, low)

    monkeypatch.setattr(type(enlarger.sampler), "sample", heard)
    enlarger.enlarge(random_pixels(4, (3, 3, 7), False), 1, [0])
    tiles = list(tiles_of((3, 7), (3, 4), (1, 1)))
    assert len(given) == len(tiles) == 2
    assert given[0][0] == 1, "the first tile has the seed itself"
    assert given[1][0] != 1
    assert not given[0][1].mask.any()
    assert given[1][1].mask[0, 0, 0].tolist() == [True, *[False] * 7]
    assert given[1][1].images[0, :, :, 0].any()


def test_what_a_model_did_not_learn_is_refused_with_what_it_did() -> None:
    enlarger = enlarger_of()
    assert [enlarger.passes(factor, (3, 4)) for factor in (0, 2, 4, 8)] == [1, 1, 2, 3]
    with pytest.raises(SamplingError, match="enlarge by 2, and the factor 3 is not 2, 4 or another power"):
        enlarger.passes(3, (3, 4))
    with pytest.raises(SamplingError, match="the image is 3 x 3 px, and these weights enlarge images of 4 x 3 px and"):
        enlarger.passes(2, (3, 3))
    with pytest.raises(SamplingError, match="did not learn to enlarge images; train some that do"):
        Enlarger(sampler_of(generator_of())).passes(2, (3, 4))
    with pytest.raises(SamplingError, match="enlarge images by 2, and do nothing else: nextpatch upscale"):
        images_of(enlarger.sampler, [0])
    assert not generates(enlarger.sampler.model), "nothing is drawn while it trains"


def test_the_expected_value_is_nearer_than_a_sample() -> None:
    low = random_pixels(5, (3, *(side // 2 for side in SIZE)), False)
    one, other = (enlarger_of().enlarge(low, seed, [0]).double() for seed in (1, 2))
    mean, another = (enlarger_of(average=16).enlarge(low, seed, [0]).double() for seed in (1, 2))
    assert (mean - another).square().mean() < 0.5 * (one - other).square().mean()


def test_a_known_objective_is_scored_with_the_small_image() -> None:
    model = enlarger_of().sampler.model
    images = torch.randn(2, 3, *SIZE)
    objective = Generate(model.cfg)
    draws = objective.draw(0, torch.arange(2))
    with torch.no_grad():
        told = objective.position_losses(model, images, draws)
        model.start.low_res.to_token.weight.zero_()
        assert not torch.equal(objective.position_losses(model, images, draws), told)
