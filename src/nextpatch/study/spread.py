"""Figures of several seeds as one: their mean with an interval, and curves as a mean with the range around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from nextpatch.measure.paired import established
from nextpatch.measure.probe_result import Interval
from nextpatch.measure.study_result import SeedRun, VariantResult


@dataclass(frozen=True)
class SeedValues:
    """Values of several seeds, their mean, and its 95 % t-interval (None of fewer than two)."""

    values: tuple[float, ...]
    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class Curve:
    """At each `x` the mean over seeds, and the least and the greatest value of any."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    band: tuple[Interval, ...]


def spread(values: Sequence[float]) -> SeedValues | None:
    """The values with mean and interval; None of none."""
    if not values:
        return None
    found = established(values)
    interval = None if found.low is None or found.high is None else (found.low, found.high)
    return SeedValues(tuple(values), mean(values), interval)


def curve(points: Sequence[Mapping[float, float]]) -> Curve | None:
    """The mean of several curves, at the places that all of them have; None where there is no such place."""
    shared = sorted(set.intersection(*map(set, points))) if points else []
    if not shared:
        return None
    columns = [[line[x] for line in points] for x in shared]
    return Curve(tuple(shared), tuple(map(mean, columns)), tuple((min(c), max(c)) for c in columns))


def shown_runs(variant: VariantResult) -> list[SeedRun]:
    """The runs whose curves are drawn: those that are done, or else all that have begun."""
    done = [run for run in variant.runs if run.status == "done"]
    return done or [run for run in variant.runs if run.val or run.figures]
