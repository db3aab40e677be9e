"""What a run directory says about itself, as plain values; what is absent is named, never an error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextpatch.train.recipe import Recipe, load_recipe

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
    """Read what is there. Raises ConfigError when `run` holds no readable recipe.toml, for then it is not a run."""
    facts = Facts(run, load_recipe(run / "recipe.toml"))
    for entry in _lines(run / "metrics.jsonl"):
        if entry.get("kind") in ("train", "val"):
            (facts.train if entry["kind"] == "train" else facts.val).append(entry)
    facts.probe = _json(run / "probe.json")
    facts.environment = _json(run / "env.json")
    if not facts.train:
        facts.notes.append("No training step is recorded yet (metrics.jsonl has no entry).")
    if not facts.val:
        facts.notes.append("No validation loss is recorded yet.")
    if facts.probe is None:
        facts.notes.append("The features are not probed yet: nextpatch probe RUN --data TRAIN --test TEST.")
    if facts.environment is None:
        facts.notes.append("env.json is absent, so the machine and the versions are unknown.")
    return facts


def _lines(path: Path) -> list[dict[str, Any]]:
    """The entries of a .jsonl file; a line torn by a kill is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [entry for entry in found if isinstance(entry, dict)]


def _json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return values if isinstance(values, dict) else None


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
            purpose = "TensorBoard log" if name.startswith("tensorboard/") else _PURPOSE.get(path.name, "")
            found.append({"name": name, "size_bytes": path.stat().st_size, "purpose": purpose})
    return found
