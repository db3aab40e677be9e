"""What a model that enlarges is told: the means of blocks, as a small file has them, with what surrounds a patch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import interpolate
from torch.utils.flop_counter import FlopCounterMode

from nextpatch.core.errors import ConfigError
from nextpatch.data.downsampling import downsampled
from nextpatch.data.views import to_model_input
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.count import count_params, forward_flops
from nextpatch.model.low_res import MARGIN, LowRes
from nextpatch.objective.cost import train_step_flops
from nextpatch.objective.generate import Generate
from nextpatch.patches import patchify
from nextpatch.tasks.pretrain.warm_start import freeze_trunk
from variants import SMALL, built

MEAN, STD = (0.5, 0.4, 0.3), (0.3, 0.25, 0.2)
ENLARGING: dict[str, Any] = {**SMALL, "img_size": (4, 6), "head": "flow", "upscale": 2}


def pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).byte()


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_smaller_images_are_means_of_blocks_as_pillow_makes_them(factor: int) -> None:
    images = pixels(5, 3, 24, 36)
    images[0], images[1, :, ::2] = 255, 0
    found = downsampled(images, factor)
    blocks = images.double().reshape(5, 3, 24 // factor, factor, 36 // factor, factor)
    assert torch.equal(found.double(), (blocks.mean(dim=(3, 5)) + 0.5).floor())
    assert torch.equal(downsampled(images.double(), factor), found.double())
    for image, small in zip(images, found, strict=True):
        theirs = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).reduce(factor)).astype(int)
        apart = np.abs(theirs - small.permute(1, 2, 0).numpy()).max()
        assert apart <= (factor == 3), "Pillow divides by 9 not quite exactly"


@pytest.mark.parametrize(("factor", "patch_size"), [(2, 2), (2, 3), (3, 2), (4, 2)])
def test_a_patch_is_told_of_what_surrounds_it_in_the_small_image(factor: int, patch_size: int) -> None:
    size = (factor * patch_size * 2, factor * patch_size * 3)
    low_res = LowRes(ModelConfig(**{**ENLARGING, "img_size": size, "patch_size": patch_size, "upscale": factor}))
    low_res.measure(MEAN, STD)
    images = pixels(2, 3, *size)
    small = downsampled(images, factor)
    around = low_res.of(to_model_input(images, MEAN, STD))
    torch.testing.assert_close(around, low_res.of_pixels(small))
    large = interpolate(to_model_input(small, MEAN, STD), scale_factor=factor, mode="bicubic")
    margin, side = MARGIN * factor, patch_size + 2 * MARGIN * factor
    place = 0
    for top in range(0, size[0], patch_size):
        for left in range(0, size[1], patch_size):
            rows = torch.arange(top - margin, top - margin + side).clamp(0, size[0] - 1)
            columns = torch.arange(left - margin, left - margin + side).clamp(0, size[1] - 1)
            wanted = patchify(large[:, :, rows][:, :, :, columns], side)[:, 0]
            torch.testing.assert_close(around[:, place], wanted, atol=1e-5, rtol=1e-5)
            place += 1
    assert place == around.shape[1]


def test_pixels_within_a_block_are_not_told_and_its_mean_is() -> None:
    low_res = LowRes(ModelConfig(**ENLARGING))
    low_res.measure(MEAN, STD)
    images = pixels(1, 3, 4, 6) // 2 + 50
    swapped, brighter = images.clone(), images.clone()
    swapped[:, :, 0, 0], swapped[:, :, 1, 1] = images[:, :, 1, 1], images[:, :, 0, 0]
    brighter[:, :, :2, :2] += 8
    as_it_is, same, other = (low_res.of(to_model_input(one, MEAN, STD)) for one in (images, swapped, brighter))
    assert not torch.equal(images, swapped)
    assert torch.equal(as_it_is, same)
    assert not torch.equal(as_it_is, other)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("head", ["flow", "mlp"])
def test_costs_are_those_of_the_counter(head: str, frozen: bool) -> None:
    """What is told costs exactly what the formulas say; those of a flow leave other things out."""
    target = {"target": "pixels", "objective": "generate"} if head == "mlp" else {}
    told, plain = (
        ModelConfig(**{**ENLARGING, "head": head, "attention": "causal", "upscale": upscale, **target})
        for upscale in (2, 0)
    )
    model = built(told).float()
    assert sum(parameter.numel() for parameter in model.parameters()) == count_params(told).total
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.randn(2, 3, 4, 6))
    assert counter.get_total_flops() == 2 * forward_flops(told)
    counted = {cfg: step_flops(cfg, frozen) for cfg in (told, plain)}
    by_formula = {cfg: 2 * train_step_flops(cfg, frozen_trunk=frozen) for cfg in (told, plain)}
    assert counted[told] - counted[plain] == by_formula[told] - by_formula[plain] > 0
    assert head == "flow" or counted == by_formula


def step_flops(cfg: ModelConfig, frozen: bool) -> int:
    """Of a step on two images."""
    model, objective = built(cfg).float(), Generate(cfg)
    if frozen:
        freeze_trunk(model)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        objective.loss_sum(model, torch.randn(2, 3, 4, 6), objective.draw(0, torch.arange(2))).backward()
    if model.start.low_res is not None:
        assert model.start.low_res.to_token.weight.grad is not None
        assert model.start.low_res.to_feature.weight.grad is not None
    found: int = counter.get_total_flops()
    return found


def test_features_are_told_the_small_version_of_the_images_themselves() -> None:
    model = built(ModelConfig(**ENLARGING)).float()
    model.start.low_res.measure(MEAN, STD)
    images = to_model_input(pixels(2, 3, 4, 6), MEAN, STD)
    found = model.features(images, ["block_1"], "causal")["block_1"]
    brighter = images.clone()
    brighter[:, :, :, 4:] += 0.5
    other = model.features(brighter, ["block_1"], "causal")["block_1"]
    assert not torch.equal(found[:, 1], other[:, 1]), "a causal feature knows of later patches what is told of them"
    with torch.no_grad():
        model.start.low_res.to_token.weight.zero_()
    assert torch.equal(
        model.features(images, ["block_1"], "causal")["block_1"][:, 1],
        model.features(brighter, ["block_1"], "causal")["block_1"][:, 1],
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"upscale": 1}, "enlarges nothing"),
        ({"upscale": 3}, "height 4 is not a multiple of upscale 3; use 6"),
        ({"head": "mlp"}, "is for the objective generate, and it is next_patch"),
        ({"upscale": 5}, "upscale"),
    ],
)
def test_factors_that_cannot_be_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ModelConfig(**{**ENLARGING, **values})


def test_new_maps_change_nothing_of_a_model_yet() -> None:
    """So that a trunk that learned without a small image begins as it was."""
    from nextpatch.model.init import init_weights

    told, plain = AIM(ModelConfig(**ENLARGING)), AIM(ModelConfig(**{**ENLARGING, "upscale": 0}))
    init_weights(told, 0)
    init_weights(plain, 0)
    images = torch.randn(2, 3, 4, 6)
    assert torch.equal(told(images)["post_trunk_norm"], plain(images)["post_trunk_norm"])
