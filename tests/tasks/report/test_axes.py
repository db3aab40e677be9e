"""Axes map values to paper in order, and their ticks are round and inside."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextpatch.tasks.report.axes import axis, linear_ticks, number, readable, step_axis


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda v: round(v, 3)), min_size=1, max_size=20))
def test_every_value_lands_between_the_ends(values: list[float]) -> None:
    for made in (axis(values, 10, 90), step_axis(values, 10, 90)):
        assert all(9.999 <= made(v) <= 90.001 for v in values)


@given(st.integers(0, 10**7))
def test_steps_are_counted_in_whole_numbers(last: int) -> None:
    ticks = step_axis([last], 10, 90).ticks()
    assert len(ticks) >= 2
    assert all(tick == round(tick) for tick in ticks)


@given(st.lists(st.integers(2, 10**7), min_size=1, max_size=12, unique=True).map(sorted))
def test_readable_ticks_are_the_last_value_and_others_far_enough_apart(values: list[int]) -> None:
    kept = readable(values)
    assert kept[-1] == values[-1]
    assert all(larger >= 1.4 * smaller for smaller, larger in itertools.pairwise(kept))
    assert set(kept) <= set(values)


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e6))
def test_linear_ticks_are_few_even_and_inside(low: float, span: float) -> None:
    ticks = linear_ticks(low, low + span)
    assert 1 <= len(ticks) <= 7
    assert all(low - span * 1e-6 <= t <= low + span * (1 + 1e-6) for t in ticks)


def test_log_axis_spaces_decades_evenly_and_ticks_them() -> None:
    made = axis([100, 10_000], 0, 100, log=True)
    assert made(1000) - made(100) == pytest.approx(made(10_000) - made(1000))
    assert made.ticks() == [100, 1000, 10_000]


def test_zero_axis_starts_at_zero() -> None:
    assert axis([500, 600], 0, 100, zero=True)(0) == 0


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12_500, "12,500"), (3_200_000, "3.2M"), (0.4123, "0.412"), (85.81, "85.8")]
)
def test_numbers_read_as_a_person_writes_them(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(1e-6, 1e9), st.floats(1.01, 1e6))
def test_a_logarithmic_axis_has_ticks_however_short_it_is(low: float, factor: float) -> None:
    made = axis([low, low * factor], 10, 90, log=True)
    assert len(made.ticks()) >= 2
    assert all(9.9 <= made(tick) <= 90.1 for tick in made.ticks())
