"""Variants side by side: our figures with each seed, the paper's beside them, and the claims' differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nextpatch.measure.study_result import (
    FINETUNE,
    VAL_LOSS,
    ClaimResult,
    StudyResult,
    VariantResult,
    digits,
    signed,
)
from nextpatch.study.spread import spread
from nextpatch.tasks.report.charts import Chart
from nextpatch.tasks.report.dots import DotRow, dot_chart

_OTHER_LOSS = ("target", "objective", "patch_size", "img_size", "in_chans")  # of the model: their losses are not alike
_PAPER_TONE, _OUR_TONE = 4, 1


@dataclass(frozen=True)
class Comparison:
    """A metric by its name in words; `paper` is a chart of its own, because its scale is another."""

    metric: str
    title: str
    ours: Chart | None
    paper: Chart | None


def comparisons(result: StudyResult) -> list[Comparison]:
    """One per metric that can be compared among the variants, the loss last."""
    found = []
    for metric in sorted(result.metrics, key=lambda name: name == VAL_LOSS):
        if metric == VAL_LOSS and not comparable_losses(result):
            continue
        ours = dot_chart(
            f"Ours: {metric_name(metric)}", axis_name(metric), [_our_row(v, metric) for v in result.variants]
        )
        rows = [_paper_row(v, metric) for v in result.variants if metric in v.paper]
        paper = dot_chart(f"The paper's: {metric_name(metric)}", axis_name(metric), rows)
        found.append(Comparison(metric, metric_name(metric), ours, paper))
    return found


def claim_charts(claims: Sequence[ClaimResult]) -> list[Chart]:
    """The claims' differences with their intervals, by their numbers: accuracies in one chart, losses in another."""
    numbered = list(enumerate(claims, 1))
    groups = [
        ("Differences in accuracy", "points; to the right: as claimed", [p for p in numbered if p[1].by != VAL_LOSS]),
        ("Differences in loss", "loss; to the right: as claimed", [p for p in numbered if p[1].by == VAL_LOSS]),
    ]
    charts = [
        dot_chart(title, label, [_claim_row(*pair) for pair in group], reference=0.0) for title, label, group in groups
    ]
    return [chart for chart in charts if chart]


def comparable_losses(result: StudyResult) -> bool:
    """Whether the losses of all variants are of the same thing."""
    kinds = {
        repr([variant.tokenizer, *(variant.values.get("model", {}).get(name) for name in _OTHER_LOSS),
              variant.values.get("data", {}).get("val")])
        for variant in result.variants
    }  # fmt: skip
    return len(kinds) == 1


def metric_name(metric: str) -> str:
    """A metric for people."""
    return {VAL_LOSS: "validation loss", FINETUNE: "low-rank adaptation", "knn": "nearest neighbors"}.get(
        metric, f"{metric} probe"
    )


def axis_name(metric: str) -> str:
    """What the axis of a metric is called."""
    return "validation loss, lower is better" if metric == VAL_LOSS else "test accuracy, %"


def written(value: float, metric: str) -> str:
    """A figure as text."""
    return f"{value:.{digits(metric)}f}"


def _our_row(variant: VariantResult, metric: str) -> DotRow:
    name, found = variant.about or variant.name, spread(list(variant.of(metric).values()))
    if found is None:
        return DotRow(name, _why_none(variant, metric))
    text = written(found.mean, metric)
    if found.interval:
        text += f" ({written(found.interval[0], metric)} to {written(found.interval[1], metric)})"
    missing = len(variant.runs) - len(found.values)
    text += f" · {len(found.values)}/{len(variant.runs)} seeds" if missing else ""
    return DotRow(name, text, found.mean, found.interval, found.values, _OUR_TONE)


def _why_none(variant: VariantResult, metric: str) -> str:
    if metric not in variant.metrics:
        return "not measured"
    states = [run.status for run in variant.runs]
    return next((state for state in ("failed", "running") if state in states), "not measured yet")


def _paper_row(variant: VariantResult, metric: str) -> DotRow:
    value = variant.paper[metric]
    return DotRow(variant.about or variant.name, written(value, metric), value, tone=_PAPER_TONE)


def _claim_row(number: int, claim: ClaimResult) -> DotRow:
    interval = None if claim.low is None or claim.high is None else (claim.low, claim.high)
    value = f"{signed(claim.mean, claim.by)}: {claim.verdict}" if claim.differences else claim.verdict
    return DotRow(f"{number}, {metric_name(claim.by)}", value, claim.mean, interval, claim.differences, _OUR_TONE)
