"""All proofs hold for every variant of the model and the objective; the default suite takes a few, `-m slow` all."""

from __future__ import annotations

from nextpatch.objective.registry import objective_of
from nextpatch.tasks.check.verdict import check_objective
from variants import Variant, built, per_variant


@per_variant
def test_all_proofs_hold(variant: Variant) -> None:
    model = built(variant)
    verdicts = check_objective(objective_of(model.cfg), model)
    assert [verdict for verdict in verdicts if verdict.reason] == []
    assert len(verdicts) == 9 + (variant.attention == "masked")
