"""The masked objective: what is drawn, what is refused, what it computes, and what check finds in a faulty one."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nextpatch.core.errors import ConfigError
from nextpatch.data.config import DataConfig
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.count import count_params
from nextpatch.model.init import init_weights
from nextpatch.objective.cost import train_step_flops
from nextpatch.objective.masked import MASKED, Masked, draw_masked, with_masked
from nextpatch.objective.objective import Draws
from nextpatch.runs.checkpoint import save_checkpoint
from nextpatch.runs.config import OptimConfig, TrainConfig
from nextpatch.runs.export import export_model
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir
from nextpatch.tasks.check.verdict import check_objective
from nextpatch.train.optimizer import build_optimizer
from nextpatch.weights.load import load
from nextpatch.weights.snapshot import save_snapshot

SMALL: dict[str, Any] = {
    "img_size": (12, 20), "patch_size": 4, "in_chans": 2, "embed_dim": 32, "depth": 3, "num_heads": 2,
    "head_width": 32, "head_depth": 2,
}  # fmt: skip
per_head = pytest.mark.parametrize("head", ["mlp", "none", "transformer"])


def config(**values: Any) -> ModelConfig:
    return ModelConfig("nano", **{**SMALL, "objective": "masked", **values})


def built(**values: Any) -> AIM:
    model = AIM(config(**values))
    init_weights(model, 0)
    return model


@pytest.mark.parametrize(("ratio", "count"), [(0.5, 8), (0.75, 11), (0.04, 1), (0.96, 14)])
def test_so_many_patches_are_masked_in_each_image_whatever_its_batch(ratio: float, count: int) -> None:
    objective, positions = Masked(config(mask_ratio=ratio)), torch.arange(40)
    drawn = objective.draw(3, positions)[MASKED]
    assert drawn.sum(dim=1).tolist() == [count] * 40 == [objective.scored_each] * 40
    assert torch.equal(objective.draw(3, positions.flip(0))[MASKED], drawn.flip(0))
    assert torch.equal(objective.draw(3, torch.tensor([7]))[MASKED], drawn[7:8])
    assert not torch.equal(objective.draw(4, positions)[MASKED], drawn)


def test_every_pair_of_patches_is_masked_equally_often() -> None:
    drawn = draw_masked(0, torch.arange(4000), 6, 3).double()
    together = (drawn.T @ drawn) / 4000
    wanted = torch.full((6, 6), 3 / 6 * 2 / 5).fill_diagonal_(3 / 6).double()
    assert (together - wanted).abs().max() < 4 * (0.25 / 4000) ** 0.5


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"mask_ratio": 0.01}, "mask_ratio 0.01 hides none of 15 patches; give one that hides 1 to 14"),
        ({"mask_ratio": 0.99}, "hides all of 15 patches"),
        ({"attention": "causal"}, "the objective masked is bidirectional, and attention is causal"),
        ({"order": "spiral"}, "order spiral changes nothing in the objective masked"),
        (
            {"objective": "next_patch", "mask_ratio": 0.75},
            "0.75 changes nothing in the objective next_patch",
        ),
        ({"objective": "next_patch", "attention": "bidirectional"}, "would see the patches that it predicts"),
    ],
)
def test_what_contradicts_the_objective_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        config(**values)


def test_attention_is_bidirectional_and_another_image_size_keeps_a_ratio_that_fits() -> None:
    assert config().attention == "bidirectional"
    small = config(mask_ratio=0.95).resized((4, 8))
    assert (small.num_patches, small.num_masked) == (2, 1)
    assert config(mask_ratio=0.6).resized((8, 20)).mask_ratio == 0.6


def test_the_mask_token_is_there_only_where_patches_are_masked_and_does_not_decay() -> None:
    model, plain = built(), built(objective="next_patch")
    extra = dict(model.named_parameters()).keys() - dict(plain.named_parameters()).keys()
    assert extra == {"mask_token.token"}
    assert count_params(model.cfg).total == sum(p.numel() for p in model.parameters())
    assert count_params(model.cfg).mask_token == 32
    for name, values in plain.named_parameters():  # runs of one seed can be compared
        assert torch.equal(values, model.get_parameter(name))
    assert model.mask_token is not None
    token = model.mask_token.token.detach()
    assert 0.5 * 0.02 < float(token.std()) < 1.5 * 0.02
    assert any(model.mask_token.token is p for p in build_optimizer(model, OptimConfig()).param_groups[1]["params"])


@per_head
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_the_loss_of_masked_places_is_the_plain_one_for_its_counted_operations(head: str, ratio: float) -> None:
    model, images = built(head=head, mask_ratio=ratio), torch.randn(2, 2, 12, 20)
    objective = Masked(model.cfg)
    draws = objective.draw(0, torch.arange(2))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        packed = objective.loss_sum(model, images, draws)
        packed.backward()
    assert counter.get_total_flops() == 2 * train_step_flops(model.cfg)
    torch.testing.assert_close(packed, objective.position_losses(model, images, draws).sum(), rtol=1e-5, atol=0)


class Leaking(Masked):
    """The masked tokens are those of the patches."""

    def predict(self, model: AIM, images: Tensor, draws: Draws) -> Tensor:
        return super().predict(model, images, with_masked(torch.zeros_like(draws[MASKED])))


class Partly(Masked):
    """The first masked patch still shows."""

    def predict(self, model: AIM, images: Tensor, draws: Draws) -> Tensor:
        fewer = draws[MASKED].clone()
        fewer[torch.arange(len(fewer)), fewer.int().argmax(dim=1)] = False
        return super().predict(model, images, with_masked(fewer))


class EveryPlace(Masked):
    """All places are scored."""

    def compare(self, predicted: Tensor, wanted: Tensor, draws: Draws) -> Tensor:
        return self.goal.target.losses(predicted, wanted)


class AnyNumber(Masked):
    """Each patch is masked or not for itself."""

    def draw(self, seed: int, positions: Tensor) -> Draws:
        return with_masked(torch.rand(len(positions), 15, generator=torch.Generator().manual_seed(seed)) < 0.5)


class ByBatch(Masked):
    """What is masked depends on the place in the batch."""

    def draw(self, seed: int, positions: Tensor) -> Draws:
        return super().draw(seed, torch.arange(len(positions)))


@pytest.mark.parametrize(
    ("kind", "claim", "reason"),
    [
        (Leaking, "no scored prediction sees any masked patch", "masked patch"),
        (Partly, "no scored prediction sees any masked patch", "masked patch"),
        (EveryPlace, "exactly the masked patches are scored", "scored although given"),
        (AnyNumber, "every image has exactly 8 scored places", "with seed 0 the image at position"),
        (ByBatch, "every image has exactly 8 scored places", "depends on the batch"),
    ],
)
def test_a_faulty_one_is_noticed(kind: type[Masked], claim: str, reason: str) -> None:
    model = built()
    failed = {v.claim: v.reason for v in check_objective(kind(model.cfg), model) if v.reason}
    [found] = [told for said, told in failed.items() if said.startswith(claim)]
    assert reason in found or reason == "masked patch"


@per_head
def test_the_mask_token_goes_with_what_predicts_and_not_with_features(head: str, tmp_path: Path) -> None:
    model = built(head=head)
    train = TrainConfig(1, global_batch_size=2, micro_batch_size=2, precision="fp32", device="cpu")
    run = RunDir.create(tmp_path / "run", Recipe(model.cfg, DataConfig(train=("photos",), workers=0), train=train))
    save_checkpoint(run.checkpoints, 1, {"model": model.state_dict()}, {"step": 1})
    objective, images = Masked(model.cfg), torch.randn(2, 2, 12, 20)
    draws = objective.draw(0, torch.arange(2))
    loss = objective.loss_sum(model, images, draws)
    backbone = load(run.path)
    save_snapshot(backbone, tmp_path / "snapshot")
    features = load(tmp_path / "snapshot" / "model.safetensors")
    assert features.aim.mask_token is None
    for layout in ("ours", "released"):
        export_model(run, tmp_path / f"{layout}.safetensors", layout=layout)
    for weights in ("run", "ours.safetensors", "released.safetensors", "snapshot"):
        found = load(tmp_path / weights).aim
        assert found.cfg.resolved() == model.cfg.resolved()
        assert torch.equal(objective.loss_sum(found, images, draws), loss), weights
        assert torch.equal(found(images)["post_trunk_norm"], features.aim(images)["post_trunk_norm"])


def test_the_picture_of_the_page_is_of_these_masks() -> None:
    root = Path(__file__).parents[2]
    drawn = runpy.run_path(str(root / "runs" / "draw_masks.py"))["drawing"]()
    assert (root / "docs" / "masks.svg").read_text() == drawn
