"""The results of a probe as the file probe.json: read, and whole or refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nextpatch.core.reading import read_json
from nextpatch.runs.run import RunError


def set_aside(data: str) -> str:
    """What the results call the test images when none were named."""
    return f"a part of {data}, set aside"


def read_probe(path: Path, remedy: str = "measure again with nextpatch probe") -> dict[str, Any]:
    """The values of a probe.json; RunError, with `remedy`, when it is damaged or lacks what a page shows of it."""
    values = read_json(path, "the results of a probe", remedy, RunError)
    if problem := _problem(values):
        raise RunError(f"{path}: {problem}; {remedy}")
    return values


def is_number(value: Any) -> bool:
    """Whether a value of a file is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def _problem(probe: dict[str, Any]) -> str:
    """What is missing of the results, in words; empty when nothing is."""
    rows, sweep = probe.get("results"), probe.get("sweep", [])
    if not isinstance(rows, list) or not isinstance(sweep, list) or not isinstance(probe.get("attention") or {}, dict):
        return "it holds no results of a probe"
    if not all(_is_row(row, ("features", "probe"), ("labels", "test_top1")) and _is_interval(row) for row in rows):
        return "a row of its results is not whole"
    if not all(_is_row(row, ("probe", "layers"), ("labels", "select_top1")) for row in sweep):
        return "a row of its sweep is not whole"
    return ""


def _is_row(row: Any, texts: Sequence[str], numbers: Sequence[str]) -> bool:
    return (
        isinstance(row, dict)
        and all(isinstance(row.get(name), str) for name in texts)
        and all(is_number(row.get(name)) for name in numbers)
    )


def _is_interval(row: dict[str, Any]) -> bool:
    ends = row.get("test_ci95")
    return isinstance(ends, list) and len(ends) == 2 and all(map(is_number, ends))
