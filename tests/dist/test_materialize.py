"""Models from nothing: what init forgets shows, and nothing else changes."""

import pytest
import torch

from losses import loss_sum
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.dist import materialize as module
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.materialize import materialize

CFG = ModelConfig(
    size="nano", img_size=(12, 16), patch_size=4, in_chans=1, embed_dim=24, depth=3, num_heads=2, head_width=20,
    head_depth=1,
)  # fmt: skip
CPU = torch.device("cpu")


def test_it_starts_as_a_model_made_in_the_plain_way():
    plain = AIM(CFG)
    init_weights(plain, 5)
    model = materialize(CFG, 5, None, EngineConfig(), "fp32", CPU)
    ours, theirs = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (model, plain))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())


@pytest.mark.parametrize("forgotten", ["head.pred.weight", "trunk.post_trunk_norm.bias", "patch_embed.positions"])
def test_what_the_initialisation_forgets_is_named(monkeypatch, forgotten):
    def forgetful(model, seed, put):
        init_weights(model, seed, put)
        with torch.no_grad():
            {**dict(model.named_parameters()), **dict(model.named_buffers())}[forgotten].fill_(float("nan"))

    monkeypatch.setattr(module, "init_weights", forgetful)
    with pytest.raises(RuntimeError, match=f"left {forgotten} undefined"):
        materialize(CFG, 5, None, EngineConfig(), "fp32", CPU)


@pytest.mark.parametrize("how", ["full", "selective"])
def test_activation_checkpointing_changes_no_bit(how):
    def gradients(engine):
        model = materialize(CFG, 5, None, engine, "fp32", CPU)
        images = torch.randn(3, 1, *CFG.img_size, generator=torch.Generator().manual_seed(0))
        loss = loss_sum(model, images, torch.tensor([1, 4, 11]))
        loss.backward()
        return [loss.detach(), *(p.grad for p in model.parameters())]

    ours = gradients(EngineConfig(activation_checkpointing=how))
    assert all(torch.equal(a, b) for a, b in zip(ours, gradients(EngineConfig()), strict=True))


def test_activation_checkpointing_keeps_less():
    def kept(how):
        model = materialize(CFG, 5, None, EngineConfig(activation_checkpointing=how), "fp32", CPU)
        images = torch.randn(8, 1, *CFG.img_size)
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss_sum(model, images, torch.full((8,), 6))
        return sum(sizes.values())

    assert kept("full") < 0.6 * kept("none")
