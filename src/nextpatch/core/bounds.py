"""Checks of configuration values: every number finite and inside its bounds."""

from __future__ import annotations

import math
from typing import Any


def check_bounds(config: Any, **bounds: tuple[float, float]) -> None:
    """ValueError naming the first field of `config` that is not finite or lies outside of [low, high].

    Each keyword is a field's name with its bounds, both allowed. A field may be a number, None (passes), or a tuple of
    numbers, each of which is checked. Call it in `__post_init__`.
    """
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        for number in value if isinstance(value, (tuple, list)) else (value,):
            if number is not None and not _inside(number, low, high):
                raise ValueError(f"{name} {_written(number)} must lie between {_written(low)} and {_written(high)}")


def _inside(number: Any, low: float, high: float) -> bool:
    return not (isinstance(number, float) and math.isnan(number)) and low <= number <= high and abs(number) < math.inf


def _written(number: float) -> str:
    if isinstance(number, int):
        return str(number) if abs(number) < 10**15 else f"{float(min(abs(number), 10**300)):.3g}"
    return f"{number:.6g}"
