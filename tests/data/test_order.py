from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextpatch.data.order import ORDER, VIEW, holdout, rng_at, sample_at


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 40), seed=st.integers(0, 2**32), epoch=st.integers(0, 1000))
def test_every_epoch_holds_every_sample_once(n, seed, epoch):
    shown = [sample_at(position, n, seed) for position in range(epoch * n, (epoch + 1) * n)]
    assert sorted(shown) == list(range(n))


def test_epochs_and_seeds_differ():
    orders = {tuple(sample_at(e * 50 + i, 50, seed) for i in range(50)) for seed in (0, 1) for e in range(3)}
    assert len(orders) == 6


def test_order_does_not_depend_on_what_was_asked_before():
    in_turn = [sample_at(position, 10, 5) for position in range(1001)]
    for position in (7, 1000, 3, 7, 512, 99):
        assert sample_at(position, 10, 5) == in_turn[position]


def test_chance_is_apart_by_seed_purpose_and_position():
    draws = {rng_at(s, u, p).integers(2**62) for s in (0, 1) for u in (ORDER, VIEW) for p in range(50)}
    assert len(draws) == 200
    assert rng_at(3, VIEW, 9).integers(2**62) == rng_at(3, VIEW, 9).integers(2**62)


def test_a_long_draw_never_runs_into_the_next_position():
    long = set(rng_at(0, VIEW, 0).random(10_000).tolist())
    assert not long & set(rng_at(0, VIEW, 1).random(100).tolist())


def test_holdout_parts_are_disjoint_complete_and_repeatable():
    kept, held = holdout(100, 30, seed=4)
    assert len(held) == 30
    assert sorted([*kept, *held]) == list(range(100))
    assert all(np.array_equal(a, b) for a, b in zip(holdout(100, 30, 4), (kept, held), strict=True))
    assert not np.array_equal(holdout(100, 30, 5)[1], held)


@pytest.mark.parametrize("count", [0, 10, 11])
def test_holdout_leaves_both_parts_something(count):
    with pytest.raises(ValueError, match="cannot hold out"):
        holdout(10, count, 0)
