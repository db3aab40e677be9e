"""Figures and pictures to HTML: chooses the charts, fills the template."""

from __future__ import annotations

import re
from typing import Any

from nextpatch.config import dumps_toml
from nextpatch.measure.probe_result import PIXELS, PRETRAINED, RANDOM, ProbeResult, ProbeScore
from nextpatch.measure.run_summary import Losses
from nextpatch.objective.objective import Words
from nextpatch.tasks.report.axes import readable
from nextpatch.tasks.report.charts import Chart, Series, bar_chart, heat_grid, line_chart
from nextpatch.tasks.report.depth import depth_sweep, last_and_best
from nextpatch.tasks.report.figures import ReportFigures, TrainingFigures, ValidationFigures
from nextpatch.tasks.report.generated_page import GeneratedSection
from nextpatch.tasks.report.images import PHOTOGRAPH, heat_gradient, heat_hex
from nextpatch.tasks.report.pictures import Gallery
from nextpatch.tasks.report.templates import page_css, templates
from nextpatch.tasks.report.verdict import compared_rows

_TONES = {PRETRAINED: 1, RANDOM: 2, PIXELS: 3}


def render(
    figures: ReportFigures, words: Words, gallery: Gallery | None, probe: ProbeResult | None,
    generated: GeneratedSection | None = None,
) -> str:  # fmt: skip
    """The page. Everything is escaped except the charts, which are drawn here and escape their own text."""
    template = templates().get_template("template.html")
    page: str = template.render(
        v=figures,
        words=words,
        of_run=True,
        css=page_css(),
        learning=learning_charts(figures.training, figures.validation),
        places=place_charts(figures.validation),
        **_probe_section(probe),
        gallery=gallery,
        generated=generated,
        averaged=bool(figures.recipe["train"].get("ema_half_life")),
        heat_gradient=heat_gradient(),
        pixelated=max(figures.model["img_size"]) < PHOTOGRAPH,
        recipe=_short_arrays(dumps_toml(figures.recipe).strip()),
        environment=_flat(figures.environment or {}),
    )
    return page


def render_probe(probe: ProbeResult, verdict: str) -> str:
    """The page of a probe that belongs to no run."""
    template = templates().get_template("probe.html")
    page: str = template.render(verdict=verdict, of_run=False, css=page_css(), **_probe_section(probe))
    return page


def _probe_section(probe: ProbeResult | None) -> dict[str, Any]:
    """What the section on the probe is drawn from."""
    if probe is None:
        return {"probe": None}
    return {
        "probe": probe, "depth": last_and_best(probe), "probing": probe_charts(probe), "tones": _TONES,
        "untrained": any(row.features == RANDOM for row in probe.results),
    }  # fmt: skip


def learning_charts(training: TrainingFigures, validation: ValidationFigures) -> list[Chart]:
    """Loss of both kinds over steps, and speed."""
    train, val = training.curve, validation.curve
    if not train and not val:
        return []
    guess = validation.mean_guess_loss
    series = [
        Series("training", [e.step for e in train], [e.loss for e in train], tone=2, thin=True),
        Series("validation", [e.step for e in val], [e.loss for e in val], tone=1, markers=len(val) <= 30),
    ]
    if averaged := [(e.step, e.ema_loss) for e in val if e.ema_loss is not None]:
        steps, losses = zip(*averaged, strict=True)
        series.append(Series("validation, averaged weights", steps, losses, tone=3, markers=len(val) <= 30))
    reference = None if guess is None else (validation.mean_guess, guess)
    charts = [line_chart("Loss", "optimizer steps", f"mean {validation.unit}", series, reference=reference)]
    if train:
        speed = [Series("images/s", [e.step for e in train], [e.images_per_s for e in train])]
        charts.append(line_chart("Throughput", "optimizer steps", "images per second", speed, zero=True))
    return charts


def place_charts(v: ValidationFigures) -> dict[str, Any] | None:
    """The map of the loss with its scale, the loss along the sequence, and the same of images upside down."""
    if all(loss is None for loss in v.position_loss or ()):
        return None
    found: dict[str, Any] = {"chunks": None, "flipped": None, "map": None}
    if any(loss is not None for loss in v.map):
        colors, low, high = heat_hex(v.map)
        found |= {"map": heat_grid("Loss at each patch", v.grid, v.map, colors), "low": low, "high": high}
    if v.chunk_loss:
        found["chunks"] = _chunk_bars(v, v.chunk_loss)
    if v.chunk_loss and v.flipped_chunk_loss:
        found["flipped"] = _flipped_lines(v, v.chunk_loss, v.flipped_chunk_loss)
    return found


def _chunk_bars(v: ValidationFigures, losses: Losses) -> Chart:
    """Figure 7."""
    ends = [*(start - 1 for start in v.chunk_start[1:]), v.grid[0] * v.grid[1] - 1]
    names = [f"{start}" if start == end else f"{start}–{end}" for start, end in zip(v.chunk_start, ends, strict=True)]
    return bar_chart("Loss along the sequence", f"patches of the sequence ({v.order})", f"mean {v.unit}", names, losses)


def _flipped_lines(v: ValidationFigures, losses: Losses, flipped: Losses) -> Chart:
    """Figure 9."""
    series = []
    for name, values, tone in (("images as they are", losses, 1), ("images upside down", flipped, 2)):
        known = [(chunk, loss) for chunk, loss in enumerate(values) if loss is not None]
        series.append(Series(name, [c for c, _ in known], [loss for _, loss in known], tone, markers=True))
    ticks = range(0, len(losses), max(1, len(losses) // 8))
    return line_chart(
        "The same, images upside down", f"chunk of the sequence ({v.order})", f"mean {v.unit}", series,
        x_ticks=list(ticks), x_names=[str(tick + 1) for tick in ticks],
    )  # fmt: skip


def probe_charts(probe: ProbeResult) -> list[Chart]:
    """Accuracy against labels, and accuracy by depth."""
    charts = []
    compared = compared_rows(probe.results)
    if any(compared.values()):
        charts.append(_label_curve(compared))
    sweep = probe.sweep
    lines = [
        Series(name, [depth for depth, _ in found], [top1 for _, top1 in found], tone, markers=True)
        for name, tone, found in (
            ("attentive", 1, depth_sweep(sweep)),
            ("attentive, random init", 2, depth_sweep(sweep, RANDOM)),
            ("linear", 3, depth_sweep(sweep, probe="linear")),
        )
        if len(found) > 1
    ]
    if lines:
        places = sorted({int(depth) for line in lines for depth in line.x})
        every = max(1, -(-len(places) // 12))
        names = [str(place) for place in places[::every]]
        charts.append(
            line_chart(
                "Which block to read", "block", "selection accuracy, %", lines, x_ticks=places[::every], x_names=names
            )
        )
    return charts


def _label_curve(compared: dict[str, list[ProbeScore]]) -> Chart:
    series = [
        Series(
            f"{kind} ({rows[0].probe})", [r.labels for r in rows], [r.test_top1 for r in rows], _TONES[kind],
            markers=True, intervals=[r.test_ci95 for r in rows],
        )
        for kind, rows in compared.items() if rows
    ]  # fmt: skip
    budgets = sorted({r.labels for rows in compared.values() for r in rows})
    return line_chart(
        "Accuracy against labels", "labelled images (log scale)", "test accuracy, %", series, log_x=True,
        x_ticks=readable(budgets),
    )  # fmt: skip


def _short_arrays(toml: str) -> str:
    """Arrays of plain values on one line each."""
    return re.sub(r"\[\n([^\[\]]*)\n\]", lambda found: f"[{' '.join(found[1].split()).rstrip(',')}]", toml)


def _flat(values: dict[str, Any], path: str = "") -> list[tuple[str, str]]:
    """Nested values as (dotted name, text)."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{path}{key}"
        if isinstance(value, dict):
            found += _flat(value, f"{name}.")
        else:
            found.append((name, " ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return found
