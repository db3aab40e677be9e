"""A few bad samples are passed over, counted and named; too many end the run and say why."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from nextpatch.data.config import DataConfig
from nextpatch.data.error import DataError
from nextpatch.data.loader import TrainStream
from nextpatch.data.mixture import Mixture, MixturePart
from nextpatch.data.skipped import FORGIVEN, Skipped, by_kind, check_budget, summary

NONE = np.empty(0, np.int64)
EMPTY, TORN = Skipped("empty", "empty file", "photos"), Skipped("damaged", "image file is truncated", "photos")


def bad(empty, torn):
    return {f"e{i}": EMPTY for i in range(empty)} | {f"t{i}": TORN for i in range(torn)}


def test_reasons_are_counted_with_an_example_of_each():
    assert by_kind(bad(1, 3)) == "3 damaged, 1 empty"
    assert summary(bad(1, 3)) == "image file is truncated (3x, such as t0); empty file (1x, such as e0)"


@pytest.mark.parametrize(("found", "seen", "share"), [(10, 20, 0.0), (20, 1100, 0.01), (0, 0, 0.0), (500, 1000, 0.5)])
def test_within_the_budget_nothing_happens(found, seen, share):
    check_budget(bad(found, 0), seen, share)


@pytest.mark.parametrize(("found", "seen", "share"), [(11, 20, 0.0), (21, 1100, 0.01), (568, 1000, 0.5)])
def test_over_the_budget_the_reasons_are_named(found, seen, share):
    with pytest.raises(
        DataError, match=rf"{found} of the first {seen:,} .* {found - 1} damaged, 1 empty.*data\.max_bad"
    ):
        check_budget(bad(1, found - 1), seen, share)


@pytest.mark.parametrize(("percent", "goes_on"), [(0.1, True), (0.9, True), (10, False), (50, False)])
def test_a_run_stops_when_more_than_a_percent_is_bad(memory, percent, goes_on):
    """Over two epochs of 1,200 samples: each bad one named once, or an early end that says why."""
    count = 1200
    chosen = np.random.default_rng(1).permutation(count)[: round(count * percent / 100)]
    stream = TrainStream(
        memory(count, bad=tuple(chosen.tolist())),
        Mixture([MixturePart(np.array([count]), NONE)], 0),
        DataConfig(),
        (4, 4),
        1,
        0,
    )
    batches = stream.batches(0, 100)
    if goes_on:
        shown = [key for batch in islice(batches, 24) for key in batch.keys]
        assert set(stream.bad) == {f"{i}.png" for i in chosen}
        assert len(set(shown)) == count - len(chosen)
    else:
        with pytest.raises(DataError, match=r"samples cannot be used .*not an image of a known format"):
            list(islice(batches, 24))
        assert FORGIVEN < len(stream.bad) <= FORGIVEN + 100
