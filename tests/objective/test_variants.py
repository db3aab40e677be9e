"""Loss and gradients of every variant against one plain float64 implementation, tests/reference_variants.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import reference_variants as reference
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.orders import order_of
from nextpatch.objective.next_patch import NextPatch
from nextpatch.objective.objective import Draws, Objective
from nextpatch.objective.registry import objective_of
from nextpatch.tokenizer.kmeans import KMeansTokenizer
from nextpatch.tokenizer.tokenizer import open_tokenizer
from variants import SMALL, Variant, built, images_of, per_variant

BATCH, TOLERANCE = 3, 1e-10


def order_by_definition(cfg: ModelConfig) -> list[int]:
    if cfg.order == "random":
        drawn = order_of(cfg)
        assert drawn is not None
        return drawn.tolist()
    if cfg.order == "raster":
        return list(range(cfg.num_patches))
    return {"spiral": reference.spiral, "checkerboard": reference.checkerboard}[cfg.order](*cfg.grid)


def codes_of(cfg: ModelConfig, images: Tensor) -> list[list[int]]:
    """By the nearest center, or whatever a tokenizer says that looks at whole images; none for pixels."""
    if cfg.target != "tokens":
        return []
    tokenizer = open_tokenizer(Path(cfg.tokenizer))
    if not isinstance(tokenizer, KMeansTokenizer):
        return tokenizer.encode(images.float()).tolist()
    return reference.nearest(reference.patchify(images, cfg.patch_size), tokenizer.centers.double(), tokenizer.norm)


def theirs(
    model: AIM, images: Tensor, given: list[list[int]]
) -> tuple[dict[tuple[int, int], Tensor], Tensor, dict[str, Tensor]]:
    """Of the reference: the loss of each scored patch, their mean, and its gradients."""
    cfg = model.cfg
    state = {name: tensor.detach().clone().requires_grad_() for name, tensor in model.state_dict().items()}
    how = reference.Setting(
        cfg.patch_size, cfg.grid, cfg.num_heads, cfg.head_width * cfg.num_heads // cfg.embed_dim,
        order_by_definition(cfg), "masked" if cfg.objective == "masked" else cfg.attention, cfg.head, cfg.target,
    )  # fmt: skip
    found = reference.losses(state, images, given, how, codes_of(cfg, images))
    mean = torch.stack([*found.values()]).mean()
    gradients = torch.autograd.grad(mean, list(state.values()))
    return found, mean, dict(zip(state, gradients, strict=True))


def ours(model: AIM, pieces: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of the losses and its gradients."""
    model.zero_grad()
    for piece in pieces:
        piece.backward()
    return sum(piece.detach() for piece in pieces), {name: p.grad.clone() for name, p in model.named_parameters()}


def off(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.detach() - theirs.detach()).norm() / theirs.detach().norm())


def deviations(model: AIM) -> dict[str, float]:
    """Relative, of what we compute from what the reference does: losses, their mean and its gradients by each path."""
    objective, images = objective_of(model.cfg), images_of(model.cfg, BATCH)
    draws = objective.draw(5, torch.arange(BATCH))
    given = [row.nonzero().flatten().tolist() for row in objective.given(draws)]
    losses, mean, gradients = theirs(model, images, given)
    assert len(losses) == int(objective.scored(draws).sum())
    wanted = [
        torch.stack([losses.get((image, patch), torch.zeros(())) for patch in patches])
        for image, patches in enumerate(objective.predicts(draws).tolist())
    ]
    found = {"losses": off(objective.position_losses(model, images, draws), torch.stack(wanted))}
    for path, pieces in paths(objective, model, images, draws).items():
        value, own = ours(model, [piece / len(losses) for piece in pieces])
        assert own.keys() == gradients.keys()
        found |= {f"{path} {name}": off(own[name], gradients[name]) for name in own}
        found[path] = off(value, mean)
    return found


@per_variant
def test_losses_and_gradients_are_the_references(
    variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextpatch.objective.targets.cross_entropy.PIECE", 21)  # three rows of seven codes
    found = deviations(built(variant.config(tmp_path, monkeypatch)))
    assert {name: value for name, value in found.items() if not value <= TOLERANCE} == {}


def paths(objective: Objective, model: AIM, images: Tensor, draws: Draws) -> dict[str, list[Tensor]]:
    """The summed loss by the plain formulation, packed, and packed in micro-batches of unequal sizes."""
    cut = [slice(0, 1), slice(1, BATCH)]
    return {
        "plain": [objective.position_losses(model, images, draws).sum()],
        "packed": [objective.loss_sum(model, images, draws)],
        "cut": [objective.loss_sum(model, images[part], draws.part(part.start, part.stop)) for part in cut],
    }


SPIRAL = ModelConfig(**SMALL, img_size=(4, 6), order="spiral", target="pixels")


def by_turn(self: NextPatch, length: int, device: torch.device) -> tuple[None, None]:
    """Positions of the turns, as in raster order."""
    return None, None


def of_inverse(self: NextPatch, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The order's inverse in place of the order, for positions alone."""
    turn = self._turn()
    return turn[:length], turn[:length]


@pytest.mark.parametrize("fault", [by_turn, of_inverse])
def test_positions_of_the_turn_in_place_of_the_place_are_noticed(
    fault: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NextPatch, "_positions", fault)
    assert min(deviations(built(SPIRAL)).values()) > 1e-4


@pytest.mark.parametrize("part", ["patch_embed", "head"])
def test_positions_that_are_right_in_one_of_trunk_and_head_alone_are_noticed(part: str) -> None:
    model = built(SPIRAL)
    module = getattr(model, part)
    module.positions = module.positions[torch.tensor(order_by_definition(SPIRAL)).argsort()]
    assert deviations(model)["losses"] > 1e-4
