"""Counts against torch's own counter, the modules themselves and Table 1."""

import time
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from losses import loss_sum
from nextpatch.model.aim import AIM
from nextpatch.model.config import SIZES, ModelConfig
from nextpatch.model.count import count_params, forward_flops
from nextpatch.model.init import init_weights
from nextpatch.objective.cost import expected_scored, train_step_flops

TABLE_1 = {"600m": 0.6e9, "1b": 1.2e9, "3b": 2.7e9, "7b": 6.5e9}


@pytest.fixture
def model() -> AIM:
    cfg = ModelConfig(size="nano", img_size=(20, 28), patch_size=4, in_chans=2, head_width=64)
    built = AIM(cfg)
    init_weights(built, 0)
    return built


@pytest.mark.parametrize("size", SIZES)
def test_parameters_equal_the_modules_on_the_meta_device(size: str) -> None:
    start = time.monotonic()
    with torch.device("meta"):
        built = AIM(ModelConfig(size=size))
    assert time.monotonic() - start < 30
    counted = count_params(built.cfg)
    assert sum(p.numel() for p in built.parameters()) == counted.total
    assert sum(p.numel() for p in built.trunk.parameters()) == counted.trunk


@pytest.mark.parametrize("size", TABLE_1)
def test_trunks_are_those_of_table_1(size: str) -> None:
    # the paper prints 0.6B for 24 x 12 x 1536^2 = 0.68B and 6.5B for 6.44B: within 0.1B of every entry
    assert abs(count_params(ModelConfig(size=size)).trunk - TABLE_1[size]) < 0.1e9


def test_forward_flops_equal_the_counter(model: AIM) -> None:
    images = torch.randn(3, 2, 20, 28)
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    assert counter.get_total_flops() == 3 * forward_flops(model.cfg)


@pytest.mark.parametrize("prefix", [1, 9, 34])
def test_train_step_flops_equal_the_counter(model: AIM, prefix: int) -> None:
    images, prefix_len = torch.randn(2, 2, 20, 28), torch.full((2,), prefix)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss_sum(model, images, prefix_len).backward()
    assert counter.get_total_flops() == 2 * train_step_flops(model.cfg, scored=35 - prefix)


def test_expected_scored_is_the_mean_over_prefixes() -> None:
    cfg = ModelConfig(img_size=(28, 28), patch_size=7)
    assert expected_scored(cfg) == sum(16 - s for s in range(1, 16)) / 15


@pytest.mark.parametrize("name", SIZES)
def test_the_table_of_sizes_is_true(name):
    cfg, shape = ModelConfig(name), SIZES[name]
    params = count_params(cfg)
    row = (
        f"| {name} | {shape.embed_dim} | {shape.depth} | {shape.num_heads} | {shape.head_width} x {shape.head_depth} "
        f"| {params.trunk / 1e6:,.1f} M | {params.head / 1e6:,.1f} M | {train_step_flops(cfg) / 1e9:,.0f} |"
    )
    assert row in (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
