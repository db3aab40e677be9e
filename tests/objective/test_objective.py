"""The seam: what every objective is, and what chance draws, sample by sample."""

from __future__ import annotations

import pytest
import torch

from losses import targets
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.objective.objective import Draws, Objective, grey, scored_count, scored_patches
from nextpatch.objective.registry import objective_of
from nextpatch.patches import patchify

CFG = ModelConfig("nano", (16, 24), 8, 3, embed_dim=32, depth=2, num_heads=2, head_width=16, head_depth=1)


@pytest.fixture(params=[{}, {"attention": "causal"}, {"target": "pixels"}], ids=str)
def objective(request) -> Objective:
    return objective_of(ModelConfig(**{**CFG.__dict__, **request.param}))


def model() -> AIM:
    built = AIM(CFG)
    init_weights(built, 0)
    return built


def test_what_the_registry_gives_is_an_objective(objective):
    assert isinstance(objective, Objective)
    assert objective.unit


def test_draws_depend_on_seed_and_position_alone(objective):
    whole, part = objective.draw(7, torch.arange(12)), objective.draw(7, torch.arange(4, 9))
    assert whole.batch_size == 12
    assert all(torch.equal(whole.part(4, 9)[name], part[name]) for name in whole)


def test_the_sum_is_that_of_the_places_and_only_scored_ones_count(objective):
    images, draws = torch.randn(5, 3, 16, 24), objective.draw(1, torch.arange(5))
    losses, scored = objective.position_losses(model(), images, draws), objective.scored(draws)
    assert losses.shape == scored.shape == (5, len(objective.places))
    assert bool((losses[~scored] == 0).all())
    assert scored_count(objective, draws) == int(scored.sum())
    torch.testing.assert_close(objective.loss_sum(model(), images, draws), losses.sum())
    parts = [objective.loss_sum(model(), images[i : i + 1], draws.part(i, i + 1)) for i in range(5)]
    torch.testing.assert_close(torch.stack(parts).sum(), losses.sum())


def test_nothing_that_is_given_is_scored(objective):
    draws = objective.draw(3, torch.arange(6))
    given = objective.given(draws)[:, objective.places.start : objective.places.stop]
    assert not bool((given & objective.scored(draws)).any())


def test_the_baseline_looks_at_nothing(objective):
    draws = objective.draw(3, torch.arange(2))
    guess = objective.baseline()
    one, other = (torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    assert not list(guess.parameters())
    losses = objective.position_losses(guess, one, draws)
    assert losses.shape == (2, len(objective.places))
    assert not torch.equal(losses, objective.position_losses(guess, other, draws))


def test_a_loss_is_the_score_of_a_prediction(objective):
    images, draws = torch.randn(4, 3, 16, 24), objective.examples()
    predicted = objective.predict(model(), images[: draws.batch_size], draws)
    scored = objective.score(model(), predicted, images[: draws.batch_size], draws)
    assert torch.equal(scored, objective.position_losses(model(), images[: draws.batch_size], draws))


def test_no_scored_place_may_see_its_patch_and_no_scored_patch_is_given(objective):
    for draws in (objective.examples(), objective.draw(3, torch.arange(6)), objective.showcase(2)):
        own = objective.may_see(draws).gather(2, objective.predicts(draws)[..., None])[..., 0]
        assert not bool((own & objective.scored(draws)).any())
        assert not bool((scored_patches(objective, draws) & objective.given(draws)).any())
        assert len(objective.told(draws)) == draws.batch_size


def patches_and_scored(objective, images, draws):
    return patchify(images, CFG.patch_size), scored_patches(objective, draws)


def test_the_target_in_full_is_the_image(objective):
    images, draws = torch.randn(2, 3, 16, 24), objective.showcase(2)
    torch.testing.assert_close(objective.target(images, draws), images)


def test_a_completion_changes_what_is_scored_alone(objective):
    images, draws = torch.randn(2, 3, 16, 24), objective.showcase(2)
    true, scored = patches_and_scored(objective, images, draws)
    done = patchify(objective.complete(model(), images, draws).detach(), CFG.patch_size)
    assert torch.equal(done[~scored], true[~scored])
    assert bool((done[scored] != true[scored]).any(dim=-1).all())


def test_what_guessing_completes_is_the_mean_of_each_patch_or_of_the_data(objective):
    images, draws = torch.randn(2, 3, 16, 24), objective.showcase(2)
    true, scored = patches_and_scored(objective, images, draws)
    done = patchify(objective.complete(objective.baseline(), images, draws), CFG.patch_size)[scored]
    mean = true[scored].mean(dim=-1, keepdim=True) if objective.words.left_out else torch.zeros(1)
    torch.testing.assert_close(done, mean.expand_as(done))


def test_a_fill_stands_for_what_the_target_leaves_out(objective):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    images, draws = torch.randn(2, 3, 16, 24), objective.showcase(2)
    true, scored = patches_and_scored(objective, images, draws)
    drawn = objective.target(images, draws, grey(mean, std))
    pixels = patchify(drawn * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1), CFG.patch_size)
    if objective.words.left_out:
        torch.testing.assert_close(pixels[scored], 0.5 + 0.25 * targets(true[scored], "norm_pixels"))
    else:
        assert torch.equal(drawn, images)


def test_draws_are_one_entry_a_sample():
    with pytest.raises(ValueError, match="one entry for each sample"):
        Draws({"prefix_len": torch.ones(3), "seed": torch.ones(2)})
