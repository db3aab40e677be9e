"""`nextpatch check`: the proofs of the objective, on a model of a run, of a recipe, or on a small one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from nextpatch.core.fields import Flag
from nextpatch.runs.given import recipe_path


@dataclass(frozen=True)
class Check:
    """Prove by gradients that a model predicts the next patch and never sees it: no leak, no missing shift.

    examples:
      nextpatch check
      nextpatch check runs/photos
      nextpatch check aim-600m
    """

    target: Annotated[str, Flag("RUN|RECIPE", positional=True)] = ""
    """A run, a .toml file or the name of a shipped recipe (default: a small model)."""


def run(args: Check) -> int:
    """Print the verdict; returns 0 when all proofs hold, 1 otherwise."""
    from nextpatch.tasks.check.verdict import check

    return check(_target(args.target))


def _target(name: str) -> Path | None:
    if not name:
        return None
    return Path(name) if Path(name).is_dir() else recipe_path(name)
