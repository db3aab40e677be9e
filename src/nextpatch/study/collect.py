"""What a study has come to, read from its runs: their figures, and from these the verdict on every claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from nextpatch.config import ConfigError, from_dict
from nextpatch.core.errors import UserError
from nextpatch.core.reading import read_json
from nextpatch.measure.finetune_summary import FinetuneSummary
from nextpatch.measure.paired import established, slope
from nextpatch.measure.probe_result import PRETRAINED, Interval, ProbeResult
from nextpatch.measure.run_summary import RunHistory
from nextpatch.measure.study_result import (
    FINETUNE,
    VAL_LOSS,
    CheckpointScore,
    ClaimResult,
    SeedRun,
    StudyResult,
    VariantResult,
    lower_is_better,
)
from nextpatch.objective.cost import train_step_flops
from nextpatch.runs.logs import entries_of
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.results import read_probe
from nextpatch.study.config import Claim, StudyConfig, Variant
from nextpatch.study.kept import said, study_digest
from nextpatch.study.layout import Layout
from nextpatch.study.plan import Measurement, PlannedRun, images_of, measurements_of, run_flops, size_of
from nextpatch.study.work import RunWork
from nextpatch.study.works import result_file

Runs = Mapping[tuple[str, int], PlannedRun]


def result_of(
    study: StudyConfig, recipes: Mapping[str, Recipe], runs: Runs, layout: Layout,
    works: Mapping[str, RunWork], failures: Mapping[str, str], waiting: Mapping[str, str],
) -> StudyResult:  # fmt: skip
    """The study so far. `works` and `failures` are by the folder of a run: what is to be done, and why it failed;
    `waiting`: why a tokenizer is not there, by its name."""
    variants = []
    for variant in study.variants:
        planned = [(seed, runs.get((variant.name, seed))) for seed in study.seeds]
        found = [
            _not_planned(seed, waiting.get(variant.tokenizer, ""))
            if run is None
            else _seed_run(study, variant, run, layout, works, failures)
            for seed, run in planned
        ]
        variants.append(_variant(study, variant, recipes.get(variant.name), tuple(found)))
    return StudyResult(
        title=study.title, asks=study.asks, source=study.source, notes=study.notes, equal=study.equal,
        seeds=study.seeds, metrics=study.metrics, drawings=study.drawings, study_sha256=study_digest(study),
        variants=tuple(variants), claims=claims_of(study, variants),
    )  # fmt: skip


def claims_of(study: StudyConfig, variants: Sequence[VariantResult]) -> tuple[ClaimResult, ...]:
    """Every claim by every metric that it names, over the seeds of which all its variants are measured."""
    by_name = {variant.name: variant for variant in variants}
    return tuple(_judged(claim, metric, by_name, study.seeds) for claim in study.claims for metric in claim.by)


def _judged(claim: Claim, metric: str, variants: Mapping[str, VariantResult], seeds: Sequence[int]) -> ClaimResult:
    metrics = [claim.than_by if claim.than_by and name == claim.than else metric for name in claim.variants]
    sides = [variants[name].of(by) for name, by in zip(claim.variants, metrics, strict=True)]
    paired = [seed for seed in seeds if all(seed in side for side in sides)]
    sign = -1.0 if lower_is_better(metric) else 1.0
    differences = [sign * slope([side[seed] for side in sides]) for seed in paired]
    paper = [variants[name].paper.get(by) for name, by in zip(claim.variants, metrics, strict=True)]
    known = [figure for figure in paper if figure is not None]
    found = established(differences)
    kind: Literal["pair", "trend"] = "trend" if claim.trend else "pair"
    return ClaimResult(
        says=said(claim), where=claim.where, kind=kind, variants=claim.variants, by=metric, than_by=claim.than_by,
        seeds=tuple(paired), differences=tuple(differences), mean=found.mean, low=found.low, high=found.high,
        paper=sign * slope(known) if len(known) == len(paper) else None, verdict=found.verdict, because=found.because,
        missing=tuple(seed for seed in seeds if seed not in paired),
    )  # fmt: skip


def _variant(study: StudyConfig, variant: Variant, recipe: Recipe | None, runs: tuple[SeedRun, ...]) -> VariantResult:
    sizes: dict[str, Any] = {}
    if recipe is not None:
        trunk, head, total = size_of(recipe)
        per_image = train_step_flops(recipe.model, frozen_trunk=recipe.train.freeze_trunk)
        sizes = {"params_trunk": trunk, "params_head": head, "params": total, "flops_per_image": per_image,
                 "flops": run_flops(recipe), "steps": recipe.train.steps, "images": images_of(recipe),
                 "grid": recipe.model.grid, "order": recipe.model.order}  # fmt: skip
    return VariantResult(
        name=variant.name, about=variant.about or variant.name, values=variant.values, tokenizer=variant.tokenizer,
        probe=study.probe_of(variant), finetune=study.finetune_of(variant), metrics=study.metrics_of(variant),
        paper=variant.paper, runs=runs, **sizes,
    )  # fmt: skip


def _not_planned(seed: int, reason: str) -> SeedRun:
    return SeedRun(seed=seed, status="failed" if reason else "missing", reason=reason)


def _seed_run(
    study: StudyConfig, variant: Variant, run: PlannedRun, layout: Layout, works: Mapping[str, RunWork],
    failures: Mapping[str, str],
) -> SeedRun:  # fmt: skip
    """One run as far as it is, by what its variant measures of it."""
    path = layout.runs / run.folder
    history = _history(path / "metrics.jsonl")
    wanted = measurements_of(study, variant, run.seed)
    places = {one.digest: result_file(run, one, layout) for one in wanted}
    trained = works[run.folder].commands[0].done
    measured = all(place.is_file() for place in places.values())
    reason = failures.get(run.folder, "")
    done = trained and measured
    status: Literal["done", "failed", "running", "missing"] = (
        "done" if done else "failed" if reason else "running" if path.is_dir() else "missing"
    )
    base = SeedRun(
        seed=run.seed, status=status, reason="" if done else reason, run=run.folder, step=history.step,
        images=history.step * run.recipe.train.global_batch_size,
        val=tuple((entry.step, entry.loss) for entry in history.val),
        last_val=history.val[-1] if history.val else None,
        figures={VAL_LOSS: history.val[-1].loss} if trained and history.val else {},
    )  # fmt: skip
    for one in wanted:
        if places[one.digest].is_file():
            base = _with(base, one, places[one.digest])
    return base


def _with(run: SeedRun, measurement: Measurement, place: Path) -> SeedRun:
    """The run with what one measurement of it gave."""
    if measurement.kind == "finetune":
        tuned = _finetuned(place)
        return replace(
            run, figures={**run.figures, FINETUNE: tuned.test_top1},
            intervals={**run.intervals, FINETUNE: tuned.test_ci95},
        )  # fmt: skip
    found = _probed(place)
    if measurement.values["step"] != -1:
        earlier = CheckpointScore(measurement.values["step"], found.results)
        return replace(run, curve=(*run.curve, earlier))
    figures, intervals = accuracies(found)
    return replace(
        run, figures={**run.figures, **figures}, intervals={**run.intervals, **intervals}, scores=found.results,
        sweep=found.sweep,
    )  # fmt: skip


def accuracies(found: ProbeResult) -> tuple[dict[str, float], dict[str, Interval]]:
    """Test accuracy by kind of classifier, in percent, with its interval: on the features, for the most labels."""
    rows = [row for row in found.results if row.features == PRETRAINED and row.labels == found.most_labels]
    return {row.probe: row.test_top1 for row in rows}, {row.probe: row.test_ci95 for row in rows}


def _history(path: Path) -> RunHistory:
    return RunHistory.from_entries(entries_of(path))


@lru_cache(maxsize=4096)
def _probed(path: Path) -> ProbeResult:
    return read_probe(path, "remove it, and the study measures it again")


@lru_cache(maxsize=4096)
def _finetuned(path: Path) -> FinetuneSummary:
    remedy = "remove its folder, and the study measures it again"
    values = read_json(path, "the results of a fine-tuning", remedy, UserError)
    try:
        return from_dict(FinetuneSummary, values, str(path), extra_keys=True)
    except ConfigError as error:
        raise UserError(f"{error}; {remedy}") from None
