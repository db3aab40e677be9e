"""The paper's loss beside a distribution's: the same trunk and sequence, two heads, each with its own loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nextpatch.core.errors import ConfigError
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.count import count_params
from nextpatch.model.init import init_weights
from nextpatch.model.start import Started
from nextpatch.objective.cost import train_step_flops
from nextpatch.objective.generate import Generate
from nextpatch.objective.generate_draws import KNOWN
from nextpatch.objective.next_patch import NextPatch, with_prefix
from nextpatch.objective.objective import Draws
from nextpatch.patches import patchify
from nextpatch.runs.recipe import Recipe, recipe_digest
from nextpatch.tasks.check.verdict import check_objective, model_to_check
from variants import SMALL, built, images_of

BOTH = {**SMALL, "img_size": (4, 6), "head": "flow", "paper_loss": 0.25}
KINDS: dict[str, dict[str, Any]] = {
    "flow, spiral": {"order": "spiral"},
    "diffusion, any order, causal": {"head": "diffusion", "order": "any", "attention": "causal"},
    "density": {"head": "density"},
}
per_kind = pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)


@pytest.mark.parametrize("order", ["raster", "checkerboard"])
def test_from_the_second_patch_on_it_is_the_papers_loss_of_the_papers_head(order: str) -> None:
    """The same features through a head of `next_patch` with the same weights, compared by that objective."""
    cfg = ModelConfig(**BOTH, order=order)
    model, images, draws = built(cfg), images_of(cfg, 3), Draws({KNOWN: torch.tensor([1, 2, 5])})
    objective, paper = Generate(cfg), built(ModelConfig(**SMALL, img_size=(4, 6), order=order))
    draws = Draws({**objective.draw(0, torch.arange(3)), **draws})
    head = {name.removeprefix("paper_"): value for name, value in model.state_dict().items() if name[:6] == "paper_"}
    paper.load_state_dict({**paper.state_dict(), **head})
    next_patch = NextPatch(paper.cfg)
    sequence = next_patch._sequence()
    started = Started(patchify(images, 2)[:, sequence[:-1]], sequence)
    tokens = model._start().sequence(model.patch_embed, started)
    features = model.trunk(tokens, objective._mask(draws, images.device))["post_trunk_norm"][:, 1:]
    outputs = paper.head(features, sequence[:-1], sequence[1:], torch.zeros_like(sequence[1:]))
    wanted = next_patch.compare(
        torch.cat([outputs, outputs[:, :1]], dim=1), next_patch.wanted(images), with_prefix(draws[KNOWN])
    )
    found = objective.place_values(model, images, draws)["paper_loss"]
    torch.testing.assert_close(found[:, 1:], wanted, rtol=1e-12, atol=0)


@per_kind
def test_the_loss_is_both_and_the_distributions_is_what_it_is_alone(values: dict[str, Any]) -> None:
    cfg, images = ModelConfig(**{**BOTH, **values}), torch.randint(0, 256, (3, 3, 4, 6)).double() / 255
    model, alone = built(cfg), built(replace(cfg, paper_loss=0.0))
    alone.load_state_dict({name: model.state_dict()[name] for name in alone.state_dict()})
    objective, draws = Generate(cfg), Generate(cfg).draw(1, torch.arange(3))
    found = {name: value.detach() for name, value in objective.place_values(model, images, draws).items()}
    own = Generate(alone.cfg).position_losses(alone, images, draws).detach()
    torch.testing.assert_close(found["loss"], own + 0.25 * found["paper_loss"], rtol=1e-12, atol=0)
    assert torch.equal(found["paper_loss"] != 0, objective.scored(draws))
    means = {"paper_loss": float(found["paper_loss"].sum())}
    figures = objective.figures(float(found["loss"].sum()), means)
    assert figures["distribution_loss"] == pytest.approx(float(own.sum()))
    assert figures["paper_loss"] == means["paper_loss"]
    if cfg.head == "density":
        assert figures["bits_per_dim"] == pytest.approx(
            Generate(alone.cfg).figures(float(own.sum()), {})["bits_per_dim"]
        )


@per_kind
def test_every_proof_holds_and_both_heads_are_counted(values: dict[str, Any]) -> None:
    cfg = ModelConfig(**{**BOTH, **values})
    model, _ = model_to_check(cfg)
    assert [verdict for verdict in check_objective(Generate(model.cfg), model) if not verdict.holds] == []
    model = AIM(cfg)
    init_weights(model, 0)
    assert count_params(cfg).total == sum(parameter.numel() for parameter in model.parameters())
    draws = Draws({**Generate(cfg).draw(0, torch.arange(2)), KNOWN: torch.tensor([2, 2])})
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        Generate(cfg).loss_sum(model, torch.randint(0, 256, (2, 3, 4, 6)) / 255, draws).backward()
    assert counter.get_total_flops() == 2 * train_step_flops(cfg, 4)


class ComparesWithTheLast(Generate):
    """The paper's head is compared with the patch of its own token."""

    def place_values(self, *given: Any) -> Any:
        raise NotImplementedError

    def _losses(self, model: Any, predicted: Any, wanted: Any, draws: Draws) -> Any:
        own, late = super()._losses(model, predicted, wanted, draws), wanted.roll(1, dims=1)
        paper = self.goal.beside(predicted, self._in_order(late, draws))["paper_loss"]
        right = self.goal.beside(predicted, self._in_order(wanted, draws))["paper_loss"]
        return own + 0.25 * (paper - right) * self.scored(draws)


def test_a_paper_head_that_copies_is_told() -> None:
    cfg = ModelConfig(**BOTH)
    reasons = [v.reason for v in check_objective(ComparesWithTheLast(cfg), built(cfg)) if not v.holds]
    assert any("it must be one" in reason for reason in reasons), reasons


def test_everything_else_begins_as_without_it_and_recipes_stay_as_they_were() -> None:
    cfg = ModelConfig(**BOTH)
    both, alone = AIM(cfg), AIM(replace(cfg, paper_loss=0.0))
    for model in (both, alone):
        init_weights(model, 0)
    ours, theirs = both.state_dict(), alone.state_dict()
    assert {name.split(".")[0] for name in ours.keys() - theirs} == {"paper_head"}
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert recipe_digest(Recipe(model=alone.cfg)) != recipe_digest(Recipe(model=cfg))
    with pytest.raises(ConfigError, match="beside that of a head that is a distribution"):
        ModelConfig(paper_loss=1.0)
