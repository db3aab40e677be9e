from __future__ import annotations

from math import isclose

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextpatch.data.error import DataError
from nextpatch.data.mixture import LONGEST_BLOCK, Mixture, MixturePart, block_counts
from nextpatch.data.order import Order

NONE = np.empty(0, np.int64)


def photos(weight=1.0, random_access=True):
    """1,000 samples, three of them left out."""
    return MixturePart(np.full(10, 100), np.array([3, 500, 999]), random_access, weight)


def tiles(weight=1.0, random_access=False):
    """210 samples, numbered from 1,000 on, two of them left out."""
    return MixturePart(np.full(7, 30), np.array([0, 209]), random_access, weight)


def test_one_part_alone_is_its_own_order():
    part = MixturePart(np.array([4, 7, 9]), NONE)
    assert np.array_equal(Mixture([part], 3).at(np.arange(60)), Order(part.shard_sizes, 3).at(np.arange(60)))


@pytest.mark.parametrize(("streams", "random_access"), [(1, True), (4, True), (4, False)])
def test_weights_hold_exactly_in_every_block(streams, random_access):
    mixture = Mixture([photos(0.8, random_access), tiles(0.2)], 1, streams, window=2)
    assert mixture.block == 5
    shown = mixture.at(np.arange(40 * 5 * streams))
    assert set((shown >= 1000).reshape(-1, 5 * streams).sum(1).tolist()) == {streams}


def test_each_part_goes_through_its_own_epochs():
    mixture = Mixture([photos(0.8), tiles(0.2)], 1, streams=4, window=2)
    shown = mixture.at(np.arange(12_000))
    first, second = shown[shown < 1000], shown[shown >= 1000]
    assert len(mixture) == 997 + 208
    for samples, size in ((first, 997), (second, 208)):
        whole = len(samples) // size
        counts = np.unique(samples, return_counts=True)[1]
        assert len(counts) == size
        assert counts.min() >= whole - 1
        assert counts.max() <= whole + 2  # the streams of a part need not end an epoch in the same block


def test_what_is_left_out_is_never_shown_nor_put_in_its_place():
    mixture = Mixture([photos(0.5), tiles(0.5)], 1, streams=2, window=2)
    out = {3, 500, 999, 1000, 1209}
    assert not out & set(mixture.at(np.arange(10_000)).tolist())
    for position in range(0, 200, 20):
        assert not out & set(mixture.others(position))


def test_a_replacement_is_of_the_same_part():
    mixture = Mixture([photos(0.5), tiles(0.5)], 1, streams=2, window=2)
    for position in range(30):
        here = int(mixture.at(np.array([position]))[0]) >= 1000
        others = list(mixture.others(position))
        assert {sample >= 1000 for sample in others} == {here}
        assert set(others) == set(range(1001, 1209)) if here else len(set(others)) == 997


def test_a_reader_of_some_streams_meets_its_own_shards():
    sizes = np.full(64, 25)
    mixture = Mixture(
        [MixturePart(sizes, NONE, False, 0.75), MixturePart(sizes, NONE, False, 0.25)], 2, streams=8, window=2
    )
    positions = np.arange(1600)
    met = [set((mixture.at(positions[r::2]) // 25).tolist()) for r in (0, 1)]
    assert len(met[0] & met[1]) <= 8  # at the seams of streams
    ahead = [set(mixture.shards_from(0, 1, stripe, 2)) for stripe in (0, 1)]
    start = [set((mixture.at(positions[r:80:2]) // 25).tolist()) for r in (0, 1)]
    assert start[0] <= ahead[0]
    assert start[1] <= ahead[1]
    assert any(shard >= 64 for shard in ahead[0])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_blocks_are_exact_for_whole_proportions(weights):
    counts, total = block_counts([w / 10 for w in weights]), sum(weights)
    if total <= LONGEST_BLOCK:
        assert all(isclose(c / sum(counts), w / total) for c, w in zip(counts, weights, strict=True))
    assert sum(counts) <= LONGEST_BLOCK


def test_blocks_are_as_short_as_can_be():
    assert block_counts([0.8, 0.2]) == [4, 1]
    assert block_counts([3, 3, 3]) == [1, 1, 1]
    assert block_counts([0.333, 0.333, 0.334]) == [333, 333, 334]
    assert block_counts([0.123456, 0.876544]) == [123, 877]


def test_a_weight_that_would_vanish_is_refused():
    with pytest.raises(DataError, match="less than 1 in 1000; raise it"):
        block_counts([1, 0.0001])
