"""The page of a probe that belongs to no run: probe.html beside its probe.json."""

from __future__ import annotations

from pathlib import Path

from nextpatch.core.files import write_text
from nextpatch.measure.probe_result import PRETRAINED, ProbeResult
from nextpatch.runs.results import read_probe
from nextpatch.tasks.report.page import render_probe
from nextpatch.tasks.report.verdict import against_baselines, main_rows


def write_probe_page(folder: Path) -> Path:
    """probe.html beside the probe.json of a folder; returns its path. RunError when that is damaged."""
    probe = read_probe(folder / "probe.json")
    page = folder / "probe.html"
    write_text(page, render_probe(probe, headline(probe)))
    return page


def headline(probe: ProbeResult) -> str:
    """One sentence: the best by selection at the most labels, with its interval, and the baselines beside it."""
    rows = main_rows(probe.results)
    most = max(rows[PRETRAINED])
    own = rows[PRETRAINED][most]
    low, high = own.test_ci95
    top1 = f"{own.test_top1:.1f} % ({low:.1f} to {high:.1f}, {own.probe})"
    beside = against_baselines(rows, most)  # each its best by selection as well: the test images choose nothing
    return f"With {most:,} labels the frozen features give {top1}{f'; {beside}' if beside else ''}."
