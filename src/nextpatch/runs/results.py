"""What a run and its probe came to, read from metrics.jsonl and probe.json: whole or refused."""

from __future__ import annotations

import re
from pathlib import Path

from nextpatch.config import ConfigError
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.measure.probe_result import ProbeResult
from nextpatch.measure.run_summary import RunHistory, RunSummary
from nextpatch.runs.run import RunDir, RunError


def set_aside(data: str) -> str:
    """What the results call the test images when none were named."""
    return f"a part of {data}, set aside"


def read_probe(path: Path, remedy: str = "measure again with nextpatch probe") -> ProbeResult:
    """What a probe.json holds; RunError, with `remedy`, when it is damaged or not of a probe.

    What an earlier version did not write has its default, what a later one writes beside is passed over.
    """
    values = read_json(path, "the results of a probe", remedy, RunError)
    if not isinstance(values.get("results"), list):
        raise RunError(f"{shown(path)}: it holds no results of a probe; {remedy}")
    try:
        return ProbeResult.from_dict(values, "")
    except ConfigError as error:
        raise RunError(f"{shown(path)}: {_problem(str(error).removeprefix(': '))}; {remedy}") from None


def read_history(run: RunDir) -> RunHistory:
    """What a run has logged so far; FileError when metrics.jsonl cannot be read."""
    return RunHistory.from_entries(run.read_metrics())


def read_summary(path: Path) -> RunSummary:
    """What the run at `path` has come to; RunError when there is none."""
    run = RunDir.open(path)
    return RunSummary.of(path.resolve().name, run.recipe.train.steps, read_history(run))


def _problem(reason: str) -> str:
    """Which part is wrong, and why: the first of several reasons."""
    first = shown(reason.split("; ")[0])[:200]
    if part := re.match(r"'(results|sweep)\b", first):
        return f"a row of its {part[1]} is not whole ({first})"
    return f"it holds no whole results of a probe ({first})"
