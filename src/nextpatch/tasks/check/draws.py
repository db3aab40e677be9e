"""Proofs about what chance decides: as many places are scored as is claimed, by the position in the run alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from nextpatch.objective.generate_draws import NOISE
from nextpatch.objective.objective import Draws, Objective, ScoresSoMany
from nextpatch.tasks.check.told import Verdict

_POSITIONS = 64
_SEEDS = (0, 1)


def prove_draws(objective: Objective) -> list[Verdict]:
    """Of an objective that claims to score the same number of places in every image, or to learn with noise; nothing of
    others.
    """
    proofs: list[tuple[str, Callable[[int], str]]] = []
    if isinstance(objective, ScoresSoMany):
        claim = f"every image has exactly {objective.scored_each} scored places, drawn by seed and position alone"
        proofs.append((claim, partial(_reason, objective, objective.scored_each)))
    if NOISE in objective.examples():
        claim = "the noise that a patch is learned with belongs to seed, position and place alone"
        proofs.append((claim, partial(_noise, objective)))
    return [Verdict(claim, next((reason for seed in _SEEDS if (reason := proof(seed))), "")) for claim, proof in proofs]


def _noise(objective: Objective, seed: int) -> str:
    positions = torch.arange(_POSITIONS)
    draws = objective.draw(seed, positions)
    if not _same(objective.draw(seed, positions.flip(0)), draws, positions.flip(0)):
        return f"with seed {seed} what is drawn for a position depends on the batch that it is in"
    if len(set(draws[NOISE].tolist())) < _POSITIONS:
        return f"with seed {seed} images at different positions have the same noise"
    return ""


def _reason(objective: Objective, each: int, seed: int) -> str:
    positions = torch.arange(_POSITIONS)
    draws = objective.draw(seed, positions)
    for position, count in enumerate(objective.scored(draws).sum(dim=1).tolist()):
        if count != each:
            return f"with seed {seed} the image at position {position} has {count}"
    if not _same(objective.draw(seed, positions.flip(0)), draws, positions.flip(0)):
        return f"with seed {seed} what is drawn for a position depends on the batch that it is in"
    if bool((objective.scored(draws) == objective.scored(draws)[:1]).all()):
        return f"with seed {seed} the same places are scored in all {_POSITIONS} images"
    return ""


def _same(found: Draws, whole: Draws, at: torch.Tensor) -> bool:
    return all(torch.equal(values, whole[name][at]) for name, values in found.items())
