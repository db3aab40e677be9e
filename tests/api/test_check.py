"""Whatever is examined is held to the same proofs, and stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nextpatch
from nextpatch.core.errors import UserError
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.objective.next_patch import NextPatch
from nextpatch.patches import patchify
from nextpatch.runs.recipe import Recipe

SMALL = ModelConfig(
    "nano", (8, 12), 4, 1, embed_dim=16, depth=1, num_heads=2, head_width=16, head_depth=1
)  # fmt: skip


def test_ours_in_every_form_holds_and_is_not_changed(nano_run: nextpatch.PretrainResult) -> None:
    model = nano_run.load()
    before = model.digest()
    forms: dict[str, Any] = {
        "run": nano_run,
        "model": model,
        "aim": model.aim,
        "config": SMALL,
        "recipe": Recipe(SMALL),
    }
    for form in forms.values():
        found = nextpatch.check(form, quiet=True)
        assert found
        assert all(verdict.holds for verdict in found.verdicts)
    assert nextpatch.check(NextPatch(SMALL), model=SMALL, quiet=True).conclusion == found.conclusion
    assert model.digest() == before


class Step:
    """Everyone predicts a patch from itself and those before it; `shift` 0 asks for the patch that is seen."""

    def __init__(self, shift: int) -> None:
        self.shift = shift
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.mix, self.head = nn.Linear(16, 16).double(), nn.Linear(16, 16).double()

    def __call__(self, images: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
        patches = patchify(images, 4)
        seen = self.mix(patches).tanh().cumsum(1)
        predicted = self.head(seen[:, : patches.shape[1] - self.shift])
        error = (predicted - patches[:, self.shift :]).square().mean(-1)
        kept = torch.arange(error.shape[1]) >= draws["prefix_len"][:, None] - self.shift
        return (error * kept).sum() / kept.sum()


def test_a_step_of_another_make_is_told_apart_by_its_shift() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 8, 12), np.uint8)
    for shift, words in ((1, "hold"), (0, "fail")):
        step = Step(shift)
        claims = NextPatch(ModelConfig("nano", (8, 12), 4, 1, target="pixels", attention="causal"))
        found = nextpatch.check(step, images=pixels, patch_size=4, head=step.head, claims=claims, quiet=True)
        assert bool(found) is (shift == 1), found
        assert words in found.conclusion
        assert "NEXT" in str(found)
        assert "<table>" in found._repr_html_()


@pytest.mark.parametrize(
    ("target", "told"), [(AIM(SMALL, pixel_head=False), "no head"), ("nowhere", "no recipe"), (Step(1), "images=")]
)
def test_what_cannot_be_examined_is_told(target: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        nextpatch.check(target, quiet=True)
