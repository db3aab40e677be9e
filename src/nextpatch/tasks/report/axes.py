"""From values to places on paper: axis ranges, round ticks and how a number is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Number = int | float  # JSON writes 80.0 and 80 alike


@dataclass(frozen=True)
class Axis:
    """Maps `low` .. `high` to the pixels `start` .. `stop`, linearly or by logarithm."""

    low: Number
    high: Number
    start: Number
    stop: Number
    log: bool = False
    whole: bool = False  # only whole numbers are values

    def __call__(self, value: Number) -> Number:
        """The pixel of a value."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[Number]:
        """Round values inside the range."""
        return _log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high, least=int(self.whole))


def axis(values: Sequence[Number], start: Number, stop: Number, log: bool = False, zero: bool = False) -> Axis:
    """An axis around `values` with some air at both ends; `zero` starts it at 0."""
    low, high = min(values), max(values)
    if log:
        air = 1.0 if low == high else (high / low) ** 0.06
        return Axis(low / max(air, 1.1), high * max(air, 1.1), start, stop, log=True)
    air = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return Axis(0.0 if zero else low - air, high + air, start, stop)


def step_axis(values: Sequence[Number], start: Number, stop: Number) -> Axis:
    """An axis for steps: from 0 to the last value, no air (a curve begins at the frame)."""
    low, high = min(0, *values), max(values)
    return Axis(low, high if high > low else low + 1, start, stop, whole=True)


def linear_ticks(low: Number, high: Number, about: int = 5, least: Number = 0) -> list[Number]:
    """Multiples of 1, 2 or 5 times a power of ten, about `about` of them in low .. high, at least `least` apart."""
    rough = (high - low) / about
    size = 10.0 ** math.floor(math.log10(rough))
    step = max(least, next(size * m for m in (1, 2, 5, 10) if size * m >= rough * 0.999))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: Number, high: Number) -> list[Number]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if high / low > 20 else (1, 2, 5)
    ticks: list[Number] = [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]
    return ticks if len(ticks) > 1 else linear_ticks(low, high)


def readable(values: Sequence[Number], apart: float = 1.4) -> list[Number]:
    """Of ascending values on a logarithmic axis those whose names do not touch: the last, and before it each that is
    smaller by the factor `apart`."""
    kept: list[Number] = []
    for value in reversed(values):
        if not kept or value * apart <= kept[0]:
            kept.insert(0, value)
    return kept


def number(value: Number, digits: int = 3) -> str:
    """A number as a person writes it: 12,500 · 3.2M · 0.412 · 85.8."""
    size = abs(value)
    for limit, sign in ((1e9, "G"), (1e6, "M")):
        if size >= limit:
            return f"{value / limit:.3g}{sign}"
    if size >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
