"""Proofs about the objective of generation: ours hold, on new weights too, and each known fault is told in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nextpatch.model.config import ModelConfig
from nextpatch.model.low_res import LowRes
from nextpatch.model.start import Started
from nextpatch.objective.generate import Generate
from nextpatch.objective.generate_draws import NOISE, ORDER
from nextpatch.objective.objective import Draws
from nextpatch.patches import patchify
from nextpatch.tasks.check.verdict import check_objective, model_to_check
from variants import SMALL, Generating, built

FLOW = {**SMALL, "img_size": (4, 6), "head": "flow"}


class ComparesWithTheLast(Generate):
    """Output p against the patch that is its own token."""

    def _losses(self, model: Any, predicted: Tensor, wanted: Tensor, draws: Draws) -> Tensor:
        return super()._losses(model, predicted, wanted.roll(1, dims=1), draws)


class LooksAhead(Generate):
    """All tokens see each other."""

    def _mask(self, draws: Draws, device: torch.device) -> Tensor | None:
        return None


class PermutesTheLossAlone(Generate):
    """Targets follow the order of the image, the sequence does not."""

    def _started(self, patches: Tensor, draws: Draws, around: Tensor | None) -> Started:
        return Started(patches[:, :-1], torch.arange(patches.shape[1]), None, around)


class ScoresAll(Generate):
    """Known patches too, in the plain loss."""

    def _losses(self, model: Any, predicted: Tensor, wanted: Tensor, draws: Draws) -> Tensor:
        noise = self._noise(draws, predicted.device)
        return self.goal.losses(model, predicted, self._in_order(wanted, draws), noise)


class NoiseOfTheBatch(Generate):
    """Noise is counted along the batch."""

    def draw(self, seed: int, positions: Tensor) -> Draws:
        return Draws({**super().draw(seed, positions), NOISE: torch.arange(len(positions)) + seed})


class OneNoise(Generate):
    """All images are learned with the same noise."""

    def draw(self, seed: int, positions: Tensor) -> Draws:
        return Draws({**super().draw(seed, positions), NOISE: torch.full_like(positions, seed)})


FAULTS = {
    ComparesWithTheLast: "the shift by the start token is missing",
    LooksAhead: "the attention mask lets it look ahead",
    PermutesTheLossAlone: "sees patch",
    ScoresAll: "scored although given",
    NoiseOfTheBatch: "depends on the batch that it is in",
    OneNoise: "images at different positions have the same noise",
}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"order": "any", "attention": "causal", "classes": 3},
        {"order": "known_first"},
        {"upscale": 2, "img_size": (6, 8), "paper_loss": 1.0},
    ],
)
def test_new_weights_hold_every_proof_though_their_gates_are_closed(values: dict[str, Any]) -> None:
    model, _ = model_to_check(ModelConfig(**{**FLOW, **values}))
    verdicts = check_objective(Generate(model.cfg), model)
    assert [verdict for verdict in verdicts if not verdict.holds] == []
    assert any("noise" in verdict.claim for verdict in verdicts)


@pytest.mark.parametrize("faulty", FAULTS)
def test_a_fault_is_told(faulty: type[Generate]) -> None:
    order = {"order": "any"} if faulty is PermutesTheLossAlone else {}
    cfg = ModelConfig(**FLOW, **order)
    objective = faulty(cfg)
    assert (ORDER in objective.examples()) == bool(order)
    reasons = [verdict.reason for verdict in check_objective(objective, built(cfg)) if not verdict.holds]
    assert any(FAULTS[faulty] in reason for reason in reasons), reasons


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda told, images: told, ""),
        (lambda told, images: told + patchify(images, 2)[..., :1].sign(), "it is told a larger image"),
        (lambda told, images: torch.zeros_like(told), "output 0 does not follow the low-resolution image of patch 0"),
    ],
)
def test_what_is_told_of_a_small_image_is_all_of_it_and_no_more(
    fault: Callable[[Tensor, Tensor], Tensor], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(ModelConfig(**{**FLOW, "img_size": (6, 8), "attention": "causal"}, upscale=2))
    of = LowRes.of
    whole = lambda self, images: fault(of(self, images), images)  # noqa: E731
    monkeypatch.setattr(LowRes, "of", torch.no_grad()(whole))
    reasons = [verdict.reason for verdict in check_objective(Generate(model.cfg), model) if not verdict.holds]
    assert (reasons == []) == (said == "")
    assert all(said in reason for reason in reasons), reasons


OF_OTHERS: list[tuple[str, type[Generate]]] = [
    ("diffusion", ComparesWithTheLast),
    ("diffusion", LooksAhead),
    ("density", ComparesWithTheLast),
    ("density", LooksAhead),
    ("density", ScoresAll),
    ("kmeans", ComparesWithTheLast),
    ("kmeans", LooksAhead),
]


@pytest.mark.parametrize(("head", "faulty"), OF_OTHERS)
def test_a_fault_is_told_with_every_head(
    head: str, faulty: type[Generate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = Generating(head, "any", "prefix", "").config(tmp_path, monkeypatch)
    reasons = [verdict.reason for verdict in check_objective(faulty(cfg), built(cfg)) if not verdict.holds]
    assert any(FAULTS[faulty] in reason for reason in reasons), reasons
