"""Every parameter has a defined start, the same for the same seed."""

import math

import pytest
import torch
from torch import nn

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights

CFG = ModelConfig(size="nano", img_size=(8, 12), patch_size=4)


def test_meta_model_filled_with_nan_becomes_the_model_built_directly() -> None:
    with torch.device("meta"):
        late = AIM(CFG)
    late.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in [*late.parameters(), *late.buffers()]:
            tensor.fill_(math.nan)
    direct = AIM(CFG)
    init_weights(late, 5)
    init_weights(direct, 5)
    everything = zip([*late.parameters(), *late.buffers()], [*direct.parameters(), *direct.buffers()], strict=True)
    assert all(torch.equal(a, b) for a, b in everything)


def test_linear_weights_fill_xavier_bounds() -> None:
    model = AIM(CFG)
    init_weights(model, 0)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            bound = math.sqrt(6 / sum(module.weight.shape))
            assert 0.95 * bound < module.weight.abs().max() <= bound
            assert module.bias is None or not module.bias.any()


def test_seeds_differ_and_the_global_generator_is_left_alone() -> None:
    one, two = AIM(CFG), AIM(CFG)
    before = torch.random.get_rng_state()
    init_weights(one, 0)
    init_weights(two, 1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(one.patch_embed.proj.weight, two.patch_embed.proj.weight)


def test_a_parameter_without_a_start_is_an_error() -> None:
    model = AIM(CFG)
    model.trunk.register_module("extra", nn.PReLU())
    with pytest.raises(TypeError, match="no start is defined for weight of PReLU"):
        init_weights(model, 0)
