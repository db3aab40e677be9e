"""Where the runs of a study were made and how long each took, as their folders say; what is absent is left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

from nextpatch.core.errors import UserError
from nextpatch.core.reading import read_json
from nextpatch.core.text import format_duration
from nextpatch.measure.study_result import StudyResult, VariantResult
from nextpatch.runs.results import read_summary
from nextpatch.runs.run import sessions_in


def machines(result: StudyResult, runs: Path) -> list[str]:
    """Each machine and set of versions, with the number of runs that it made."""
    folders = sorted({run.run for variant in result.variants for run in variant.runs if run.run})
    counted = Counter(line for folder in folders if (line := _machine(runs / folder / "env.json")))
    return [f"{line}: {count} run{'s' if count > 1 else ''}" for line, count in counted.items()]


def run_time(variant: VariantResult, runs: Path) -> str:
    """Mean duration of the variant's finished runs, as text; "" where it is not known."""
    seconds = [found for run in variant.runs if run.status == "done" and (found := _seconds(runs / run.run))]
    return format_duration(mean(seconds)) if seconds else ""


def _machine(path: Path) -> str:
    """Processor, versions and revision of the last session of a run."""
    try:
        sessions = sessions_in(read_json(path, "versions and hardware", "it is left out")) if path.is_file() else []
    except UserError:
        return ""
    return _said(sessions[-1]) if sessions else ""


def _said(session: dict[str, Any]) -> str:
    packages = session.get("packages") or {}
    revision = str(session.get("git_revision") or "")[:7]
    parts = [
        str(session.get("gpu") or session.get("cpu") or "unknown processor"), f"{session.get('cpu_count', '?')} cores",
        f"{session.get('torch_threads', '?')} threads a run", f"PyTorch {packages.get('torch', '?')}",
        f"nextpatch {packages.get('nextpatch', '?')}" + (f" at {revision}" if revision else ""),
    ]  # fmt: skip
    return ", ".join(parts)


def _seconds(folder: Path) -> float | None:
    try:
        return read_summary(folder).elapsed_s
    except (UserError, OSError):
        return None
