"""What a run directory says about itself, as plain values; what is absent is named, never an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nextpatch.core.errors import UserError
from nextpatch.core.reading import read_json
from nextpatch.measure.probe_result import ProbeResult
from nextpatch.measure.run_summary import RunHistory, TrainEntry
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.results import read_history, read_probe
from nextpatch.runs.run import RunDir, sessions_in

T = TypeVar("T")
POINTS = 300  # of a curve: more would not be told apart on a screen

_PURPOSE = {
    "recipe.toml": "every value that defines the run",
    "env.json": "versions, hardware and command line",
    "metrics.jsonl": "one line per log entry and validation",
    "log.txt": "what was printed",
    "bad_samples.jsonl": "images that could not be decoded, with reasons",
    "tokenizer.safetensors": "the tokenizer whose codes are predicted",
    "tokenizer.json": "the same tokenizer in words",
    "probe.json": "accuracies of the probes",
    "probe.safetensors": "the chosen attentive probe",
    "report_samples.safetensors": "samples of this page, kept for the next one",
    "report.html": "this page",
    "report.json": "the figures of this page",
    "model.safetensors": "weights",
    "optimizer.safetensors": "optimizer state",
    "state.json": "step and position in the data",
    "manifest.json": "size and digest of each file of the checkpoint",
}


@dataclass
class Facts:
    """A run directory as read; `notes` says in words what could not be shown, and what to mind."""

    path: Path
    recipe: Recipe
    history: RunHistory = field(default_factory=RunHistory)
    probe: ProbeResult | None = None
    environment: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CurvePoint:
    """Step, and the means of loss, images per second and TFLOP/s up to it."""

    step: int
    loss: float
    images_per_s: float
    tflops: float


@dataclass(frozen=True)
class FileFacts:
    """A file of the run, and what it is for."""

    name: str
    size_bytes: int
    purpose: str


def read_facts(run: Path) -> Facts:
    """Read what is there. Raises RunError when `run` is no run, ConfigError when its recipe.toml is not whole."""
    opened = RunDir.open(run)
    facts = Facts(run, opened.recipe)
    facts.history = _history(opened, facts.notes)
    if left_out := facts.history.num_damaged:
        facts.notes.append(f"{left_out} entries of metrics.jsonl without a finite loss were skipped.")
    facts.probe = _read(run / "probe.json", read_probe, facts.notes)
    facts.environment = _read(run / "env.json", _environment, facts.notes)
    if not facts.history.train:
        facts.notes.append("No training step is recorded yet (metrics.jsonl has no entry).")
    if not facts.history.val:
        facts.notes.append("No validation loss is recorded yet.")
    if facts.probe is None:
        facts.notes.append(
            "The features are not measured yet; measure them with: nextpatch probe RUN --data TRAIN --test TEST"
        )
    if facts.environment is None:
        facts.notes.append("env.json is missing, so the machine and the versions are unknown.")
    return facts


_OF_FOLDERS = {
    "tensorboard": "TensorBoard log",
    "wandb": "log of Weights & Biases",
    "mlflow.db": "log of MLflow",
    "samples": "samples drawn while it trained",
    "sinks": "which entries each metric sink has taken",
}


def _history(run: RunDir, notes: list[str]) -> RunHistory:
    try:
        return read_history(run)
    except UserError as error:
        notes.append(f"{error}.")
        return RunHistory()


def _read(path: Path, reader: Callable[[Path, str], T], notes: list[str]) -> T | None:
    """The values of a file that may be absent; where it is damaged a note says so, and the page goes on without it."""
    if not path.exists():
        return None
    try:
        return reader(path, "it is left out of this page")
    except UserError as error:
        notes.append(f"{error}.")
        return None


def _environment(path: Path, remedy: str) -> dict[str, Any]:
    """Of the newest session, and how many there were."""
    sessions = sessions_in(read_json(path, "versions and hardware", remedy))
    return {**sessions[-1], "sessions": len(sessions)} if sessions else {}


def thin(entries: Sequence[TrainEntry], points: int = POINTS) -> list[CurvePoint]:
    """At most `points` points: means over neighbouring entries, placed at the last step of each."""
    group = max(1, -(-len(entries) // points))
    return [_mean(entries[i : i + group]) for i in range(0, len(entries), group)]


def _mean(entries: Sequence[TrainEntry]) -> CurvePoint:
    loss, speed, tflops = (
        sum(values) / len(entries)
        for values in zip(*((e.loss, e.images_per_s, e.tflops) for e in entries), strict=True)
    )
    return CurvePoint(entries[-1].step, loss, speed, tflops)


def list_files(run: Path) -> list[FileFacts]:
    """Every file of the run with its size and purpose; the page itself counts, though it is being written."""
    found = []
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        name = path.relative_to(run).as_posix()
        if not any(part.startswith(".") for part in path.relative_to(run).parts) and not name.startswith("report."):
            purpose = _OF_FOLDERS.get(name.partition("/")[0]) or _PURPOSE.get(path.name, "")
            found.append(FileFacts(name, path.stat().st_size, purpose))
    return found
