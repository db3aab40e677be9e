"""A tiny run and labeled images that its features can tell apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from labeled import write_labeled
from nextpatch.data.config import DataConfig
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.runs.checkpoint import save_checkpoint
from nextpatch.runs.config import TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir

MODEL = ModelConfig("nano", (8, 12), 4, 1, embed_dim=16, depth=3, num_heads=2, head_width=16, head_depth=1)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with one checkpoint."""
    data = DataConfig(train=(str(tmp_path / "train"),), val_images=8, workers=0)
    recipe = Recipe(MODEL, data, train=TrainConfig(precision="fp32", device="cpu"))
    made = RunDir.create(tmp_path / "run", recipe)
    model = AIM(MODEL)
    init_weights(model, 0)
    save_checkpoint(made.checkpoints, 5, {"model": model.state_dict()}, {"step": 5})
    return made.path


@pytest.fixture
def train(tmp_path: Path) -> Path:
    """Thirty labeled images per class."""
    return write_labeled(tmp_path / "train", 30, 0)


@pytest.fixture
def test(tmp_path: Path) -> Path:
    """Ten other ones per class."""
    return write_labeled(tmp_path / "test", 10, 1)
