"""Which images are learned from, chosen by and tested on."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labeled import write_labeled
from nextpatch.data.error import DataError
from nextpatch.data.sources.open import open_source
from nextpatch.data.splits import open_splits
from nextpatch.model.layer_sets import layer_sets


def test_parts_are_disjoint_balanced_and_nested(train: Path, test: Path) -> None:
    splits = open_splits(str(train), str(test), 0)
    assert len(splits.pool) + len(splits.select) == 90
    assert not set(splits.pool) & set(splits.select)
    assert len(splits.test) == 30
    assert Counter(splits.labels(splits.select).tolist()) == {0: 6, 1: 6, 2: 6}
    for budget in (3, 10, 50):
        counts = Counter(splits.labels(splits.pool[:budget]).tolist())
        assert max(counts.values()) - min(counts.values()) <= 1
    again, other = open_splits(str(train), str(test), 0), open_splits(str(train), str(test), 1)
    assert np.array_equal(splits.pool, again.pool)
    assert not np.array_equal(splits.pool, other.pool)


def test_without_test_data_a_fifth_is_set_aside(train: Path) -> None:
    splits = open_splits(str(train), "", 0)
    assert len(splits.test) == 18
    assert not set(splits.test) & (set(splits.pool) | set(splits.select))
    assert Counter(splits.open_test_labels(splits.test).tolist()) == {0: 6, 1: 6, 2: 6}


def test_rare_classes_stay_to_learn_from(tmp_path: Path) -> None:
    folder = write_labeled(tmp_path / "a", 20, 0)
    for name in ("rare", "scarce"):
        write_labeled(folder, {"rare": 1, "scarce": 2}[name], 1, (name,))
    splits = open_splits(str(folder), str(write_labeled(tmp_path / "b", 2, 2)), 0)
    names = [splits.classes[c] for c in splits.labels(splits.pool)]
    assert {"rare", "scarce"} <= set(names[:5])


def test_test_classes_are_matched_by_name(tmp_path: Path, train: Path) -> None:
    splits = open_splits(str(train), str(write_labeled(tmp_path / "some", 4, 2, ("dog", "elk"))), 0)
    assert set(splits.open_test_labels(splits.test).tolist()) == {1, 2}


def test_unlabeled_rows_are_left_out(train: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = type(open_source(str(train)))
    labeled = source.label
    monkeypatch.setattr(source, "label", lambda self, i: None if i % 2 else labeled(self, i))
    splits = open_splits(str(train), "", 0)
    assert not any(i % 2 for part in (splits.pool, splits.select, splits.test) for i in part)


def test_budgets_are_those_that_fit(train: Path, test: Path) -> None:
    splits = open_splits(str(train), str(test), 0)
    assert splits.budgets(()) == [72]
    assert splits.budgets((20, 10, 20)) == [10, 20]
    with pytest.raises(ValueError, match=r"1,000 labels asked for; .* leaves 72 to learn from, beside 18"):
        splits.budgets((10, 1000))


def test_what_cannot_be_probed_is_a_clear_error(tmp_path: Path, train: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "a.png").write_bytes((train / "cat" / "000.png").read_bytes())
    with pytest.raises(
        DataError, match=r"no labels to learn from: no class folders; put the images of each class into a folder"
    ):
        open_splits(str(flat), "", 0)
    with pytest.raises(DataError, match="are both"):
        open_splits(str(train), f"{flat}/../{train.name}", 0)
    with pytest.raises(DataError, match=r"has classes that .* has not: fox"):
        open_splits(str(train), str(write_labeled(tmp_path / "c", 2, 0, ("cat", "fox"))), 0)


@pytest.mark.parametrize("tested", [False, True])
@pytest.mark.parametrize("held_out", [False, True])
def test_the_number_of_images_that_is_asked_for_is_the_one_that_is_enough(
    held_out: bool, tested: bool, tmp_path: Path
) -> None:
    test = "" if tested else str(write_labeled(tmp_path / "test", 2, 1))
    enough = 1 + held_out + tested
    splits = open_splits(str(write_labeled(tmp_path / "enough", enough, 0)), test, 0, held_out)
    assert [len(splits.pool), len(splits.select)] == [3, 3 * held_out]
    if enough > 1:
        with pytest.raises(DataError, match=f"give at least {enough} of each class"):
            open_splits(str(write_labeled(tmp_path / "few", enough - 1, 0)), test, 0, held_out)


@pytest.mark.parametrize("pool", [40, 150, 331, 1_118, 1_999, 2_000, 9_000, 20_000, 10**6])
def test_rows_lie_at_least_a_factor_of_two_apart(pool: int, train: Path) -> None:
    splits = replace(open_splits(str(train), "", 0), pool=np.arange(pool))
    budgets = splits.budgets(())
    assert all(larger >= 2 * smaller for smaller, larger in itertools.pairwise(budgets))
    assert budgets[-1] == min(pool, 10_000)


def test_layer_sets_are_named_and_checked() -> None:
    assert layer_sets(("3", "0-2", "1,3"), 4) == {
        "3": ["block_3"],
        "0-2": ["block_0", "block_1", "block_2"],
        "1,3": ["block_1", "block_3"],
    }
    assert list(layer_sets((), 4)) == ["0", "1", "2", "3", "0-3"]
    assert list(layer_sets((), 24)) == ["3", "7", "11", "15", "19", "23", "18-23"]
    assert list(layer_sets(("each",), 3)) == ["0", "1", "2"]
    with pytest.raises(ValueError, match="this model has blocks 0 to 3"):
        layer_sets(("4",), 4)
    with pytest.raises(ValueError, match="not of the form"):
        layer_sets(("last",), 4)
