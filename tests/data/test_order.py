from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from nextpatch.data.order import Order, held_out_indices

SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any).map(np.array)


def epoch(order, number=0):
    return order.at(np.arange(number * len(order), (number + 1) * len(order)))


@settings(max_examples=100, deadline=None)
@given(SIZES, st.integers(0, 2**32), st.integers(0, 1000), st.integers(1, 6), st.integers(0, 5))
def test_every_epoch_holds_every_sample_once(sizes, seed, number, streams, window):
    order = Order(sizes, seed, streams, window)
    assert sorted(epoch(order, number).tolist()) == list(range(sizes.sum()))


@pytest.mark.parametrize("window", [0, 2])
def test_epochs_and_seeds_differ(window):
    orders = {tuple(epoch(Order(np.full(5, 10), seed, 2, window), e)) for seed in (0, 1) for e in range(3)}
    assert len(orders) == 6


def test_order_does_not_depend_on_what_was_asked_before():
    order = Order(np.array([3, 0, 4, 2]), 5, 2, 1)
    in_turn = order.at(np.arange(1000))
    for position in (7, 999, 3, 7, 512, 99):
        assert order.at(np.array([position])) == in_turn[position]


def test_a_stream_reads_few_shards_at_a_time_and_each_for_one_stretch():
    streams, window = 4, 3
    order = Order(np.full(120, 50), 1, streams, window)
    shards = epoch(order) // 50
    for stream in range(streams):
        met = shards[stream::streams]
        for begin in range(0, len(met), window * 50):
            assert len(set(met[begin : begin + window * 50].tolist())) <= 2 * (window + 1)
        for shard in set(met.tolist()):
            stretch = np.flatnonzero(met == shard)
            assert stretch[-1] - stretch[0] < 2 * (window + 1) * 50
    others = [set(shards[s::streams].tolist()) for s in range(streams)]
    assert sum(map(len, others)) <= 120 + streams - 1  # a reader per stream: only shards at the seams are read twice


def test_the_shards_ahead_are_those_that_are_met():
    order = Order(np.arange(1, 41), 3, 4, 2)
    for position in (0, 57, 400, 815):
        ahead = order.shards_from(position, 1)
        step = order.window_at(np.arange(position, position + 4))
        reach = int((step.size - step.offset).min()) * 4  # here every stream is still in its window
        met = order.at(np.arange(position, position + reach))
        owners = np.searchsorted(np.cumsum(np.arange(1, 41)), met, "right")
        assert set(owners.tolist()) <= set(ahead)
    halves = [order.shards_from(0, 1, stripe, 2) for stripe in (0, 1)]
    assert set(halves[0]) | set(halves[1]) == set(order.shards_from(0, 1))
    assert len(halves[0]) < len(order.shards_from(0, 1))
    assert set(order.shards_from(0, 1)) < set(order.shards_from(0, 3))


def test_whatever_may_replace_a_sample_is_read_at_about_the_same_time():
    order = Order(np.full(40, 10), 2, 2, 2)
    for position in (0, 33, 399, 400):
        others = list(order.others(position))
        window = order.window_at(np.array([position]))
        assert len(others) == len(set(others)) == window.size
        assert int(order.at(np.array([position]))[0]) in others
        assert list(order.others(position)) == others
    firsts = {next(iter(order.others(position))) for position in range(40)}
    assert len(firsts) > 10


def test_shuffling_leaves_no_trace_of_the_stored_order():
    """Rank correlation of position and shard, and of neighbors' shards, over an epoch of a set that lies by shard."""
    order = Order(np.full(200, 50), 4, 8, 4)
    shards = epoch(order) // 50
    assert abs(spearmanr(np.arange(10_000), shards).statistic) < 0.1  # 200 shards: a sigma of chance is 0.07
    assert abs(spearmanr(shards[:-1], shards[1:]).statistic) < 0.1


def test_batches_of_a_sorted_set_are_balanced():
    """Classes one after the other, 20 shards each: a batch of 256 must hold about what chance would give it."""
    classes = epoch(Order(np.full(200, 50), 5, 8, 4)) // (20 * 50)
    counts = np.stack([np.bincount(b, minlength=10) for b in np.split(classes[: 39 * 256], 39)])
    worst_share = counts.max() / 256
    assert worst_share < 0.45  # 32 shards are mixed at a time; sorted, it would be 1
    wholly = epoch(Order(np.full(200, 50), 5)) // (20 * 50)
    even = np.stack([np.bincount(b, minlength=10) for b in np.split(wholly[: 39 * 256], 39)])
    assert even.max() / 256 < 0.2


def test_a_billion_samples_cost_little(capsys):
    tracemalloc.start()
    order = Order(np.full(100_000, 10_000), 0, 8, 4)
    seconds = []
    for position in (0, 5 * 10**8, 123_456_789_012):
        start = time.perf_counter()
        assert 0 <= order.at(np.array([position]))[0] < 10**9
        seconds.append(time.perf_counter() - start)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with capsys.disabled():
        print(f"[1e9 samples: slowest seek {1000 * max(seconds):.0f} ms, peak {peak / 2**20:.1f} MiB] ", end="")
    assert peak < 50 * 2**20


def test_what_is_held_out_is_distinct_repeatable_and_of_the_seed():
    held = held_out_indices(100, 30, seed=4)
    assert len(set(held.tolist())) == 30
    assert held.tolist() == sorted(held.tolist())
    assert 0 <= held[0] < held[-1] < 100
    assert np.array_equal(held_out_indices(100, 30, 4), held)
    assert not np.array_equal(held_out_indices(100, 30, 5), held)


@pytest.mark.parametrize("count", [0, 10, 11])
def test_holding_out_leaves_both_parts_something(count):
    with pytest.raises(ValueError, match="cannot hold out"):
        held_out_indices(10, count, 0)


def test_there_is_no_order_of_nothing():
    with pytest.raises(ValueError, match="no samples"):
        Order(np.zeros(3, np.int64), 0)
