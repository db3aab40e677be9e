"""The released layout's names, both ways, lossless."""

import pytest
import torch

from nextpatch.model.aim import AIM, patches_of
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.model.weights import from_released, to_released


def test_names_map_both_ways_without_loss() -> None:
    model = AIM(ModelConfig(size="nano", img_size=(12, 18), patch_size=6, in_chans=2))
    init_weights(model, 3)
    state = model.state_dict()
    released = to_released(state, model.cfg)
    assert released["preprocessor.patchifier.proj.weight"].shape == (128, 2, 6, 6)
    assert {"trunk.blocks.0.attn.qkv.weight", "trunk.post_trunk_norm.bias"} <= set(released)
    back = from_released(released)
    assert set(back) == set(state)
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_the_kernel_is_the_same_linear_map() -> None:
    model = AIM(ModelConfig(size="nano", img_size=(12, 18), patch_size=6, in_chans=2))
    init_weights(model, 3)
    images = torch.randn(2, 2, 12, 18)
    kernel = to_released(model.state_dict(), model.cfg)["preprocessor.patchifier.proj.weight"]
    convolved = torch.nn.functional.conv2d(images, kernel, stride=6).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.patch_embed.proj(patches_of(images, model.cfg)), convolved)


def test_a_foreign_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown weight 'encoder.layer.0'.*preprocessor"):
        from_released({"encoder.layer.0": torch.zeros(1)})
