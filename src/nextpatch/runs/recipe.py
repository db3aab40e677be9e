"""The recipe: every value that defines a run, in one frozen dataclass that is also a TOML file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextpatch.config import dumps_toml, from_dict, read_toml, to_dict
from nextpatch.core.errors import ConfigError
from nextpatch.data.config import DataConfig
from nextpatch.dist.config import EngineConfig
from nextpatch.model.config import ModelConfig
from nextpatch.runs.config import GuardConfig, OptimConfig, TrainConfig

_OF_THE_MACHINE = {
    "data": ("workers", "stall_s"),
    "train": ("micro_batch_size", "device", "threads", "keep_checkpoints", "keep_every", "log_every", "sinks"),
}
_LATER: dict[
    str, dict[str, Any]
] = {  # values that came after the first runs, and what these had: absent where they say just that
    "train": {"init": "", "freeze_trunk": False, "minutes": 0.0, "ema_half_life": 0.0},
    "data": {"labels": False, "classes": []},
    "model": {
        "head": "mlp",
        "objective": "next_patch",
        "mask_ratio": 0.5,
        "order": "raster",
        "order_seed": 0,
        "codes": 0,
        "tokenizer_sha256": "",
        "classes": 0,
        "label_dropout": 0.1,
        "draws": 4,
        "upscale": 0,
        "paper_loss": 0.0,
    },
}


@dataclass(frozen=True)
class Recipe:
    """What to learn (`model`), from what (`data`), how (`optim`, `train`, `guard`), by which machines (`engine`)."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)


def load_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file; `ConfigError` names an unknown key and the nearest known one."""
    return recipe_from_dict(read_toml(path), str(path))


def load_run_recipe(path: Path) -> Recipe:
    """The recipe that a run wrote into its directory; ConfigError when it is not whole, as after a full disk."""
    values = read_toml(path)
    if missing := [table for table in ("model", "data", "optim", "train") if table not in values]:
        raise ConfigError(
            f"{path} is not a run's whole recipe ({', '.join(missing)} missing); restore it from a copy of the run"
        )
    return recipe_from_dict(values, str(path))


def recipe_from_dict(values: dict[str, Any], where: str = "recipe") -> Recipe:
    """The recipe in nested plain values."""
    return from_dict(Recipe, values, where)


def binding(recipe: Recipe, places: bool = False) -> dict[str, dict[str, Any]]:
    """The values by which a run was begun and must go on; the others may be changed when it is resumed.

    With `places` also where its images lie, which bound it once; now the images themselves do.
    """
    values = to_dict(recipe)
    if not places:
        del values["data"]["train"], values["data"]["val"]
    del values["model"]["tokenizer"]  # a place, too: its digest binds
    del values["engine"], values["guard"]
    for table, names in _OF_THE_MACHINE.items():
        values[table] = {name: value for name, value in values[table].items() if name not in names}
    for table, later in _LATER.items():
        values[table] = {name: value for name, value in values[table].items() if later.get(name, ...) != value}
    return values


def recipe_digest(recipe: Recipe, places: bool = False) -> str:
    """SHA-256 of the values that a run must go on with."""
    return hashlib.sha256(dumps_toml(binding(recipe, places)).encode()).hexdigest()
