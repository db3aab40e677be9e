"""The model against a plain float64 implementation of the paper (tests/reference.py), values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import reference
from losses import loss_sum, patch_losses, predict, scored_count
from nextpatch.model.aim import AIM
from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights

PREFIX = [1, 7, 3]  # of 8 or 9 patches
LATE = [6, 7, 4]  # no image scores its first outputs: the packed loss leaves them out
SMALL = {"embed_dim": 24, "depth": 3, "num_heads": 2, "head_width": 16, "head_depth": 2}
SHAPES = {
    "square": {"img_size": (9, 9), "patch_size": 3, "in_chans": 3},
    "wide": {"img_size": (8, 16), "patch_size": 4, "in_chans": 1},
    "tall": {"img_size": (8, 4), "patch_size": 2, "in_chans": 2, "num_heads": 3},
}
per_prefix = pytest.mark.parametrize("lengths", [PREFIX, LATE])
MODES = ["bidirectional", "prefix", "causal"]
per_shape = pytest.mark.parametrize("shape", SHAPES)
per_target = pytest.mark.parametrize("target", ["norm_pixels", "pixels"])
per_attention = pytest.mark.parametrize("attention", ["prefix", "causal"])


def jitter(module: torch.nn.Module, seed: int) -> None:
    """Random values where a fresh module has zeros and ones, which would hide a missing bias or norm weight."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))


def built(shape: str, **values: str) -> tuple[AIM, Tensor]:
    """A model with no parameter at a special value, and images in which one scored patch is constant."""
    model = AIM(ModelConfig(**{**SMALL, **SHAPES[shape], **values}))
    init_weights(model, 0)
    jitter(model, 1)
    images = torch.randn(3, model.cfg.in_chans, *model.cfg.img_size, generator=torch.Generator().manual_seed(2))
    p = model.cfg.patch_size
    images[2, :, -p:, -p:] = 0.7
    return model, images


def plain(model: torch.nn.Module) -> dict[str, Tensor]:
    """The tensors in float64, as leaves."""
    return {name: tensor.detach().double().requires_grad_() for name, tensor in model.state_dict().items()}


def wanted(model: AIM, images: Tensor, mode: str, lengths: list[int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Everything the reference computes, with the gradients of its loss."""
    cfg, state, images = model.cfg, plain(model), images.double()
    out = reference.features(state, images, cfg.patch_size, cfg.num_heads, mode, lengths)
    out["predictions"] = reference.predictions(state, out["post_trunk_norm"], cfg.grid)
    out["patch_losses"] = reference.patch_losses(out["predictions"], images, cfg.patch_size, lengths, cfg.target)
    out["loss"] = reference.loss(out["patch_losses"], lengths)
    gradients = torch.autograd.grad(out["loss"], list(state.values()))
    return {k: v.detach() for k, v in out.items()}, dict(zip(state, gradients, strict=True))


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.detach().double() - theirs.detach().double()).norm() / theirs.detach().double().norm())


def gradients(model: AIM, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def assert_near(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name].shape == theirs[name].shape
        assert relative(ours[name], theirs[name]) <= tolerance, name


def dense(model: AIM, images: Tensor, prefix_len: Tensor) -> Tensor:
    return patch_losses(model, images, prefix_len, model.cfg.attention).sum()


def packed(model: AIM, images: Tensor, prefix_len: Tensor) -> Tensor:
    return loss_sum(model, images, prefix_len)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("mode", MODES)
@per_target
@per_shape
def test_every_layer_prediction_and_patch_loss(
    shape: str, target: str, mode: str, dtype: torch.dtype, tolerance: float
) -> None:
    model, images = built(shape, target=target)
    theirs, _ = wanted(model, images, mode, PREFIX)
    model, images, prefix_len = model.to(dtype), images.to(dtype), torch.tensor(PREFIX)
    with torch.no_grad():
        ours = model(images, mode, prefix_len, model.trunk.layer_names())
        ours["predictions"] = predict(model, images, prefix_len, mode)
        ours["patch_losses"] = patch_losses(model, images, prefix_len, mode)
        ours["loss"] = ours["patch_losses"].sum() / scored_count(prefix_len, model.cfg.num_patches)
    assert_near(ours, theirs, tolerance)
    assert torch.equal(ours["patch_losses"] == 0, theirs["patch_losses"] == 0)


@pytest.mark.parametrize("formulation", [dense, packed])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@per_prefix
@per_attention
@per_target
@per_shape
def test_loss_and_every_gradient(
    shape: str,
    target: str,
    attention: str,
    lengths: list[int],
    dtype: torch.dtype,
    tolerance: float,
    formulation: Callable[[AIM, Tensor, Tensor], Tensor],
) -> None:
    model, images = built(shape, target=target, attention=attention)
    theirs, their_gradients = wanted(model, images, attention, lengths)
    model, prefix_len = model.to(dtype), torch.tensor(lengths)
    loss = formulation(model, images.to(dtype), prefix_len) / scored_count(prefix_len, model.cfg.num_patches)
    assert relative(loss, theirs["loss"]) <= tolerance / 10
    assert_near(gradients(model, loss), their_gradients, tolerance)


@per_prefix
@per_attention
@per_target
@per_shape
def test_the_packed_loss_is_the_dense_one_in_float32(
    shape: str, target: str, attention: str, lengths: list[int]
) -> None:
    model, images = built(shape, target=target, attention=attention)
    losses = [formulation(model, images, torch.tensor(lengths)) for formulation in (packed, dense)]
    assert relative(*losses) <= 1e-6
    assert_near(*(gradients(model, loss) for loss in losses), 1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_attentive_classifier(dtype: torch.dtype, tolerance: float, training: bool, bias: bool) -> None:
    head = AttentiveClassifier(24, 3, 5, bias).train(training)
    jitter(head, 3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        head.bn.running_mean.copy_(torch.randn(24, generator=generator))
        head.bn.running_var.copy_(torch.rand(24, generator=generator) + 0.5)
        head.cls_token.mul_(20)  # sharp attention
    x = 3 * torch.randn(4, 7, 24, generator=generator) + torch.arange(24)
    state = {name: tensor.double() for name, tensor in head.state_dict().items()}
    logits, mean, variance = reference.attentive(state, x.double(), 3, training)
    head = head.to(dtype)
    assert relative(head(x.to(dtype)), logits) <= tolerance
    assert relative(head.bn.running_mean, mean) <= tolerance
    assert relative(head.bn.running_var, variance) <= tolerance
