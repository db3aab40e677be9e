"""All proofs hold for every variant of the model and the objective; the default suite takes a few, `-m slow` all."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextpatch.objective.registry import objective_of
from nextpatch.tasks.check.verdict import check_objective
from variants import Generating, Variant, built, per_generating, per_variant


@per_variant
def test_all_proofs_hold(variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(variant.config(tmp_path, monkeypatch))
    verdicts = check_objective(objective_of(model.cfg), model)
    assert [verdict for verdict in verdicts if verdict.reason] == []
    assert len(verdicts) == 9 + 2 * variant.tokens + (variant.attention == "masked")


@per_generating
def test_all_proofs_hold_for_what_generates(
    variant: Generating, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(variant.config(tmp_path, monkeypatch))
    verdicts = check_objective(objective_of(model.cfg), model)
    assert [verdict for verdict in verdicts if verdict.reason] == []
    assert len(verdicts) == 9 + 2 * (model.cfg.target == "tokens") + model.cfg.is_distribution
