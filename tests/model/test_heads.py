"""Every head: what it says of its cost is what its modules are and do, its rows are packed or whole alike."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from losses import loss_sum, patch_losses
from nextpatch.core.errors import ConfigError
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Workload
from nextpatch.model.count import count_params
from nextpatch.model.heads.linear import LinearHead
from nextpatch.model.heads.mlp import MLPHead
from nextpatch.model.init import init_weights
from nextpatch.model.names import HEADS
from nextpatch.objective.cost import train_step_flops
from nextpatch.train.memory import kept_bytes


class SmoothedHead(LinearHead):
    """Mixes each sequence's features with those before them: it cannot be packed, and looks at target positions."""

    packed: ClassVar[bool] = False

    def hidden(
        self,
        rows: Tensor,
        input_position: Tensor,
        target_position: Tensor,
        image_of_row: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        before = rows.cumsum(dim=1) / torch.arange(1, rows.shape[1] + 1)[:, None]
        return before + target_position[..., None].sin()


def test_a_head_that_hides_its_last_layer_is_refused():
    with pytest.raises(TypeError, match="implement hidden"):

        class Whole(LinearHead):
            def forward(self, rows: Tensor, *places: Tensor) -> Tensor:
                return rows


def built(monkeypatch: pytest.MonkeyPatch, head: str) -> AIM:
    monkeypatch.setitem(HEADS._places, "smoothed", SmoothedHead)
    model = AIM(ModelConfig(size="nano", img_size=(20, 28), patch_size=4, in_chans=2, head=head))
    init_weights(model, 0)
    return model


@pytest.mark.parametrize("head", ["mlp", "none", "transformer", "smoothed"])
@pytest.mark.parametrize("prefix", [1, 20, 34])
def test_the_loss_of_scored_rows_is_the_plain_one(monkeypatch, head, prefix):
    model, images = built(monkeypatch, head).double(), torch.randn(2, 2, 20, 28).double()
    prefix_len = torch.tensor([prefix, 34])
    packed, plain = loss_sum(model, images, prefix_len), patch_losses(model, images, prefix_len).sum()
    torch.testing.assert_close(packed, plain, rtol=1e-12, atol=0)


@pytest.mark.parametrize("head", ["mlp", "none", "transformer", "smoothed"])
def test_what_a_head_says_of_itself_is_what_it_does(monkeypatch, head):
    model = built(monkeypatch, head)
    assert count_params(model.cfg).head == sum(values.numel() for values in model.head.parameters())
    assert HEADS[head].table_values(model.cfg) == sum(values.numel() for values in model.head.buffers())
    assert len(HEADS[head].units(model.cfg, Workload(1, 1, 1))) == len(model.head.blocks)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss_sum(model, torch.randn(2, 2, 20, 28), torch.tensor([9, 9])).backward()
    assert counter.get_total_flops() == 2 * train_step_flops(model.cfg, scored=26)


def test_behind_a_frozen_trunk_no_gradient_goes_into_the_head(monkeypatch):
    for head in ("mlp", "none", "transformer", "smoothed"):
        model = built(monkeypatch, head)
        for part in (model.patch_embed, model.trunk):
            part.requires_grad_(False)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            loss_sum(model, torch.randn(1, 2, 20, 28), torch.tensor([9])).backward()
        assert counter.get_total_flops() == train_step_flops(model.cfg, scored=26, frozen_trunk=True)


def test_a_linear_head_keeps_less_for_backward():
    mlp, none = ModelConfig(size="nano"), ModelConfig(size="nano", head="none", head_depth=3)
    assert kept_bytes(none, 2) < kept_bytes(mlp, 2)
    assert none.resolved() == none.resolved().resolved()
    assert (none.shape.head_width, none.shape.head_depth) == (0, 0)


def test_a_head_is_named_in_a_recipe_and_never_placed_there():
    with pytest.raises(ConfigError, match=r"unknown head 'mpl' \(did you mean 'mlp'\?\); there are mlp, none"):
        ModelConfig(head="mpl")
    with pytest.raises(ConfigError, match="unknown head 'os:system'"):
        ModelConfig(head="os:system")
    with pytest.raises(ConfigError, match="there is a head 'mlp' already"):
        HEADS.add("mlp", LinearHead)
    assert HEADS["mlp"] is MLPHead


def test_attention_heads_of_a_transformer_head_are_as_wide_as_those_of_the_trunk():
    assert ModelConfig("small", head="transformer").shape.head_heads == 6
    assert ModelConfig("600m", head="transformer").shape.head_heads == 16
    with pytest.raises(ConfigError, match=r"head_width 200 is not a multiple of 64, .*; use 192"):
        ModelConfig("small", head="transformer", head_width=200)
