"""A study's results made up for tests of its page: figures that mean nothing, in every state that a run can have."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nextpatch.measure.paired import established
from nextpatch.measure.probe_result import LayerScore, ProbeScore
from nextpatch.measure.run_summary import ValEntry
from nextpatch.measure.study_result import CheckpointScore, ClaimResult, SeedRun, StudyResult, VariantResult

SEEDS = (0, 1, 2)
METRICS = ("val_loss", "attentive", "linear")
SOURCE = "Table 3b, Figure 4, Figure 5, Figure 6, Figure 7, Figure 9, Figure 10"
ALL_DRAWINGS = ("val_curve", "probe_curve", "loss_over_flops", "chunks", "rows", "layers")


def score(step: int, top1: float) -> CheckpointScore:
    row = ProbeScore(
        labels=10, features="pre-trained", probe="attentive", test_top1=top1, test_ci95=(top1 - 1, top1 + 1)
    )
    return CheckpointScore(step, (row, replace(row, features="random init", test_top1=1.0)))


def seed_run(name: str, seed: int, level: float, metrics: Sequence[str] = METRICS) -> SeedRun:
    """A finished run whose accuracies lie about `level`."""
    rng = random.Random(f"{name} {seed}")
    top1 = level + rng.uniform(-0.4, 0.4)
    figures = {"val_loss": 0.5 - top1 / 400, "attentive": top1, "linear": top1 - 4, "finetune": top1 + 3}
    loss = figures["val_loss"]
    steps = range(0, 1501, 300)
    return SeedRun(
        seed=seed, status="done", run=f"{name}-{seed}", step=1500, images=96_000,
        figures={metric: figures[metric] for metric in metrics},
        val=tuple((step, loss + 0.3 * 0.998**step) for step in steps),
        last_val=ValEntry(
            step=1500, loss=loss, chunk_loss=(None, *(loss + rng.uniform(-0.05, 0.05) for _ in range(6))),
            position_loss=tuple(loss + rng.uniform(-0.05, 0.05) for _ in range(48)),
            flipped_position_loss=tuple(loss + rng.uniform(-0.05, 0.05) for _ in range(48)),
        ),
        sweep=tuple(
            LayerScore(labels=10, probe="attentive", layers=f"block_{block}", select_top1=top1 - (block - 4) ** 2)
            for block in range(6)
        ),
        curve=(score(500, top1 - 6), score(1000, top1 - 2)),
    )  # fmt: skip


def variant(name: str, about: str, level: float, values: dict[str, Any], paper: dict[str, float]) -> VariantResult:
    return VariantResult(
        name=name, about=about, values=values, metrics=METRICS, paper=paper, params_trunk=2_654_208,
        params_head=1_769_472, params=4_436_000, flops_per_image=1.1e9 * (1 + len(name) / 10),
        flops=1.1e9 * 96_000 * (1 + len(name) / 10), steps=1500, images=96_000, grid=(7, 7),
        order=values.get("model", {}).get("order", "raster"), runs=tuple(seed_run(name, seed, level) for seed in SEEDS),
    )  # fmt: skip


def claim(better: VariantResult, than: VariantResult, by: str) -> ClaimResult:
    sign = -1 if by == "val_loss" else 1
    first, second = better.of(by), than.of(by)
    differences = tuple(sign * (first[seed] - second[seed]) for seed in first if seed in second)
    found = established(differences)
    paper = better.paper[by] - than.paper[by] if by in better.paper and by in than.paper else None
    return ClaimResult(
        says=f"{better.about} is better than {than.about}", where="Table 3b", kind="pair",
        variants=(than.name, better.name), by=by, seeds=tuple(seed for seed in first if seed in second),
        differences=differences, mean=found.mean, low=found.low, high=found.high, paper=paper, verdict=found.verdict,
        because=found.because, missing=tuple(seed for seed in SEEDS if seed not in first or seed not in second),
    )  # fmt: skip


def finished(drawings: tuple[str, ...] = ALL_DRAWINGS, source: str = SOURCE) -> StudyResult:
    """Every run done: one claim of attentive probes holds, one is reversed, one is not established."""
    orders = [
        variant("raster", "raster", 78.0, {}, {"linear": 69.5, "attentive": 77.4}),
        variant("spiral", "spiral", 75.0, {"model": {"order": "spiral"}}, {"linear": 67.7, "attentive": 76.3}),
        variant("board", "checkerboard", 81.0, {"model": {"order": "board"}}, {"linear": 68.2, "attentive": 76.0}),
        variant("random", "fixed <random>", 78.0, {"model": {"order": "random"}}, {"linear": 65.8, "attentive": 75.7}),
    ]  # fmt: skip
    claims = [claim(orders[0], other, by) for other in orders[1:] for by in ("attentive", "linear", "val_loss")]
    return StudyResult(
        title="Order of the patches", asks="Which order of the patches gives the best features?", source=source,
        notes=("Small images of clothing, not ImageNet.",), seeds=SEEDS, metrics=METRICS, drawings=drawings,
        variants=tuple(orders), claims=tuple(claims),
    )  # fmt: skip


def under_way() -> StudyResult:
    """The second variant failed once and is running once, the third has not begun."""
    whole = finished()
    first, second, third, fourth = whole.variants
    begun = SeedRun(seed=2, status="running", run="spiral-2", step=300, val=((0, 0.9), (300, 0.6)))
    failed = SeedRun(seed=1, status="failed", reason="no space left on <disk>", run="spiral-1", step=40)
    second = replace(second, runs=(second.runs[0], failed, begun))
    third = replace(third, runs=tuple(SeedRun(seed=seed) for seed in SEEDS))
    claims = [claim(first, other, by) for other in (second, third, fourth) for by in ("attentive", "val_loss")]
    return replace(whole, variants=(first, second, third, fourth), claims=tuple(claims))


def not_begun() -> StudyResult:
    """Nothing is there but the plan."""
    whole = finished()
    variants = tuple(replace(v, runs=tuple(SeedRun(seed=seed) for seed in SEEDS)) for v in whole.variants)
    claims = tuple(claim(variants[0], other, "attentive") for other in variants[1:])
    return replace(whole, variants=variants, claims=claims)
