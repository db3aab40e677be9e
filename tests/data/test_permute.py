from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from nextpatch.data.permute import FEW, key_of, permuted


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3000), seed=st.integers(0, 2**62))
def test_every_index_goes_somewhere_else(n, seed):
    assert sorted(permuted(np.arange(n), n, key_of(seed)).tolist()) == list(range(n))


def test_sizes_and_keys_may_differ_from_entry_to_entry():
    sizes, seeds = np.array([3, 70, 1000, 5, 10**10, 64, 65]), np.arange(7)
    index = np.array([2, 69, 0, 4, 9_999_999_999, 63, 64])
    together = permuted(index, sizes, key_of(seeds))
    alone = [permuted(index[i : i + 1], int(sizes[i]), key_of(i))[0] for i in range(7)]
    assert together.tolist() == alone


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_all_orders_of_a_few_are_equally_likely(n):
    keys = key_of(11, np.arange(24_000))
    orders = np.stack([permuted(np.full(len(keys), i), n, keys) for i in range(n)], axis=1)
    counts = Counter(map(tuple, orders.tolist()))
    assert len(counts) == math.factorial(n)
    assert chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("n", [FEW + 1, 100, 1000])
def test_an_index_of_many_goes_everywhere_equally_often(n):
    keys = key_of(12, np.arange(4000))
    expected = np.bincount(np.arange(n) * 10 // n) * (4000 / n)
    for index in (0, 1, n // 2, n - 1):
        went = permuted(np.full(4000, index), n, keys)
        assert chisquare(np.bincount(went * 10 // n, minlength=10), expected).pvalue > 1e-4


def test_neighbors_are_parted():
    went = permuted(np.arange(100_000), 100_000, key_of(13))
    assert abs(np.corrcoef(went, np.arange(100_000))[0, 1]) < 0.02
    assert abs(np.corrcoef(went[1:], went[:-1])[0, 1]) < 0.02
    assert chisquare(np.bincount((went[1:] - went[:-1]) % 100_000 // 1000, minlength=100)).pvalue > 1e-4


def test_keys_depend_on_every_number_and_on_their_order():
    keys = [key_of(*numbers)[0] for numbers in ((1, 2), (2, 1), (1, 3), (1,), (1, 2, 0), (0, 1, 2), (-1, 2))]
    assert len(set(keys)) == len(keys)
    assert key_of(5, np.array([7, 8]))[1] == key_of(5, 8)[0]


def test_the_order_is_the_same_on_every_machine():
    """Saved runs depend on these very numbers: a change here is a new VERSION of the order."""
    assert permuted(np.arange(5), 5, key_of(1)).tolist() == [4, 0, 1, 3, 2]
    assert permuted(np.arange(4), 1000, key_of(1, 2)).tolist() == [23, 566, 223, 452]
