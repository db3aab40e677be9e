"""What a run directory says about itself, as plain values; what is absent is named, never an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextpatch.core.errors import UserError
from nextpatch.core.reading import read_json
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.results import is_number, read_probe
from nextpatch.runs.run import RunDir, sessions_in

POINTS = 300  # of a curve: more would not be told apart on a screen

_PURPOSE = {
    "recipe.toml": "every value that defines the run, resolved",
    "env.json": "versions, hardware and command line",
    "metrics.jsonl": "one line per log entry and validation",
    "log.txt": "what was printed",
    "bad_samples.jsonl": "images that could not be decoded, with reasons",
    "probe.json": "accuracies of the probes",
    "probe.safetensors": "the chosen attentive probe",
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
    train: list[dict[str, Any]] = field(default_factory=list)
    val: list[dict[str, Any]] = field(default_factory=list)
    probe: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def step(self) -> int:
        """Optimizer steps that the metrics know of."""
        return max((int(entry["step"]) for entry in (*self.train, *self.val)), default=0)


def read_facts(run: Path) -> Facts:
    """Read what is there. Raises RunError when `run` is no run, ConfigError when its recipe.toml is not whole."""
    opened = RunDir.open(run)
    facts = Facts(run, opened.recipe)
    entries = [entry for entry in _entries(opened, facts.notes) if entry["kind"] in ("train", "val")]
    for entry in filter(_is_whole, entries):
        (facts.train if entry["kind"] == "train" else facts.val).append(entry)
    if left_out := len(entries) - len(facts.train) - len(facts.val):
        facts.notes.append(f"{left_out} entries of metrics.jsonl without a finite loss were passed over.")
    facts.probe = _read(run / "probe.json", read_probe, facts.notes)
    facts.environment = _read(run / "env.json", _environment, facts.notes)
    if not facts.train:
        facts.notes.append("No training step is recorded yet (metrics.jsonl has no entry).")
    if not facts.val:
        facts.notes.append("No validation loss is recorded yet.")
    if facts.probe is None:
        facts.notes.append("The features are not probed yet: nextpatch probe RUN --data TRAIN --test TEST.")
    if facts.environment is None:
        facts.notes.append("env.json is absent, so the machine and the versions are unknown.")
    return facts


_OF_FOLDERS = {
    "tensorboard": "TensorBoard log",
    "wandb": "log of Weights & Biases",
    "mlflow.db": "log of MLflow",
    "sinks": "which entries each metric sink has taken",
}


def _is_whole(entry: dict[str, Any]) -> bool:
    """Whether a log entry has the numbers that the page needs."""
    needed = ("step", "loss", *(("images", "elapsed_s", "images_per_s", "tflops") if entry["kind"] == "train" else ()))
    lists = [entry.get(name) or [] for name in ("position_loss", "chunk_loss")]
    return (
        all(is_number(entry.get(name)) for name in needed)
        and type(entry["step"]) is int
        and all(isinstance(values, list) and all(v is None or is_number(v) for v in values) for values in lists)
    )


def _entries(run: RunDir, notes: list[str]) -> list[dict[str, Any]]:
    try:
        return run.read_metrics()
    except UserError as error:
        notes.append(f"{error}.")
        return []


def _read(path: Path, reader: Callable[[Path, str], dict[str, Any]], notes: list[str]) -> dict[str, Any] | None:
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


def thin(entries: Sequence[dict[str, Any]], keys: Sequence[str], points: int = POINTS) -> list[dict[str, Any]]:
    """At most `points` entries: the mean of each `keys` over neighbouring ones, placed at the last step of each."""
    group = max(1, -(-len(entries) // points))
    cuts = [entries[i : i + group] for i in range(0, len(entries), group)]
    return [{"step": cut[-1]["step"], **{key: sum(e[key] for e in cut) / len(cut) for key in keys}} for cut in cuts]


def list_files(run: Path) -> list[dict[str, Any]]:
    """Every file of the run with its size and purpose; the page itself counts, though it is being written."""
    found = []
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        name = path.relative_to(run).as_posix()
        if not any(part.startswith(".") for part in path.relative_to(run).parts) and not name.startswith("report."):
            purpose = _OF_FOLDERS.get(name.partition("/")[0]) or _PURPOSE.get(path.name, "")
            found.append({"name": name, "size_bytes": path.stat().st_size, "purpose": purpose})
    return found
