"""Claims are judged by differences within each seed, in the direction that the metric has, never by means alone."""

from __future__ import annotations

from typing import Any

import pytest

from nextpatch.measure.study_result import ClaimResult, SeedRun, StudyResult, VariantResult
from nextpatch.study.collect import claims_of
from nextpatch.study.config import StudyConfig
from studies_made import small

PROBE = {"data": "demo:test", "probes": ["linear", "attentive"]}


def judged(claim: dict[str, Any], figures: dict[str, list[float]], **paper: float) -> ClaimResult:
    """The result of one claim by one metric, on figures of each variant by seed."""
    study, variants = made(claim, figures, paper)
    (found,) = claims_of(study, variants)
    return found


def made(
    claim: dict[str, Any], figures: dict[str, list[float]], paper: dict[str, float]
) -> tuple[StudyConfig, list[VariantResult]]:
    longest = max(len(values) for values in figures.values())
    study = small(variants={name: {} for name in figures}, probe=PROBE, claims=[claim], seeds=list(range(longest)))
    variants = [
        VariantResult(
            name=name, about=name, paper={claim["by"]: paper[name]} if name in paper else {},
            runs=tuple(SeedRun(seed=seed, figures={claim["by"]: value}) for seed, value in enumerate(values)),
        )
        for name, values in figures.items()
    ]  # fmt: skip
    return study, variants


PAIR = {"better": "a", "than": "b"}


def test_pairing_sees_what_the_spread_over_seeds_hides() -> None:
    figures = {"a": [60.0, 70.0, 80.0], "b": [59.0, 68.9, 78.8]}
    found = judged({**PAIR, "by": "linear"}, figures, a=70.0, b=68.5)
    assert found.differences == pytest.approx((1.0, 1.1, 1.2))
    assert found.verdict == "holds"
    assert found.paper == pytest.approx(1.5)


@pytest.mark.parametrize(("by", "verdict"), [("linear", "holds"), ("val_loss", "reversed")])
def test_losses_are_better_when_they_are_lower(by: str, verdict: str) -> None:
    found = judged({**PAIR, "by": by}, {"a": [3.0, 3.1, 3.3], "b": [2.0, 2.0, 2.1]})
    assert found.verdict == verdict
    assert (found.mean or 0) > 0 if verdict == "holds" else (found.mean or 0) < 0


def test_only_seeds_of_which_both_are_measured_count() -> None:
    found = judged({**PAIR, "by": "linear"}, {"a": [3.0, 4.0, 5.0], "b": [2.0]})
    assert found.seeds == (0,)
    assert found.missing == (1, 2)
    assert (found.verdict, found.because) == ("not established", "one seed has no interval")


def test_a_trend_is_the_slope_along_the_list() -> None:
    figures = {"small": [60.0, 61.0, 62.0], "base": [61.0, 61.5, 63.1], "large": [62.0, 63.1, 64.0]}
    found = judged({"trend": ["small", "base", "large"], "by": "linear"}, figures, small=1.0, base=2.0, large=5.0)
    assert found.differences == pytest.approx((1.0, 1.05, 1.0))
    assert found.paper == pytest.approx(2.0)
    assert found.verdict == "holds"


def test_sides_may_be_measured_differently() -> None:
    """Table 8: fine-tuning against the probe."""
    probe, tuned = {"data": "demo:test", "probes": ["attentive"]}, {"data": "demo:test"}
    claim = {"better": "a", "by": "finetune", "than": "a2", "than_by": "attentive"}
    study = small(variants={"a": {"finetune": tuned}, "a2": {}}, probe=probe, claims=[claim])
    runs = tuple(
        SeedRun(seed=seed, figures={"attentive": 70.0 + seed, "finetune": 75.0 + 1.5 * seed}) for seed in (0, 1)
    )
    (found,) = claims_of(study, [VariantResult(name=name, about=name, runs=runs) for name in ("a", "a2")])
    assert found.differences == (5.0, 5.5)


def test_a_result_is_read_back_as_it_was() -> None:
    study, variants = made({**PAIR, "by": "linear"}, {"a": [1.0, 2.0], "b": [0.5, 1.0]}, {})
    result = StudyResult(
        title="t", seeds=study.seeds, metrics=study.metrics, variants=tuple(variants), claims=claims_of(study, variants)
    )
    assert StudyResult.from_dict(result.to_dict()) == result
    assert "not established at this scale" in str(result)
