"""Kept features: used again only when all that decides them is the same, and they are as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nextpatch.data.sources.open import open_source
from nextpatch.tasks.probe.cache import Cached, FeatureBatch, cached
from nextpatch.tasks.probe.extract import TrunkFeatures
from nextpatch.tasks.probe.labeled import Labeled
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.load import load

KEY = {"trunk": "abc", "layers": [["block_0"]]}
FEATURES = torch.randn(2, 7, 3, 4, generator=torch.Generator().manual_seed(0))


class Computing:
    """Gives the features in two groups, and counts how often it was asked."""

    calls = 0

    def __call__(self) -> Iterator[FeatureBatch]:
        self.calls += 1
        yield FeatureBatch(FEATURES[:, :4], np.arange(4))
        yield FeatureBatch(FEATURES[:, 4:], np.arange(4, 7))


def kept(folder: Path, computing: Computing, key: dict[str, Any] = KEY) -> Cached:
    return cached(folder, key, (group for group in computing()))


def test_features_come_back_as_they_were_and_are_computed_once(tmp_path: Path) -> None:
    computing = Computing()
    for _ in range(3):
        found = kept(tmp_path, computing)
        assert torch.equal(found.features, FEATURES)
        assert found.indices.tolist() == list(range(7))
    assert computing.calls == 1
    kept(tmp_path, computing, {**KEY, "trunk": "other"})
    assert computing.calls == 2
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["f32", "json"])
@pytest.mark.parametrize("damage", ["half", "flip", "empty", "gone"])
def test_what_is_not_as_it_was_written_is_computed_again(name: str, damage: str, tmp_path: Path) -> None:
    computing = Computing()
    kept(tmp_path, computing)
    [file] = tmp_path.glob(f"*.{name}")
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.unlink()
    if damage != "gone":
        file.write_bytes({"half": data[: len(data) // 2], "flip": data, "empty": b""}[damage])
    assert torch.equal(kept(tmp_path, computing).features, FEATURES)
    assert computing.calls == 2
    kept(tmp_path, computing)
    assert computing.calls == 2


def test_nothing_done_to_the_tensor_reaches_the_file(tmp_path: Path) -> None:
    found = kept(tmp_path, Computing())
    [file] = tmp_path.glob("*.f32")
    before = file.read_bytes()
    file.chmod(0o400)
    found.features.zero_()
    assert file.read_bytes() == before


def test_a_computation_that_ends_early_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[FeatureBatch]:
        yield FeatureBatch(FEATURES, np.arange(7))
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        cached(tmp_path / "cache", KEY, failing())
    assert not list((tmp_path / "cache").glob("*"))


@pytest.mark.parametrize("change", ["nothing", "images", "mean"])
def test_other_images_under_the_same_names_are_other_features(
    change: str, run: Path, train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = TrunkFeatures.of
    monkeypatch.setattr(TrunkFeatures, "of", lambda *args: (asked.append(1), real(*args))[1])
    for turn in range(2):
        backbone = load(run)
        if turn and change == "mean":
            object.__setattr__(backbone.about, "mean", (0.9,))
        if turn and change == "images":
            for file in (train / "cat").iterdir():
                file.write_bytes((train / "dog" / file.name).read_bytes())
        source = open_source(str(train))
        extract = TrunkFeatures(InferenceModel.of(backbone, "cpu", "fp32"), {"0": ["block_0"]})
        Labeled.open(extract, source, np.arange(9), np.zeros(9, np.int64), 0, cache=tmp_path / "cache")
    assert len(asked) == (1 if change == "nothing" else 2)


def test_too_little_room_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    computing = Computing()
    with pytest.raises(ValueError, match="make room, or choose another place"):
        cached(tmp_path, KEY, (group for group in computing()), 10**18)
    assert not computing.calls


def test_a_cache_fresh_or_warm_gives_the_features_to_the_last_digit(run: Path, train: Path, tmp_path: Path) -> None:
    source, which = open_source(str(train)), np.arange(9)
    extract = TrunkFeatures(
        InferenceModel.of(load(run), "cpu", "fp32"), {"0": ["block_0"], "0-1": ["block_0", "block_1"]}
    )
    plain, *kept = (
        Labeled.open(extract, source, which, np.arange(9), 2**30, cache=cache)
        for cache in (None, tmp_path / "cache", tmp_path / "cache")
    )
    order = np.array([5, 0, 7, 2])
    for labeled in kept:
        assert torch.equal(labeled.pooled()[0], plain.pooled()[0])
        for (found, labels), (wanted, known) in zip(labeled.batches(3, order), plain.batches(3, order), strict=True):
            assert torch.equal(found, wanted)
            assert torch.equal(labels, known)
            assert found.stride() == wanted.stride()  # or sums over it could come in another order
