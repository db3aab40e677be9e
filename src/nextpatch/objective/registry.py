"""Which objective a model's configuration asks for."""

from __future__ import annotations

from nextpatch.model.config import ModelConfig
from nextpatch.objective.next_patch import NextPatch
from nextpatch.objective.objective import Objective


def objective_of(cfg: ModelConfig) -> Objective:
    """The one objective that there is so far; another one is a file beside it and a line here."""
    return NextPatch(cfg)
