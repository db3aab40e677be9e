"""No value of any configuration does harm: it holds, or a ConfigError names it, at once and before anything is made."""

from __future__ import annotations

import math
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from nextpatch.bench.config import BenchConfig
from nextpatch.config import from_dict, to_dict
from nextpatch.core.errors import ConfigError
from nextpatch.data.config import DataConfig
from nextpatch.dist.config import EngineConfig
from nextpatch.model.config import SIZES, ModelConfig
from nextpatch.runs.config import GuardConfig, OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.curate.config import Packing
from nextpatch.tasks.embed.config import EmbedConfig
from nextpatch.tasks.finetune.config import FinetuneConfig
from nextpatch.tasks.plan.config import PlanConfig
from nextpatch.tasks.plan.gpus import GPUS, Gpu
from nextpatch.tasks.probe.config import ProbeConfig

OUT = Path("out")
CONFIGS: list[Any] = [
    DataConfig(mean=(0.5,), std=(0.5,)), OptimConfig(), TrainConfig(), GuardConfig(), EngineConfig(), ModelConfig(),
    ProbeConfig("w", "d", "t", labels=(100,), shots=(1,)), FinetuneConfig("w", "d", OUT), EmbedConfig("d", "w", OUT),
    BenchConfig("w", OUT), PlanConfig(ModelConfig(), GPUS["h100"]), GPUS["h100"], Packing(),
]  # fmt: skip
NAMES = [(config, item.name) for config in CONFIGS for item in fields(config)]
BAD = [math.nan, math.inf, -math.inf, -1, 0, 1e9, 10**9, 2**64, 10**400, "", "\x1b[2J", None, True, (), (math.nan,), {}]
LARGE = {"steps", "val_every", "checkpoint_every", "keep_every", "log_every", "keep_checkpoints", "warmup_steps"}
LARGE |= {
    "clip_norm",
    "ema_half_life",
    "val_images",
    "labels",
    "shots",
    "step",
    "seed",
    "samples_per_shard",
}  # a thousand million of them are right


@pytest.mark.parametrize(("config", "name"), NAMES, ids=lambda value: getattr(type(value), "__name__", value))
def test_only_a_config_error_leaves_a_config(config: Any, name: str):
    began = time.monotonic()
    for value in BAD:
        _held(config, name, value)
        if isinstance(getattr(config, name), tuple):
            _held(config, name, (value,) * len(getattr(config, name)))
    assert time.monotonic() - began < 1


def _held(config: Any, name: str, value: Any) -> bool:
    """Whether the config takes the value; any error but ConfigError leaves."""
    twin = object.__new__(type(config))  # not by replace(): the suite checks the types of every call, users' don't
    for item in fields(config):
        object.__setattr__(twin, item.name, value if item.name == name else getattr(config, item.name))
    try:
        getattr(twin, "__post_init__", lambda: None)()
    except ConfigError as error:
        assert "\x1b" not in str(error)  # noqa: PT017 - what is not a ConfigError must leave
        return False
    return True


@pytest.mark.parametrize(
    ("config", "name"),
    [(c, n) for c, n in NAMES if isinstance(getattr(c, n), (int, float)) and not isinstance(getattr(c, n), bool)],
    ids=lambda value: getattr(type(value), "__name__", value),
)
def test_numbers_are_finite_and_bounded(config: Any, name: str):
    assert not any(_held(config, name, value) for value in (math.nan, math.inf, -math.inf, -2, 2**64, 10**400))
    assert _held(config, name, 10**9) == (
        name in LARGE or (type(config), name) in {(Gpu, "tflops"), (Gpu, "float32_tflops")}
    )


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_the_defaults_hold(config: Any):
    assert replace(config) == config


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("data", {"workers": 100_000}), ("guard", {"sigmas": math.nan}), ("optim", {"clip_norm": math.nan}),
        ("optim", {"weight_decay": -0.1}), ("optim", {"betas": [1.0, 0.95]}), ("optim", {"betas": [0.9]}),
        ("data", {"crop_ratio": [0.75, math.inf]}), ("train", {"seed": 2**64}), ("model", {"depth": 10**9}),
        ("model", {"in_chans": 10**9}), ("model", {"patch_size": 1, "img_size": [65536, 65536]}),
        ("train", {"global_batch_size": 10**9}), ("data", {"std": [0.0, 1.0, 1.0], "mean": [0.0, 0.0, 0.0]}),
        ("optim", {"warmup_steps": -5}), ("model", {"size": ""}), ("train", {"precision": "fp8"}),
    ],
)  # fmt: skip
def test_a_recipe_with_an_absurd_value_is_refused(table: str, values: dict[str, Any]):
    with pytest.raises(ConfigError, match=next(iter(values))):
        from_dict(Recipe, {table: values})


@pytest.mark.parametrize("size", SIZES)
def test_every_named_size_is_inside_the_bounds(size: str):
    assert from_dict(ModelConfig, to_dict(ModelConfig(size=size).resolved())).size == size


def test_a_whole_number_is_a_float_and_a_list_a_tuple():
    assert _held(OptimConfig(), "lr", 1)
    assert _held(OptimConfig(), "betas", [0, 0.5])
    assert not _held(OptimConfig(), "betas", [0, 0.5, 0.5])
    assert not _held(TrainConfig(), "seed", True)
