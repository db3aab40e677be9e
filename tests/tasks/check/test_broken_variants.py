"""Faults in our own variants are found and named: in what is masked, in a head's attention, in whose codes it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.transformer import TransformerHead
from nextpatch.objective.masked import MASKED, Masked
from nextpatch.objective.next_patch import NextPatch
from nextpatch.objective.objective import Draws, Objective
from nextpatch.tasks.check.verdict import check_objective
from tokenizers_made import of_tokens
from variants import SMALL, built

SHOWN = {**SMALL, "img_size": (4, 6)}
MASKING = ModelConfig(**SHOWN, objective="masked", target="pixels")
NEXT = ModelConfig(**SHOWN, order="spiral", target="pixels")


def reasons(objective: Objective, model: AIM) -> str:
    return "\n".join(verdict.reason for verdict in check_objective(objective, model) if verdict.reason)


class Leaking(Masked):
    """One masked patch keeps its embedding."""

    def predict(self, model: AIM, images: Tensor, draws: Draws) -> Tensor:
        masked = draws[MASKED].clone()
        masked[torch.arange(len(masked)), masked.int().argmax(dim=1)] = False
        return super().predict(model, images, Draws({MASKED: masked}))


class Exchanged(Masked):
    """The patches that should be seen are masked, and the others are shown."""

    def predict(self, model: AIM, images: Tensor, draws: Draws) -> Tensor:
        return super().predict(model, images, Draws({MASKED: ~draws[MASKED]}))


class EverywhereScored(Masked):
    """A loss at visible places too."""

    def compare(self, predicted: Tensor, wanted: Tensor, draws: Draws) -> Tensor:
        return self.goal.target.losses(predicted, wanted)


class NextPlace(Masked):
    """Each output against the patch after its own."""

    def compare(self, predicted: Tensor, wanted: Tensor, draws: Draws) -> Tensor:
        return super().compare(predicted, wanted.roll(-1, dims=1), draws)


class TooFew(Masked):
    """The number of masked patches is drawn too."""

    def draw(self, seed: int, positions: Tensor) -> Draws:
        masked = super().draw(seed, positions)[MASKED]
        masked[torch.arange(len(masked)), masked.int().argmax(dim=1)] &= positions % 2 == 0
        return Draws({MASKED: masked})


MASKED_FAULTS = {
    Leaking: r"must predict patch \d+ but sees patch \d+: masked patches still show",
    Exchanged: "what is masked and what is not are exchanged",
    EverywhereScored: "scored although given",
    NextPlace: r"output \d+ is compared with patch \d+",
    TooFew: r"with seed 0 the image at position 1 has 2",
}


@pytest.mark.parametrize("kind", MASKED_FAULTS, ids=lambda kind: kind.__name__)
def test_a_fault_in_masking_is_named(kind: type[Masked]) -> None:
    text = reasons(kind(MASKING), built(MASKING))
    assert re.search(MASKED_FAULTS[kind], text), text
    assert "shift" not in text
    assert "prefix" not in text


@pytest.mark.parametrize("attention", ["prefix", "causal"])
def test_a_head_that_attends_without_the_mask_leaks(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = ModelConfig(**SHOWN, order="spiral", target="pixels", head="transformer", attention=attention)
    hidden = TransformerHead.hidden
    monkeypatch.setattr(TransformerHead, "hidden", lambda self, *at: hidden(self, *at[:4], None))
    assert "the attention mask lets it look ahead" in reasons(NextPatch(cfg), built(cfg))


def test_a_head_that_attends_without_the_mask_in_training_alone_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks before the last run on whole sequences there too."""
    cfg = ModelConfig(**SHOWN, target="pixels", head="transformer")
    hidden_rows = TransformerHead.hidden_rows
    monkeypatch.setattr(TransformerHead, "hidden_rows", lambda self, *at: hidden_rows(self, *at[:4], None, *at[5:]))
    assert "the losses differ" in reasons(NextPatch(cfg), built(cfg))


class Inverse(NextPatch):
    """The order's inverse in place of the order, and claims that are right."""

    def _in_sequence(self, of_patches: Tensor) -> Tensor:
        return of_patches[:, self._turn()]


def test_the_inverse_of_an_order_is_named() -> None:
    assert "the sequence follows the inverse of the order" in reasons(Inverse(NEXT), built(NEXT))


def flipped(images: Tensor) -> Tensor:
    return images.flip(3)


def kept(images: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(images.shape[1:], generator=generator).to(images).expand_as(images)


@pytest.mark.parametrize("kind", ["kmeans", "dvae"])
@pytest.mark.parametrize(
    ("view", "reason"), [(flipped, "codes are those of another view"), (kept, "codes are kept from elsewhere")]
)
@pytest.mark.parametrize("objective", ["next_patch", "masked"])
def test_codes_of_another_view_are_named(
    objective: str, view: Callable[[Tensor], Tensor], reason: str, kind: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    cfg = of_tokens({**SHOWN, "objective": objective}, tmp_path, monkeypatch, kind=kind)
    plain: Any = Masked if objective == "masked" else NextPatch

    class OtherView(plain):  # type: ignore[misc]
        def wanted(self, images: Tensor) -> Tensor:
            return super().wanted(view(images))

    text = reasons(OtherView(cfg), built(cfg))
    assert reason in text
    assert "compared" not in text
