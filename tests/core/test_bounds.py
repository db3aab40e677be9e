"""Values that are not finite or not inside their bounds are named; names from outside are shown safely."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nextpatch.core.bounds import check_bounds
from nextpatch.core.text import shown

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [NAN, INF, -INF, -1, 101, 2**64, 10**400, (0.5, NAN), (1, -1)])
def test_outside(value: Any):
    with pytest.raises(ValueError, match=r"^x .* must lie between 0 and 100$"):
        check_bounds(SimpleNamespace(x=value), x=(0, 100))


@pytest.mark.parametrize("value", [0, 100, 0.5, None, (), (1, 2.5), True])
def test_inside(value: Any):
    check_bounds(SimpleNamespace(x=value), x=(0, 100))


def test_a_bound_may_be_infinite_but_no_value():
    check_bounds(SimpleNamespace(x=1e300), x=(0, INF))
    with pytest.raises(ValueError, match="x inf"):
        check_bounds(SimpleNamespace(x=INF), x=(0, INF))


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain é 画像.jpg", "plain é 画像.jpg"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("two\nlines\ttab\r", "two\\x0alines\\x09tab\\x0d"),
        ("caf\udce9", "caf\\xe9"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_names_are_shown_without_what_a_terminal_obeys(text: str, safe: str):
    assert shown(text) == safe
    assert shown(text).encode("utf-8")
