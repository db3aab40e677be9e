"""Which objective a model's configuration asks for."""

from __future__ import annotations

from nextpatch.model.config import ModelConfig
from nextpatch.model.names import OBJECTIVES
from nextpatch.objective.objective import Objective


def objective_of(cfg: ModelConfig) -> Objective:
    """The objective that `cfg.objective` names, of this model."""
    found: Objective = OBJECTIVES[cfg.objective](cfg)
    return found
