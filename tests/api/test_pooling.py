"""One vector of an image: the same regions in memory, in files, of queries and of loaded weights; old files stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import nextpatch
from nextpatch.config import ConfigError
from nextpatch.tasks.embed.columns import facts_of
from nextpatch.tasks.embed.shard import Columns
from nextpatch.weights.error import WeightsError
from nextpatch.weights.foreign import backbone_of

PIXELS = np.random.default_rng(0).integers(0, 255, (6, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> nextpatch.PretrainResult:
    """Without a probe, which would bring a classifier."""
    small = {"embed_dim": 64, "depth": 2, "head_width": 64, "head_depth": 1, "patch_size": 7}
    place = tmp_path_factory.mktemp("pooling") / "run"
    return nextpatch.pretrain(PIXELS, place, model="nano", steps=1, report=False, quiet=True, **small)


def corners(patches: torch.Tensor) -> torch.Tensor:
    """The first and the last of 3 x 3 regions of a grid of 4 x 4 patches, each of 2 x 2."""
    grid = patches.unflatten(1, (4, 4))
    return torch.cat([grid[:, :2, :2].mean(dim=(1, 2)), grid[:, 2:, 2:].mean(dim=(1, 2))], dim=1)


def test_vectors_are_means_of_regions_wherever_they_are_made(run: nextpatch.PretrainResult, tmp_path: Path) -> None:
    model = run.load()
    with torch.no_grad():
        patches = model.read(model.inputs(torch.from_numpy(PIXELS)[:, None]))
    in_memory = nextpatch.embed(run, PIXELS, quiet=True)
    written = nextpatch.embed(run, PIXELS, out=tmp_path / "f.npy", quiet=True)
    for found in (in_memory.array, np.load(written.out), model.embed(PIXELS[..., None]), model.pool(patches)):
        ends = torch.from_numpy(np.asarray(found, np.float32))[:, list(range(64)) + list(range(512, 576))]
        torch.testing.assert_close(ends, corners(patches), rtol=2e-2, atol=2e-2)
    assert in_memory.pool == "regions"


@pytest.mark.parametrize(("pool", "values", "facts"), [("auto", 576, ("regions", 3)), ("mean", 64, ("mean", None))])
def test_a_query_is_pooled_as_the_file_says(
    pool: str, values: int, facts: tuple[str, int | None], run: nextpatch.PretrainResult, tmp_path: Path
) -> None:
    index = nextpatch.embed(run, PIXELS, out=tmp_path / "f.parquet", pool=pool, quiet=True)  # type: ignore[call-overload]
    said = facts_of(index.out)
    assert (said["pool"], said.get("regions")) == facts
    for there in (index, nextpatch.embed(run, PIXELS, pool=pool, quiet=True)):  # type: ignore[call-overload]
        found = nextpatch.similar(there, PIXELS[4], k=2, quiet=True)
        assert (found.rows[0], found.space) == (4, "standardized")
        assert found.similarities[0] == pytest.approx(1, abs=1e-3)
    whitened = nextpatch.similar(index, PIXELS[2], k=1, space="whitened", quiet=True)
    assert (whitened.rows, whitened.space) == ((2,), "whitened")
    assert nextpatch.embed(run, PIXELS, pool=pool, quiet=True).array.shape == (6, values)  # type: ignore[call-overload]


def test_a_folder_of_means_is_not_continued_with_regions(run: nextpatch.PretrainResult, tmp_path: Path) -> None:
    nextpatch.embed(run, PIXELS, out=tmp_path / "f", pool="mean", quiet=True)
    with pytest.raises(ConfigError, match=r"other pool, regions \(--pool mean\); give the same values"):
        nextpatch.embed(run, PIXELS, out=tmp_path / "f", quiet=True)
    assert nextpatch.embed(run, PIXELS, out=tmp_path / "f", pool="mean", quiet=True).images == 6


def test_models_of_other_libraries_keep_the_mean_unless_regions_are_asked_for() -> None:
    trunk = torch.nn.Conv2d(3, 8, 4, 4)
    model = backbone_of(trunk, lambda x: [trunk(x).flatten(2).mT], {"img_size": (16, 16)})
    assert (Columns.of(model).pool, Columns.of(model, "regions").regions.side) == ("mean", 3)
    assert model.embed(np.zeros((1, 16, 16, 3), np.uint8)).shape == (1, 8)


def test_regions_that_are_too_many_values_are_refused() -> None:
    trunk = torch.nn.Conv2d(3, 600, 4, 4)
    model = backbone_of(trunk, lambda x: [trunk(x).flatten(2).mT], {"img_size": (16, 16)})
    with pytest.raises(WeightsError, match="16 patches of 600 values; regions need"):
        Columns.of(model, "regions")
