"""The learning rate of every step."""

from itertools import pairwise

import pytest

from nextpatch.runs.config import OptimConfig
from nextpatch.train.schedule import lr_at, warmup_steps

OPTIM = OptimConfig(lr=1e-3, min_lr=1e-5, warmup_steps=10)


def test_first_peak_and_last_value():
    assert lr_at(0, OPTIM, 100) == pytest.approx(1e-3 / 11)
    assert lr_at(10, OPTIM, 100) == 1e-3
    assert lr_at(100, OPTIM, 100) == pytest.approx(1e-5)


def test_warm_up_is_linear_and_the_cosine_falls_through_the_middle():
    rates = [lr_at(step, OPTIM, 100) for step in range(100)]
    rises = [b - a for a, b in pairwise(rates[:11])]
    assert rises == pytest.approx([1e-3 / 11] * 10)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert lr_at(55, OPTIM, 100) == pytest.approx((1e-3 + 1e-5) / 2)


def test_no_update_is_spent_at_a_rate_of_zero():
    optim = OptimConfig(lr=1e-3, min_lr=0.0, warmup_steps=3)
    assert all(lr_at(step, optim, 20) > 0 for step in range(20))


def test_without_warm_up_the_first_rate_is_the_peak():
    assert lr_at(0, OptimConfig(lr=2e-3, warmup_steps=0), 5) == 2e-3


def test_a_negative_warm_up_is_the_papers_share():
    assert warmup_steps(OptimConfig(warmup_steps=-1), 1_250_000) == 31_250
    assert warmup_steps(OptimConfig(warmup_steps=-1), 10) == 0


def test_a_warm_up_as_long_as_the_run_is_an_error_that_names_both():
    with pytest.raises(ValueError, match=r"warmup_steps 5 must be below train\.steps 5"):
        lr_at(0, OptimConfig(warmup_steps=5), 5)
