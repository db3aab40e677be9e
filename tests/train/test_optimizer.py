"""AdamW: what decays, and its state by name."""

import torch
from torch import nn

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.runs.config import OptimConfig
from nextpatch.train.optimizer import build_optimizer, optimizer_tensors, prepare_state, set_lr

CFG = ModelConfig(
    size="nano", img_size=(8, 8), patch_size=4, in_chans=1, embed_dim=8, depth=2, num_heads=2, head_width=8,
    head_depth=1,
)  # fmt: skip


def small_model(seed: int = 0) -> AIM:
    model = AIM(CFG)
    init_weights(model, seed)
    return model


def fake_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for param in model.parameters():
        param.grad = torch.randn(param.shape, generator=generator)


def test_every_parameter_is_in_one_group_and_only_matrices_decay():
    model = small_model()
    decay, rest = build_optimizer(model, OptimConfig(weight_decay=0.05)).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    assert sorted(names) == sorted(id(p) for p in decay["params"] + rest["params"])
    assert (decay["weight_decay"], rest["weight_decay"]) == (0.05, 0.0)
    for param in rest["params"]:
        assert "norm" in names[id(param)] or names[id(param)].endswith("bias")
    for param in decay["params"]:
        assert "norm" not in names[id(param)]
        assert not names[id(param)].endswith("bias")


def test_one_update_is_adamw_by_hand():
    model, optim = small_model(), OptimConfig(lr=0.1, weight_decay=0.5)
    optimizer = build_optimizer(model, optim)
    set_lr(optimizer, 0.01)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fake_gradients(model, 1)
    optimizer.step()
    for name, param in model.named_parameters():
        # after one step the bias-corrected moments are g and g^2
        decayed = before[name] * (1 - 0.01 * (0.5 if param.ndim >= 2 else 0.0))
        wanted = decayed - 0.01 * param.grad / (param.grad.abs() + optim.eps)
        torch.testing.assert_close(param.detach(), wanted)


def test_state_by_name_goes_there_and_back_bit_for_bit():
    model = small_model()
    optimizer = build_optimizer(model, OptimConfig())
    for seed in range(3):
        fake_gradients(model, seed)
        optimizer.step()
    kept = {name: value.clone() for name, value in optimizer_tensors(optimizer, model).items()}
    assert {name.rpartition("/")[2] for name in kept} == {"step", "exp_avg", "exp_avg_sq"}
    twin = small_model()
    twin.load_state_dict(model.state_dict())
    restored = build_optimizer(twin, OptimConfig())
    prepare_state(restored)
    places = optimizer_tensors(restored, twin)
    assert places.keys() == kept.keys()
    for name, place in places.items():
        place.copy_(kept[name])
    for model_, optimizer_ in ((model, optimizer), (twin, restored)):
        fake_gradients(model_, 9)
        optimizer_.step()
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
    again = optimizer_tensors(restored, twin)
    assert all(torch.equal(value, again[name]) for name, value in optimizer_tensors(optimizer, model).items())


def test_a_prepared_state_is_the_one_that_the_first_update_would_make():
    models = small_model(), small_model()
    lazy, prepared = (build_optimizer(model, OptimConfig()) for model in models)
    prepare_state(prepared)
    for seed in range(3):
        for model, optimizer in zip(models, (lazy, prepared), strict=True):
            fake_gradients(model, seed)
            optimizer.step()
    ours, theirs = optimizer_tensors(prepared, models[1]), optimizer_tensors(lazy, models[0])
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in theirs)
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True))
