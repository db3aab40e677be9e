"""Augmented epochs: pure functions of the seed, on any number of workers and ranks."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nextpatch.data.augment import Augment
from nextpatch.data.epochs import Epochs
from nextpatch.data.sources.folder import FolderSource


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    rng = np.random.default_rng(0)
    for i in range(11):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(tmp_path / "ab"[i % 2] / f"{i:02}.png")
    (tmp_path / "a" / "04.png").write_bytes(b"")
    return FolderSource(tmp_path)


def epochs(source: FolderSource, **changes: int) -> Epochs:
    labels = {i: source.label(i) or 0 for i in range(len(source))}
    return Epochs(source, np.arange(len(source)), labels, 4, 3, 5, Augment((16, 16)), 3, **changes)


def test_every_epoch_shows_each_image_once(source: FolderSource) -> None:
    stream = epochs(source)
    batches = list(stream)
    assert len(batches) == 6
    for epoch in range(3):
        keys = [key for batch in batches[2 * epoch : 2 * epoch + 2] for key in batch.keys]
        assert len(set(keys)) >= 7  # of ten that decode, eight are shown; one may stand in for the bad one
    assert {Path(key).name for key in stream.bad} <= {"04.png"}
    for batch in batches:
        assert batch.images.shape == (4, 3, 16, 16)
        assert batch.labels.tolist() == ["ab".index(Path(key).parent.name) for key in batch.keys]


def test_workers_and_ranks_change_nothing(source: FolderSource) -> None:
    alone = list(epochs(source))
    worked = list(epochs(source, workers=2))
    ranked = list(zip(*(epochs(source, rank=rank, ranks=2) for rank in range(2)), strict=True))
    for one, two, parts in zip(alone, worked, ranked, strict=True):
        assert torch.equal(one.images, two.images)
        assert one.keys == two.keys
        both = torch.stack([part.images for part in parts], dim=1).flatten(0, 1)
        assert torch.equal(one.images, both)


def test_augmentation_changes_colours_and_leaves_global_generators(source: FolderSource) -> None:
    image = torch.randint(0, 255, (3, 20, 24), dtype=torch.uint8)
    states = random.getstate(), torch.random.get_rng_state()
    views = [Augment((16, 16))(image, np.random.default_rng(i)) for i in range(20)]
    again = [Augment((16, 16))(image, np.random.default_rng(i)) for i in range(20)]
    assert all(torch.equal(a, b) for a, b in zip(views, again, strict=True))
    assert len({view.float().mean().item() for view in views}) == 20
    assert random.getstate() == states[0]
    assert torch.equal(torch.random.get_rng_state(), states[1])
    assert Augment((16, 16))(image[:1], np.random.default_rng(0)).shape == (1, 16, 16)
    many = torch.randint(0, 255, (5, 20, 24), dtype=torch.uint8)
    assert Augment((16, 16))(many, np.random.default_rng(0)).shape == (5, 16, 16)


def test_a_batch_that_does_not_divide_is_named(source: FolderSource) -> None:
    with pytest.raises(ValueError, match="does not divide among 3 ranks"):
        epochs(source, ranks=3)


def test_in_pairs_each_rank_has_both_of_those_that_mixup_mixes(source: FolderSource) -> None:
    for batch, *parts in zip(
        epochs(source), *(epochs(source, rank=rank, ranks=2, paired=True) for rank in range(2)), strict=True
    ):
        mirrored = dict(zip(batch.positions.tolist(), batch.positions.flip(0).tolist(), strict=True))
        assert sorted(position for part in parts for position in part.positions.tolist()) == sorted(mirrored)
        for part in parts:
            assert part.positions.flip(0).tolist() == [mirrored[position] for position in part.positions.tolist()]
    with pytest.raises(ValueError, match="a batch of 4 does not divide among 3 ranks"):
        epochs(source, ranks=3, paired=True)
