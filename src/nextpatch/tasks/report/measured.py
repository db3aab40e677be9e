"""What a probe says about depth: the last blocks beside the best ones; and the page of a probe without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nextpatch.core.files import write_text
from nextpatch.runs.results import read_probe
from nextpatch.tasks.report.page import layers_text, render_probe
from nextpatch.tasks.report.verdict import PRETRAINED, against_baselines, main_rows


def last_and_best(probe: dict[str, Any]) -> dict[str, Any] | None:
    """Rows of name, blocks and selection accuracy of the attentive probe at the most labels (Table 7): the last block,
    the last ones together, and the best that was read; None when fewer than two sets were."""
    sweep = [
        row
        for row in probe.get("sweep", [])
        if row.get("features", "pre-trained") == "pre-trained" and row["probe"] == "attentive"
    ]
    most = max((row["labels"] for row in sweep), default=0)
    best: dict[str, float] = {}
    for row in sweep:
        if row["labels"] == most:
            best[row["layers"]] = max(row["select_top1"], best.get(row["layers"], 0.0))
    if len(best) < 2 or not probe.get("attention"):
        return None
    end = max(_end(layers) for layers in best)
    ending = [layers for layers in best if _end(layers) == end]
    top = max(best, key=lambda layers: best[layers])
    named = {layers: "last block" if _start(layers) == end else "last blocks" for layers in ending}
    named[top] = f"{named[top]}, the best" if top in named else "best"
    shown = sorted(named, key=lambda layers: (layers == top, -_start(layers)))
    rows = [{"name": named[layers], "blocks": _words(layers), "top1": best[layers]} for layers in shown]
    return {"labels": most, "rows": rows}


def _numbers(layers: str) -> list[int]:
    return [int(part) for part in layers.removeprefix("block_").replace(",", "-").split("-") if part.isdigit()]


def _end(layers: str) -> int:
    return max(_numbers(layers), default=-1)


def _start(layers: str) -> int:
    return min(_numbers(layers), default=-1)


def _words(layers: str) -> str:
    numbers = _numbers(layers)
    if "," in layers or len(numbers) < 2:
        return layers.replace("_", " ")
    return layers_text([f"block_{i}" for i in range(numbers[0], numbers[-1] + 1)])


def write_probe_page(folder: Path) -> Path:
    """probe.html beside the probe.json of a folder; returns its path."""
    probe = read_probe(folder / "probe.json")
    rows = main_rows(probe.get("results", []))
    compared = {kind: [by[n] for n in sorted(by)] for kind, by in rows.items()}
    whole = {**probe, "compared": compared, "last_and_best": last_and_best(probe)}
    page = folder / "probe.html"
    write_text(page, render_probe({"weights": probe.get("weights", ""), "verdict": _verdict(probe), "probe": whole}))
    return page


def _verdict(probe: dict[str, Any]) -> str:
    """One sentence: the best by selection at the most labels, with its interval, and the baselines beside it."""
    rows = main_rows(probe["results"])
    most = max(rows[PRETRAINED])
    own = rows[PRETRAINED][most]
    low, high = own["test_ci95"]
    top1 = f"{own['test_top1']:.1f} % ({low:.1f} to {high:.1f}, {own['probe']})"
    beside = against_baselines(rows, most)  # each its best by selection as well: the test images choose nothing
    return f"With {most:,} labels the frozen features give {top1}{f'; {beside}' if beside else ''}."
