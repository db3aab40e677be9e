"""What derivatives of the losses tell about a training step whose predictions are not known: fewer proofs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.core.random import FixedSeed, torch_seeded
from nextpatch.objective.objective import Claims, Draws
from nextpatch.patches import patchify
from nextpatch.tasks.check.observe import listed
from nextpatch.tasks.check.told import Verdict, some

Step = Callable[[Tensor, Draws], Tensor]


def run(step: Step, images: Tensor, draws: Draws) -> Tensor:
    """One step, always with the same random numbers: dropout and noise must not look like a dependence."""
    with torch_seeded(FixedSeed.FOREIGN_STEP):
        return step(images, draws)


@dataclass(frozen=True)
class _Place:
    """A place under one draw: its patch, those that its prediction may see, and those that its loss depends on."""

    name: str
    scored: bool
    target: int
    may_see: Bool[Tensor, " patches"]
    touched: Bool[Tensor, " patches"]

    @property
    def more(self) -> list[int]:
        """What it depends on and should not."""
        others = self.touched & ~self.may_see
        return [patch for patch in listed(others) if patch != self.target]

    @property
    def hidden(self) -> list[int]:
        """What it should depend on and does not."""
        return listed(self.may_see & ~self.touched)


def prove_losses(step: Step, claims: Claims, images: Tensor, patch_size: int, draws: Draws) -> list[Verdict]:
    """Each loss depends on its target and on what its prediction may see; `step` gives "batch places" of them."""
    singles = [draws.part(i, i + 1) for i in range(draws.batch_size)]
    places = [place for single in singles for place in _places(step, claims, images[:1], patch_size, single)]
    scored, words = [place for place in places if place.scored], claims.words
    ahead = words.inverted if any(place.hidden for place in scored) else words.leaking
    by_place: list[tuple[str, list[_Place], Callable[[_Place], str]]] = [
        ("every scored loss depends on its own target", scored, lambda place: _deaf(place, words.copying)),
        (f"and besides on {words.visible}, on nothing else", scored, lambda place: _misled(place, ahead)),
        (f"{words.scored} alone have a loss", places, _extra),
    ]
    return [
        Verdict(claim, next((reason for place in some_of if (reason := proof(place))), ""))
        for claim, some_of, proof in by_place
    ]


def _deaf(place: _Place, why: str) -> str:
    return "" if place.touched[place.target] else f"{place.name} does not depend on patch {place.target}: {why}"


def _misled(place: _Place, ahead: str) -> str:
    if place.more:
        return f"{place.name}, of patch {place.target}, depends on {some(place.more)}: {ahead}"
    return f"{place.name}, of patch {place.target}, does not depend on {some(place.hidden)}" if place.hidden else ""


def _extra(place: _Place) -> str:
    stray = bool(place.touched.any()) and not place.scored
    return f"{place.name} is not zero, although it is not scored" if stray else ""


def _places(step: Step, claims: Claims, image: Tensor, patch_size: int, draws: Draws) -> list[_Place]:
    touched, told = _touched(step, image, patch_size, draws), claims.told(draws)[0]
    scored, target, may_see = (f(draws)[0] for f in (claims.scored, claims.predicts, claims.may_see))
    if len(touched) < len(target):
        raise UserError(f"the step gave losses at {len(touched)} places, not at {len(target)}; give them all")
    return [
        _Place(f"with {told}, the loss at place {i}", bool(scored[i]), int(target[i]), may_see[i], touched[i])
        for i in range(len(target))
    ]


def _touched(step: Step, image: Tensor, patch_size: int, draws: Draws) -> Bool[Tensor, "places patches"]:
    """Which patches each loss depends on."""
    image = image.clone().requires_grad_()
    losses = run(step, image, draws)
    if losses.dim() != 2 or not losses.requires_grad:
        raise UserError("the step gives no losses of shape (batch, places); name the module that predicts as head")
    rows = [torch.autograd.grad(value, image, retain_graph=True, allow_unused=True)[0] for value in losses[0]]
    whole = [torch.zeros_like(image) if row is None else row for row in rows]
    return torch.stack([(patchify(row, patch_size)[0] != 0).any(dim=-1) for row in whole])
