"""The tools work on data that is elsewhere as on data that is here."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from nextpatch.data.config import DataConfig
from nextpatch.data.error import DataError
from nextpatch.data.sources.open import open_source
from nextpatch.model.config import ModelConfig
from nextpatch.runs.config import OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.curate.config import Packing
from nextpatch.tasks.curate.inspection import inspect
from nextpatch.tasks.curate.pack import pack
from nextpatch.tasks.curate.preview import preview
from nextpatch.tasks.curate.shards import shards_of
from nextpatch.tasks.embed.picture import Originals

fsspec = pytest.importorskip("fsspec")
QUIET = Console(file=io.StringIO())


@pytest.fixture
def far(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A bucket that holds shards of the photos."""
    monkeypatch.setenv("NEXTPATCH_CACHE", str(tmp_path / "cache"))
    pack(open_source(str(photos)), tmp_path / "shards", Packing(samples_per_shard=15), 0, QUIET)
    bucket = fsspec.filesystem("memory")
    for shard in (tmp_path / "shards").glob("*.tar"):
        bucket.pipe(f"/far/{shard.name}", shard.read_bytes())
    yield "memory://far"
    bucket.rm("/far", recursive=True)


def test_far_shards_are_inspected_previewed_and_packed_again(far: str, photos: Path, tmp_path: Path) -> None:
    found, bad = inspect(open_source(far), console=QUIET)
    assert (found.usable, len(bad)) == (40, 0)
    recipe = Recipe(ModelConfig("nano", (8, 8), 4), DataConfig(), OptimConfig(), TrainConfig())
    assert len(preview(open_source(far), recipe, 4).rows) == 4
    pack(open_source(far), tmp_path / "near", Packing(), 0, QUIET)
    near = open_source(str(tmp_path / "near"))
    original = [
        path.read_bytes() for path in photos.rglob("*.*") if path.name not in ("empty.jpg", "cut.jpg", "page.jpg")
    ]
    assert sorted(near.read(i) for i in range(len(near))) == sorted(original)


def test_to_look_at_a_few_fetches_no_shard(far: str, tmp_path: Path) -> None:
    recipe = Recipe(ModelConfig("nano", (8, 8), 4), DataConfig(), OptimConfig(), TrainConfig())
    assert len(preview(open_source(far), recipe, 4).rows) == 4
    assert inspect(open_source(far), limit=5, console=QUIET)[0].usable == 5
    assert Originals(far)[open_source(far).key(7)]
    assert not [path for path in (tmp_path / "cache" / "files").rglob("*") if path.is_file()]


def test_far_shards_are_named_by_their_folder_or_a_pattern(far: str) -> None:
    for spec in (far, f"{far}/*.tar", far + "/{00000..00002}.tar"):
        assert [entry.location.rpartition("/")[2] for entry in shards_of(spec)] == [
            "00000.tar",
            "00001.tar",
            "00002.tar",
        ]


def test_a_folder_without_shards_is_an_error(photos: Path) -> None:
    with pytest.raises(DataError, match="names no tar shards"):
        shards_of(str(photos))
