"""Completions show exactly what was given and what was predicted from true patches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from losses import patch_losses, targets
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.model.names import DRAWN_ORDERS, ORDERS
from nextpatch.objective.masked import MASKED, Masked
from nextpatch.objective.next_patch import PREFIX_LEN, NextPatch
from nextpatch.patches import patchify
from nextpatch.tasks.report.features import overlay, principal_colors
from nextpatch.tasks.report.pictures import Completion, complete

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def config(target: str = "norm_pixels", order: str = "raster") -> ModelConfig:
    return ModelConfig(
        "nano", (16, 24), 8, 3, embed_dim=32, depth=2, num_heads=2, head_width=16, head_depth=1, target=target,
        order=order,
    )  # fmt: skip


class Oracle(AIM):
    """Predicts the next patch of the sequence perfectly."""

    def predict(self, patches: Tensor, mask: Tensor | None, *places: Tensor | None) -> Tensor:
        return targets(patches, self.cfg.target).roll(-1, dims=1)


def images() -> tuple[Tensor, Tensor]:
    """(in [0, 1], as the model takes them)."""
    shown = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    return shown, (shown - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)


def completed(model: AIM, inputs: Tensor) -> Completion:
    objective = NextPatch(model.cfg)
    return complete(objective, model, inputs, objective.showcase(len(inputs)), MEAN, STD)


@pytest.mark.parametrize("target", ["norm_pixels", "pixels"])
def test_a_perfect_prediction_with_its_statistics_back_is_the_image(target: str) -> None:
    shown, inputs = images()
    done = completed(Oracle(config(target)), inputs)
    torch.testing.assert_close(done.restored, shown, atol=1e-5, rtol=0)
    assert max(done.loss) < 1e-10
    assert min(done.mean_guess_loss) > 0.1


def test_only_the_prefix_is_shown_as_seen() -> None:
    shown, inputs = images()
    done = completed(Oracle(config()), inputs)
    torch.testing.assert_close(done.seen[:, :, :8], shown[:, :, :8], atol=1e-6, rtol=0)
    assert bool((done.seen[:, :, 8:] == 0.5).all())
    assert bool((done.predicted[:, :, :8] == 0.5).all())


@pytest.mark.parametrize("order", [name for name in ORDERS if name not in DRAWN_ORDERS])  # that is drawn for each image
def test_a_completion_in_any_order_stands_where_its_patches_are(order: str) -> None:
    """The prefix is of the first places of the sequence, and what was predicted lies at its own place."""
    shown, inputs = images()
    done = completed(Oracle(config(order=order)), inputs)
    torch.testing.assert_close(done.restored, shown, atol=1e-5, rtol=0)
    known = (patchify(done.seen, 8) != 0.5).any(dim=-1)
    assert set(known[0].nonzero().flatten().tolist()) == set(ORDERS[order]((2, 3), 0)[:3].tolist())
    torch.testing.assert_close(patchify(done.seen, 8)[known], patchify(shown, 8)[known], atol=1e-6, rtol=0)
    assert bool((patchify(done.predicted, 8)[known] == 0.5).all())


class Recalling(AIM):
    """Gives every patch as it is, masked or not."""

    def predict(self, patches: Tensor, *places: Tensor | None) -> Tensor:
        return targets(patches, self.cfg.target)


@pytest.mark.parametrize("target", ["norm_pixels", "pixels"])
def test_of_a_masked_model_what_is_masked_is_completed(target: str) -> None:
    shown, inputs = images()
    model = Recalling(replace(config(target), objective="masked"))
    objective = Masked(model.cfg)
    draws = objective.showcase(len(inputs))
    done, masked = complete(objective, model, inputs, draws, MEAN, STD), draws[MASKED]
    torch.testing.assert_close(done.restored, shown, atol=1e-5, rtol=0)
    assert max(done.loss) < 1e-10
    seen, predicted = patchify(done.seen, 8), patchify(done.predicted, 8)
    torch.testing.assert_close(seen[~masked], patchify(shown, 8)[~masked], atol=1e-6, rtol=0)
    assert bool((seen[masked] == 0.5).all())
    assert bool((predicted[~masked] == 0.5).all())


def test_losses_are_those_of_the_model() -> None:
    model = AIM(config())
    init_weights(model, 0)
    _, inputs = images()
    with torch.no_grad():
        done = completed(model, inputs)
        per_patch = patch_losses(model, inputs, torch.full((2,), 3))
    torch.testing.assert_close(torch.tensor(done.loss), per_patch.sum(dim=1) / 3, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("size", "prefix"), [((16, 16), 2), ((8, 32), 2), ((32, 8), 2), ((8, 16), 1)])
def test_the_shown_prefix_is_half_and_never_empty_or_all(size: tuple[int, int], prefix: int) -> None:
    assert NextPatch(ModelConfig("nano", size, 8, 1)).showcase(3)[PREFIX_LEN].tolist() == [prefix] * 3


def test_principal_colors_tell_two_kinds_of_patches_apart() -> None:
    features = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0)) * 0.01
    features[:, ::2] += torch.randn(16, generator=torch.Generator().manual_seed(1))
    colors, explained = principal_colors(features, (2, 3))
    first = colors[:, 0].flatten(1)
    assert explained[0] > 0.9
    assert (first[:, ::2].mean() - first[:, 1::2].mean()).abs() > 0.8


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_overlay_is_brightest_where_the_weight_is(channels: int) -> None:
    weights = torch.zeros(2, 3)
    weights[1, 2] = 1
    painted = overlay(torch.full((channels, 16, 24), 0.5), weights)
    assert painted.shape == (3, 16, 24)
    assert painted[:, 8:, 16:].sum(0).min() > painted[:, :8].sum(0).max()
