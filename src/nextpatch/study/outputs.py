"""What a study writes for people: its page, its table as Markdown and CSV, and each chart as a file for papers."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from nextpatch.core.files import write_text
from nextpatch.measure.study_result import ClaimResult, StudyResult, VariantResult, digits, interval_text, signed
from nextpatch.study.comparison import metric_name, written
from nextpatch.study.page import render_study, study_charts, verdict
from nextpatch.study.spread import spread
from nextpatch.tasks.report.svg_file import svg_file

PAGE, FIGURES = "study.html", "figures"


def write_outputs(result: StudyResult, out: Path, runs: Path | None = None) -> Path:
    """study.html, table.md, table.csv and figures/*.svg in `out`; returns the path of the page.

    `runs` is the folder in which the study's runs lie (default: out/runs). Raises ReportError when the `report` extra
    is not installed; the tables are written all the same.
    """
    page = out / PAGE
    write_text(out / "table.md", markdown(result))
    write_text(out / "table.csv", comma_separated(result))
    write_text(page, render_study(result, out, runs or out / "runs"))
    for name, chart in study_charts(result).items():
        write_text(out / FIGURES / f"{name}.svg", svg_file(chart))
    return page


def markdown(result: StudyResult) -> str:
    """The variants and the claims as two tables; the paper's figures stand in columns of their own."""
    columns = ["variant", "parameters", "GFLOP / image", "seeds"]
    for metric in result.metrics:
        columns += [metric_name(metric), f"{metric_name(metric)}, the paper's"]
    rows = [_row(variant, result.metrics) for variant in result.variants]
    parts = [f"# {result.title}", verdict(result), _table(columns, rows)]
    parts.append("Mean over seeds with its 95 % t-interval. The paper's figures are of another model on other images.")
    if result.claims:
        heads = ["claim", "by", "verdict", "difference", "95 % interval", "the paper's", "where"]
        parts += ["## Claims, paired by seed", _table(heads, [_claim(claim) for claim in result.claims])]
    return "\n\n".join([*parts, *(f"- {note}" for note in result.notes)]) + "\n"


def comma_separated(result: StudyResult) -> str:
    """One line per variant, seed and metric, with the paper's figure for the variant beside it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["variant", "seed", "metric", "value", "status", "paper", "params", "flops_per_image", "steps"])
    for variant in result.variants:
        for run in variant.runs:
            for metric in variant.metrics:
                paper, value = variant.paper.get(metric, ""), run.figures.get(metric, "")
                size = [variant.params, variant.flops_per_image, variant.steps]
                writer.writerow([variant.name, run.seed, metric, value, run.status, paper, *size])
    return text.getvalue()


def _row(variant: VariantResult, metrics: tuple[str, ...]) -> list[str]:
    done = sum(run.status == "done" for run in variant.runs)
    cells = [variant.about or variant.name, f"{variant.params:,}", f"{variant.flops_per_image / 1e9:.3g}",
             f"{done}/{len(variant.runs)}"]  # fmt: skip
    for metric in metrics:
        paper = variant.paper.get(metric)
        cells += [_figure(variant, metric), "" if paper is None else f"{paper:.{digits(metric)}f}"]
    return cells


def _figure(variant: VariantResult, metric: str) -> str:
    found = spread(list(variant.of(metric).values()))
    if found is None:
        return ""
    interval = (
        f" ({written(found.interval[0], metric)} to {written(found.interval[1], metric)})" if found.interval else ""
    )
    return written(found.mean, metric) + interval


def _claim(claim: ClaimResult) -> list[str]:
    return [claim.says, metric_name(claim.by), claim.verdict, signed(claim.mean, claim.by), interval_text(claim),
            signed(claim.paper, claim.by), claim.where]  # fmt: skip


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
