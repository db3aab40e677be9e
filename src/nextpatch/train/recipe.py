"""The recipe: every value that defines a run, in one frozen dataclass that is also a TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextpatch.config import from_dict, read_toml
from nextpatch.data.config import DataConfig
from nextpatch.model.config import ModelConfig
from nextpatch.train.config import OptimConfig, TrainConfig


@dataclass(frozen=True)
class Recipe:
    """What to learn (`model`), from what (`data`), how (`optim`, `train`)."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def load_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file; `ConfigError` names an unknown key and the nearest known one."""
    return recipe_from_dict(read_toml(path), str(path))


def recipe_from_dict(values: dict[str, Any], where: str = "recipe") -> Recipe:
    """The recipe in nested plain values."""
    return from_dict(Recipe, values, where)
