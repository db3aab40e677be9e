"""Small runs that the examples in the docstrings use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nextpatch
from sampled import generator_of, saved


@pytest.fixture(scope="session")
def nano_run(tmp_path_factory: pytest.TempPathFactory) -> nextpatch.PretrainResult:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 28, 28), np.uint8)
    place = tmp_path_factory.mktemp("api") / "nano"
    small = {"embed_dim": 64, "depth": 2, "head_width": 64, "head_depth": 1, "patch_size": 7}
    return nextpatch.pretrain(pixels, place, model="nano", steps=2, report=False, quiet=True, **small)


@pytest.fixture(scope="session")
def flow_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that generates, of random weights."""
    model = generator_of(img_size=(28, 28), patch_size=7, in_chans=1, classes=10)
    return saved(model, tmp_path_factory.mktemp("api") / "flow")


@pytest.fixture(scope="session")
def upscale_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that enlarges, of random weights."""
    model = generator_of(img_size=(28, 28), patch_size=7, in_chans=1, classes=0, upscale=2)
    return saved(model, tmp_path_factory.mktemp("api") / "upscale")


@pytest.fixture(scope="session")
def density_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with likelihoods, of random weights."""
    model = generator_of("density", img_size=(28, 28), patch_size=7, in_chans=1, classes=0)
    return saved(model, tmp_path_factory.mktemp("api") / "density")
