"""The drawn samples of a report beside the run, so that the next page of the same weights need not draw them again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nextpatch.core.errors import UserError
from nextpatch.core.tensors import read_safetensors, save_safetensors
from nextpatch.tasks.report.generated import DrawnSamples, PictureGrid, PictureRow
from nextpatch.tasks.report.nearest import Compared

FILE = "report_samples.safetensors"
_VERSION = 1  # of what is drawn: another one is drawn anew


def cache_key(step: int, recipe_sha256: str, held_out: bool) -> str:
    """What the pictures depend on, beside the code."""
    return json.dumps({"version": _VERSION, "step": step, "recipe": recipe_sha256, "held_out": held_out})


def keep(found: DrawnSamples, run: Path, key: str) -> None:
    """Into the run; OSError when the disk is full."""
    tensors = {f"{g}.{r}": row.images for g, grid in enumerate(found.grids) for r, row in enumerate(grid.rows)}
    values = asdict(found)
    for grid in values["grids"]:
        grid["rows"] = [{"label": row["label"], "notes": row["notes"]} for row in grid["rows"]]
    save_safetensors(run / FILE, tensors, {"of": key, "values": json.dumps(values)})


def kept_samples(run: Path, key: str) -> DrawnSamples | None:
    """Those that were kept of the same; None where there are none, of other weights, or damaged ones."""
    if not (run / FILE).is_file():
        return None
    try:
        tensors, facts = read_safetensors(run / FILE, "samples of a report", "remove it")
        return _read(tensors, json.loads(facts["values"])) if facts.get("of") == key else None
    except (UserError, KeyError, TypeError, ValueError):
        return None


def _read(tensors: dict[str, Any], values: dict[str, Any]) -> DrawnSamples:
    compared, grids = values.pop("compared"), values.pop("grids")
    found = DrawnSamples(**values)
    for g, grid in enumerate(grids):
        rows = [
            PictureRow(row["label"], tensors[f"{g}.{r}"], tuple(row["notes"])) for r, row in enumerate(grid["rows"])
        ]
        found.grids.append(PictureGrid(grid["kind"], tuple(grid["columns"]), tuple(rows)))
    if compared is not None:
        spread = {name: tuple(compared[name]) for name in ("samples", "held_out")}
        found.compared = Compared(**{**compared, **spread})
    return found
