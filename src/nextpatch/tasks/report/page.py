"""Figures and pictures to HTML: chooses the charts, fills the template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nextpatch.config import dumps_toml
from nextpatch.core.errors import UserError
from nextpatch.core.text import format_bytes, format_duration
from nextpatch.tasks.report.axes import Number, number, readable
from nextpatch.tasks.report.charts import Chart, Series, bar_chart, heat_grid, line_chart
from nextpatch.tasks.report.images import PHOTOGRAPH, heat_gradient, heat_hex
from nextpatch.tasks.report.pictures import Gallery

_TONES = {"pre-trained": 1, "random init": 2, "raw pixels": 3}


class ReportError(UserError):
    """The page cannot be drawn here; the message says what to install."""


def render(values: dict[str, Any], gallery: Gallery | None) -> str:
    """The page. Everything is escaped except the charts, which are drawn here and escape their own text."""
    template = _environment().get_template("template.html")
    page: str = template.render(
        v=values,
        css=_css(),
        learning=learning_charts(values),
        places=place_charts(values),
        probing=probe_charts(values["probe"]),
        gallery=gallery,
        heat_gradient=heat_gradient(),
        pixelated=max(values["model"]["img_size"]) < PHOTOGRAPH,
        recipe=_short_arrays(dumps_toml(values["recipe"]).strip()),
        environment=_flat(values["environment"] or {}),
        tones=_TONES,
    )
    return page


def render_probe(values: dict[str, Any]) -> str:
    """The page of a probe that belongs to no run."""
    template = _environment().get_template("probe.html")
    page: str = template.render(v=values, css=_css(), probing=probe_charts(values["probe"]), tones=_TONES)
    return page


def need_jinja() -> None:
    """ReportError, which says what to install, when no page can be drawn here."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise ReportError("the page needs Jinja2; install it with: pip install 'nextpatch[report]'") from None


def _environment() -> Any:
    need_jinja()
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("nextpatch.tasks.report", ""), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(number=number, duration=format_duration, size=format_bytes, layers=layers_text)
    return environment


def _css() -> str:
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def learning_charts(values: dict[str, Any]) -> list[Chart]:
    """Loss of both kinds over steps, and speed."""
    train, val = values["training"]["curve"], values["validation"]["curve"]
    if not train and not val:
        return []
    guess = values["validation"]["mean_guess_loss"]
    series = [
        Series("training", [e["step"] for e in train], [e["loss"] for e in train], tone=2, thin=True),
        Series("validation", [e["step"] for e in val], [e["loss"] for e in val], tone=1, markers=len(val) <= 30),
    ]
    reference = None if guess is None else (values["validation"]["mean_guess"], guess)
    charts = [line_chart("Loss", "optimizer steps", "mean squared error", series, reference=reference)]
    if train:
        speed = [Series("images/s", [e["step"] for e in train], [e["images_per_s"] for e in train])]
        charts.append(line_chart("Throughput", "optimizer steps", "images per second", speed, zero=True))
    return charts


def place_charts(values: dict[str, Any]) -> dict[str, Any] | None:
    """The position map with its scale, and the loss per chunk."""
    v = values["validation"]
    if not v["position_loss"] or all(loss is None for loss in v["position_loss"]):
        return None
    losses = [None, *v["position_loss"]]
    colors, low, high = heat_hex(losses)
    chunks, size = v["chunk_loss"] or [], v["chunk_size"]
    last = v["grid"][0] * v["grid"][1] - 1
    names = [f"{i * size}" if size == 1 else f"{i * size}–{min(last, i * size + size - 1)}" for i in range(len(chunks))]
    return {
        "map": heat_grid("Loss at each patch", (v["grid"][0], v["grid"][1]), losses, colors),
        "low": low,
        "high": high,
        "chunks": bar_chart("Loss along the sequence", "patches, in raster order", "mean squared error", names, chunks),
    }


def probe_charts(probe: dict[str, Any] | None) -> list[Chart]:
    """Accuracy against labels, and accuracy by depth."""
    charts = []
    compared: dict[str, list[dict[str, Any]]] = (probe or {}).get("compared", {})
    if any(compared.values()):
        charts.append(_label_curve(compared))
    sweep = (probe or {}).get("sweep", [])
    lines = [
        Series(name, [depth for depth, _ in found], [top1 for _, top1 in found], tone, markers=True)
        for name, tone, found in (
            ("attentive", 1, depth_sweep(sweep)),
            ("attentive, random init", 2, depth_sweep(sweep, "random init")),
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


def _label_curve(compared: dict[str, list[dict[str, Any]]]) -> Chart:
    series = [
        Series(
            f"{kind} ({rows[0]['probe']})", [r["labels"] for r in rows], [r["test_top1"] for r in rows], _TONES[kind],
            markers=True, intervals=[tuple(r["test_ci95"]) for r in rows],
        )
        for kind, rows in compared.items() if rows
    ]  # fmt: skip
    budgets = sorted({r["labels"] for rows in compared.values() for r in rows})
    return line_chart(
        "Accuracy against labels", "labelled images (log scale)", "test accuracy, %", series, log_x=True,
        x_ticks=readable(budgets),
    )  # fmt: skip


def depth_sweep(
    sweep: Sequence[dict[str, Any]], features: str = "pre-trained", probe: str = "attentive"
) -> list[tuple[int, Number]]:
    """(block, best selection accuracy over learning rates) in order of depth, at the most labels (Figure 10)."""
    rows = [r for r in sweep if r.get("features", "pre-trained") == features and _depth(r["layers"]) is not None]
    most = max((r["labels"] for r in rows), default=0)
    best: dict[int, Number] = {}
    for row in rows:
        depth = _depth(row["layers"])
        if row["labels"] == most and row["probe"] == probe and depth is not None:
            best[depth] = max(row["select_top1"], best.get(depth, 0.0))
    return sorted(best.items())


def _depth(layers: str) -> int | None:
    number_of = layers.removeprefix("block_")
    return int(number_of) if layers.startswith("block_") and number_of.isdigit() else None


def layers_text(layers: Sequence[str] | None) -> str:
    """Layer names for people: consecutive blocks become "blocks 4–9"."""
    depths = [_depth(name) for name in layers or ()]
    known = [depth for depth in depths if depth is not None]
    if len(known) > 1 and known == list(range(known[0], known[0] + len(layers or ()))):
        return f"blocks {known[0]}–{known[-1]}"
    return ", ".join(name.replace("_", " ") for name in layers or ()) or "–"


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
