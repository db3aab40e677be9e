"""Verdicts over seeds: the interval is scipy's own, and nothing is established where chance may have done it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nextpatch.measure.paired import established, slope


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_that_of_scipy_s_paired_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.normal(70, 2, 5), rng.normal(69, 2, 5)
    found = established((one - other).tolist())
    wanted = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([], "not measured"),
        ([5.0], "not established"),
        ([5.0, 5.0, 5.0], "not established"),
        ([0.0, 0.0], "not established"),
        ([5.0, 5.1, 4.9], "holds"),
        ([-5.0, -5.1, -4.9], "reversed"),
        ([5.0, -1.0, 0.5], "not established"),
        ([1.0, 3.0], "not established"),  # two seeds: t is 12.7
    ],
)
def test_a_verdict_needs_an_interval_beside_zero(differences: list[float], verdict: str) -> None:
    assert established(differences).verdict == verdict


def test_where_nothing_differs_a_claim_is_established_by_chance_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    verdicts = [established(rng.normal(0, 1, 3).tolist()).verdict for _ in range(2000)]
    wrong = 1 - verdicts.count("not established") / len(verdicts)
    assert 0.03 < wrong < 0.07


def test_the_slope_is_that_of_least_squares() -> None:
    values = [1.0, 4.0, 3.0, 9.0]
    assert slope(values) == pytest.approx(np.polyfit(range(4), values, 1)[0])
    assert slope([2.0, 5.0]) == 3.0
