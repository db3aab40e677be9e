"""What a study's page draws beside its table: Figures 4, 5, 6, 7, 9 and 10 as the paper has them, of our runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean

from nextpatch.measure.probe_result import PRETRAINED
from nextpatch.measure.study_result import VAL_LOSS, SeedRun, StudyResult, VariantResult
from nextpatch.study.spread import Curve, curve, shown_runs, spread
from nextpatch.tasks.report.charts import Chart, Series, line_chart
from nextpatch.tasks.report.depth import depth_sweep

_TONES = 6
_PETA = 1e15


@dataclass(frozen=True)
class Drawing:
    """A chart by the name of its file, with what it shows in words, and what the paper says of its own."""

    name: str
    chart: Chart
    shows: str
    paper: str


def drawings(result: StudyResult) -> list[Drawing]:
    """The drawings that the study asks for, as far as there are figures for them."""
    return [drawn for name in result.drawings for drawn in _DRAWN[name](result)]


def _val_curve(result: StudyResult) -> list[Drawing]:
    """Figures 4 (left) and 5."""
    lines = _lines(result, lambda run: dict(run.val))
    return _drawing(
        "val-curve", "Validation loss over training", "optimizer steps", "validation loss", lines,
        "Loss on held-out images, the same for all variants.",
        {"Figure 4": "the loss falls with the size of the model, and still falls after 500,000 steps",
         "Figure 5": "on ImageNet-1k alone the loss rises again towards the end; on DFN-2B it does not but ends near; "
         "the mixture ends lowest"},
        result,
    )  # fmt: skip


def _probe_curve(result: StudyResult) -> list[Drawing]:
    """Figure 4 (right): one chart per kind of probe."""
    kinds = [metric for metric in result.metrics if any(_probed(run, metric) for _, run in _all_runs(result))]
    return [
        found
        for kind in kinds
        for found in _drawing(
            f"{kind}-curve", f"Accuracy over training, {kind} probe", "optimizer steps", "test accuracy, %",
            _lines(result, partial(_probed, kind=kind), markers=True),
            "The probe of the frozen features at several checkpoints.",
            {"Figure 4": "accuracy rises with the size of the model and with the length of its training"}, result,
        )
    ]  # fmt: skip


def _loss_over_flops(result: StudyResult) -> list[Drawing]:
    """Figure 6: one line per length of training, a point per size."""
    lines = []
    for number, steps in enumerate(sorted({variant.steps for variant in result.variants})):
        points = [
            (variant.flops / _PETA, found)
            for variant in sorted(result.variants, key=lambda variant: variant.flops)
            if variant.steps == steps and (found := spread(list(variant.of(VAL_LOSS).values())))
        ]
        band = [(min(found.values), max(found.values)) for _, found in points]
        losses = [found.mean for _, found in points]
        lines.append(Series(f"{steps:,} steps", [x for x, _ in points], losses, _tone(number), True, intervals=band))
    return _drawing(
        "loss-over-operations", "Final loss over operations", "operations of the training, 10¹⁵ (log scale)",
        "validation loss", lines, "One point per size of the model; bars reach from the lowest to the highest seed.",
        {"Figure 6": "the operations spent, on a larger model or on more steps, go with the final loss"}, result,
        log_x=True,
    )  # fmt: skip


def _chunks(result: StudyResult) -> list[Drawing]:
    """Figure 7."""
    lines = _lines(result, lambda run: _numbered(run.last_val.chunk_loss if run.last_val else None), markers=True)
    return _drawing(
        "chunks", "Loss along the sequence", "chunk of the sequence", "validation loss", lines,
        "The sequence in equal chunks, in the order in which each variant goes through the image.",
        {"Figure 7": "in raster order the loss is spread evenly; in orders where it falls along the sequence the "
         "features are worse"},
        result,
    )  # fmt: skip


def _rows(result: StudyResult) -> list[Drawing]:
    """Figure 9: upright and upside down, each variant in a chart of its own; those in raster order alone have one."""
    found = []
    for variant in result.variants:
        lines = []
        for flipped, name in enumerate(("upright", "upside down")):
            points = [p for run in shown_runs(variant) if (p := _by_row(variant, run, bool(flipped)))]
            lines.append(_series(name, flipped, curve(points), True))
        found += _drawing(
            f"rows-{variant.name}", f"Loss of each row of patches, {_name(variant)}", "row, from the top",
            "validation loss", lines, "The same images, as they are and flipped from top to bottom.",
            {"Figure 9": "rows at the top of ImageNet's images are easier, the first aside, also when they are upside "
             "down: what they show is easier"},
            result,
        )  # fmt: skip
    return found


def _layers(result: StudyResult) -> list[Drawing]:
    """Figure 10: one chart per kind of probe."""
    kinds = [metric for metric in result.metrics if any(_by_block(run, metric) for _, run in _all_runs(result))]
    return [
        found
        for kind in kinds
        for found in _drawing(
            f"{kind}-layers", f"Accuracy by block, {kind} probe", "block", "selection accuracy, %",
            _lines(result, partial(_by_block, kind=kind), markers=True),
            "Measured on the images that blocks are chosen by, which are no test images.",
            {"Figure 10": "the best features lie about two thirds up; deeper blocks lose little",
             "Table 7": "the best block is better than the last by 0.9 to 1.7 points"}, result,
        )
    ]  # fmt: skip


_DRAWN: dict[str, Callable[[StudyResult], list[Drawing]]] = {
    "val_curve": _val_curve, "probe_curve": _probe_curve, "loss_over_flops": _loss_over_flops, "chunks": _chunks,
    "rows": _rows, "layers": _layers,
}  # fmt: skip


def _drawing(
    name: str, title: str, x_label: str, y_label: str, lines: Sequence[Series | None], shows: str,
    paper: Mapping[str, str], result: StudyResult, log_x: bool = False,
) -> list[Drawing]:  # fmt: skip
    """The chart of what lines there are; nothing when there is none."""
    shown = [line for line in lines if line is not None and len(line.x)]
    if not shown:
        return []
    several = any(low < high for line in shown for low, high in line.band)
    band = " The area reaches from the lowest to the highest seed." if several else ""
    said = "; ".join(f"{figure}: {claim}" for figure, claim in paper.items() if figure in result.source)
    return [Drawing(name, line_chart(title, x_label, y_label, shown, log_x=log_x), shows + band, said)]


def _lines(
    result: StudyResult, read: Callable[[SeedRun], Mapping[float, float]], markers: bool = False
) -> list[Series | None]:
    """A line per variant: the mean of what `read` gives of its runs."""
    found = []
    for number, variant in enumerate(result.variants):
        points = [line for run in shown_runs(variant) if (line := read(run))]
        found.append(_series(_name(variant), number, curve(points), markers))
    return found


def _series(name: str, number: int, found: Curve | None, markers: bool) -> Series | None:
    if found is None:
        return None
    return Series(name, found.x, found.y, _tone(number), markers or len(found.x) <= 20, band=found.band)


def _tone(number: int) -> int:
    return number % _TONES + 1


def _name(variant: VariantResult) -> str:
    return variant.about or variant.name


def _all_runs(result: StudyResult) -> list[tuple[VariantResult, SeedRun]]:
    return [(variant, run) for variant in result.variants for run in variant.runs]


def _probed(run: SeedRun, kind: str) -> dict[float, float]:
    """Accuracy of a kind of probe by step, the end included; nothing where no earlier checkpoint was probed."""
    found: dict[float, float] = {}
    for point in run.curve:
        rows = [row for row in point.scores if row.features == PRETRAINED and row.probe == kind]
        if rows:
            found[point.step] = max(rows, key=lambda row: row.labels).test_top1
    return {**found, run.step: run.figures[kind]} if found and kind in run.figures else found


def _numbered(values: Sequence[float | None] | None) -> dict[float, float]:
    """Values by their number from 1; those that are not there are left out."""
    return {number: value for number, value in enumerate(values or (), 1) if value is not None}


def without_rows(result: StudyResult) -> list[str]:
    """In words, which variants have no rows, where rows are asked for: those in whose sequence no row is a stretch."""
    orders: dict[str, list[str]] = {}
    for variant in result.variants:
        if variant.order not in ("", "raster"):
            orders.setdefault(variant.order, []).append(_name(variant))
    if "rows" not in result.drawings:
        return []
    return [
        f"No rows of {', '.join(names)}: in {order} order a row of patches is no stretch of the sequence."
        for order, names in orders.items()
    ]


def _by_row(variant: VariantResult, run: SeedRun, flipped: bool) -> dict[float, float]:
    """Mean loss of each row of a grid in raster order; nothing for another order, or a grid that is not known.

    Patches in front of the first place are never predicted: of next-patch prediction that is the first of all.
    """
    entry, (height, width) = run.last_val, variant.grid
    losses = None if entry is None else entry.flipped_position_loss if flipped else entry.position_loss
    if not losses or variant.order != "raster" or not 0 <= (before := height * width - len(losses)) <= 1:
        return {}
    places = [*[None] * before, *losses]
    rows = [[v for v in places[start : start + width] if v is not None] for start in range(0, len(places), width)]
    return {number: mean(row) for number, row in enumerate(rows, 1) if row}


def _by_block(run: SeedRun, kind: str) -> dict[float, float]:
    found = depth_sweep(run.sweep, probe=kind)
    return {depth: float(top1) for depth, top1 in found} if len(found) > 1 else {}
