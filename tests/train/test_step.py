"""One optimizer step: one denominator, clipping, and stopping before a bad update."""

from dataclasses import replace

import pytest
import torch

from losses import patch_losses, prefix_lengths, scored_count
from nextpatch.data.loader import Batch
from nextpatch.dist.ranks import ALONE
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.objective.next_patch import NextPatch, with_prefix
from nextpatch.train.compute import Compute
from nextpatch.train.step import Share, accumulate_gradients, describe_trouble, gradient_norm, update

CFG = ModelConfig(
    size="nano", img_size=(12, 16), patch_size=4, in_chans=1, embed_dim=16, depth=2, num_heads=2, head_width=16,
    head_depth=1,
)  # fmt: skip
COMPUTE = Compute(torch.device("cpu"), "fp32", (0.5,), (0.25,))


def small_model() -> AIM:
    model = AIM(CFG)
    init_weights(model, 0)
    return model


def batch_of(count: int, start: int = 0) -> Batch:
    images = torch.randint(0, 256, (count, 1, *CFG.img_size), generator=torch.Generator().manual_seed(start))
    positions = torch.arange(start, start + count)
    return Batch(images.to(torch.uint8), positions, torch.full((count,), -1), [f"{i}.png" for i in positions.tolist()])


def accumulated(model: AIM, batch: Batch, prefix_len: torch.Tensor, size: int, compute: Compute = COMPUTE) -> Share:
    scored = scored_count(prefix_len, model.cfg.num_patches)
    return accumulate_gradients(NextPatch(model.cfg), model, batch, with_prefix(prefix_len), scored, size, compute)


def gradients(micro_batch_size: int) -> tuple[float, dict[str, torch.Tensor]]:
    model, batch = small_model(), batch_of(10)
    share = accumulated(model, batch, prefix_lengths(CFG, 0, batch.positions), micro_batch_size)
    return float(share.total()), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("micro_batch_size", [1, 2, 3, 7, 64])
def test_loss_and_gradients_do_not_depend_on_the_cut(micro_batch_size):
    whole_loss, whole = gradients(10)
    loss, cut = gradients(micro_batch_size)
    assert loss == pytest.approx(whole_loss, rel=1e-6)
    for name, grad in whole.items():
        assert (cut[name] - grad).norm() <= 1e-6 * grad.norm(), name


def test_the_loss_is_the_mean_over_scored_patches_of_the_global_batch():
    model, batch = small_model(), batch_of(5)
    prefix_len = prefix_lengths(CFG, 0, batch.positions)
    assert len(set(prefix_len.tolist())) > 1  # else a mean of means would pass too
    losses = patch_losses(model, COMPUTE.inputs(batch.images), prefix_len).detach()
    loss = accumulated(model, batch, prefix_len, 2).total()
    assert float(loss) == pytest.approx(float(losses.sum() / (losses > 0).sum()), rel=1e-5)


def test_prefixes_follow_the_position_in_the_run():
    a, b = torch.arange(0, 8), torch.arange(4, 12)
    assert torch.equal(prefix_lengths(CFG, 1, a)[4:], prefix_lengths(CFG, 1, b)[:4])
    assert not torch.equal(prefix_lengths(CFG, 1, a), prefix_lengths(CFG, 2, a))


def test_causal_pre_training_scores_all_but_the_first_patch():
    causal = replace(CFG, attention="causal")
    assert prefix_lengths(causal, 0, torch.arange(3)).tolist() == [1, 1, 1]


def test_gradients_are_clipped_by_their_global_norm():
    model, batch = small_model(), batch_of(4)
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    before = [p.detach().clone() for p in model.parameters()]
    accumulated(model, batch, prefix_lengths(CFG, 0, batch.positions), 4)
    norm = float(gradient_norm(model))
    assert norm > 0.01
    update(model, sgd, norm, 0.01)
    moved = torch.stack([(a - b.detach()).norm() for a, b in zip(before, model.parameters(), strict=True)]).norm()
    assert float(moved) == pytest.approx(0.01, rel=1e-3)


def test_trouble_names_the_images_of_the_micro_batch_whose_loss_is_not_finite():
    batch = batch_of(10)
    share = Share([torch.tensor(1.0), torch.tensor(float("nan"))])
    said = describe_trouble("loss nan", 7, share, [batch.keys[:5], batch.keys[5:]], ALONE)
    assert said == "step 7: loss nan; the loss is not finite for: 5.png, 6.png, 7.png, 8.png, 9.png"


def test_trouble_names_the_batch_when_no_loss_is_to_blame():
    batch = batch_of(10)
    share = Share([torch.tensor(1.0), torch.tensor(1.0)])
    said = describe_trouble("gradient norm inf", 7, share, [batch.keys[:5], batch.keys[5:]], ALONE)
    assert said.startswith("step 7: gradient norm inf; the batch: 0.png, 1.png")
    assert said.endswith("7.png and 2 more")


def test_causal_loss_is_the_mean_over_every_patch_but_the_first():
    causal = replace(CFG, attention="causal")
    model = AIM(causal)
    init_weights(model, 0)
    batch = batch_of(4)
    prefix_len = prefix_lengths(causal, 0, batch.positions)
    loss = accumulated(model, batch, prefix_len, 3).total()
    losses = patch_losses(model, COMPUTE.inputs(batch.images), prefix_len, "causal").detach()
    assert float(loss) == pytest.approx(float(losses.mean()), rel=1e-5)


def test_bfloat16_gives_float32_loss_and_gradients_near_those_of_float32():
    model, batch = small_model(), batch_of(6)
    prefix_len = prefix_lengths(CFG, 0, batch.positions)
    loss = accumulated(model, batch, prefix_len, 6, replace(COMPUTE, precision="bf16")).total()
    wide = small_model()
    wanted = accumulated(wide, batch, prefix_len, 6).total()
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(wanted), rel=1e-2)
    for (name, ours), theirs in zip(model.named_parameters(), wide.parameters(), strict=True):
        assert ours.grad.dtype == torch.float32
        assert (ours.grad - theirs.grad).norm() <= 0.05 * theirs.grad.norm(), name
