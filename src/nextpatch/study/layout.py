"""Where everything of a study lies: its own files in one folder, its runs in that or in one that studies share."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Layout(NamedTuple):
    """`out`: the study's folder; `runs`: the folder of its run directories."""

    out: Path
    runs: Path

    @classmethod
    def of(cls, out: Path, runs: Path | None = None) -> Layout:
        """Runs lie inside of the study's folder unless another one is named."""
        return cls(out, runs or out / "runs")

    @property
    def study(self) -> Path:
        """The study as it was begun, with its base written out."""
        return self.out / "study.toml"

    @property
    def plan(self) -> Path:
        """What was settled before the first run: recipes, threads, folders."""
        return self.out / "plan.json"

    @property
    def result(self) -> Path:
        """What was measured so far."""
        return self.out / "study.json"

    @property
    def failures(self) -> Path:
        """Runs that failed, with the last lines of their logs."""
        return self.out / "failures.json"

    @property
    def times(self) -> Path:
        """One line for each command that ended: when, how long, where."""
        return self.out / "times.jsonl"

    def tokenizer(self, folder: str) -> Path:
        """A tokenizer that was fitted for a study; among the runs, so that studies share it."""
        return self.runs / f"{folder}.safetensors"

    def recipe(self, folder: str) -> Path:
        """The recipe of a run, as it is given to nextpatch pretrain."""
        return self.out / "recipes" / f"{folder}.toml"

    def log(self, folder: str) -> Path:
        """What the commands of a run printed."""
        return self.out / "logs" / f"{folder}.log"

    def measured(self, folder: str, kind: str, digest: str) -> Path:
        """The folder of a measurement of a run: in the run directory, as all that is of it."""
        return self.runs / folder / "measures" / f"{kind}-{digest}"
