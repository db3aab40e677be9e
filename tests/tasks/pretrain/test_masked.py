"""Runs of the objective masked and of the transformer head: two ranks as one, and resumed to the last bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from corpus import saved
from nextpatch.data.config import DataConfig
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.ranks import Ranks
from nextpatch.model.config import ModelConfig
from nextpatch.runs.config import OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir, load_run
from nextpatch.tasks.pretrain.run import pretrain
from ranks import run_ranks

OBJECTIVES = ("next_patch", "masked")
QUIET = Console(quiet=True)


def recipe_on(folder: str, objective: str) -> Recipe:
    model = ModelConfig(
        "nano", (8, 12), 4, 3, embed_dim=16, depth=2, num_heads=2, head_width=16, head_depth=2, head="transformer",
        objective=objective,
    )  # fmt: skip
    train = TrainConfig(
        6, global_batch_size=4, micro_batch_size=1, precision="fp32", device="cpu", val_every=3, checkpoint_every=3,
        log_every=1, threads=1,
    )  # fmt: skip
    return Recipe(model, DataConfig(train=(folder,), val_images=4, workers=0), OptimConfig(lr=3e-3), train)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(20):
        (folder / f"{number:02}.png").write_bytes(saved(rng.integers(0, 256, (10, 14, 3), np.uint8), "PNG"))
    return str(folder)


def by_two(photos: str, out: str) -> list[int]:
    """Sharded (FSDP2) and in copies, of both objectives."""
    ended = []
    with Ranks.opened() as world:
        for objective in OBJECTIVES:
            for name, engine in (("sharded", EngineConfig(shard=2)), ("copies", EngineConfig(replicate=2, shard=1))):
                recipe = replace(recipe_on(photos, objective), engine=engine)
                ended.append(pretrain(recipe, Path(f"{out}/{objective}-{name}"), False, QUIET, world).exit_code)
    return ended


def losses(path: Path) -> list[float]:
    return [entry["loss"] for entry in RunDir.open(path).read_metrics() if entry["kind"] in ("train", "val")]


def test_two_ranks_get_the_losses_of_one(photos: str, tmp_path: Path) -> None:
    assert run_ranks(by_two, 2, photos, str(tmp_path)) == [[0] * 4] * 2
    for objective in OBJECTIVES:
        pretrain(recipe_on(photos, objective), tmp_path / objective, False, QUIET)
        for name in ("sharded", "copies"):
            ours = losses(tmp_path / f"{objective}-{name}")
            assert ours == pytest.approx(losses(tmp_path / objective), rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_resumed_run_ends_with_the_same_bits(objective: str, photos: str, tmp_path: Path) -> None:
    recipe = recipe_on(photos, objective)
    pretrain(recipe, tmp_path / "whole", False, QUIET)
    pretrain(recipe, tmp_path / "resumed", False, QUIET)
    run = RunDir.open(tmp_path / "resumed")
    for late in run.checkpoints.glob("step_*6"):
        for file in sorted(late.rglob("*"), reverse=True):
            file.unlink()
        late.rmdir()
    assert load_run(run.path).step == 3
    pretrain(None, run.path, True, QUIET)
    ours, theirs = (load_run(tmp_path / name).model.state_dict() for name in ("resumed", "whole"))
    assert ("mask_token.token" in ours) == (objective == "masked")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
