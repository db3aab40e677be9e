"""Differences paired by seed: their mean, its 95 % t-interval over seeds, and what that establishes of a claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev

from nextpatch.core.errors import UserError
from nextpatch.measure.study_result import Verdict

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Established:
    """Mean of differences, its interval, and the verdict with why; None where there is nothing to take it of."""

    mean: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    because: str = ""


def need_scipy() -> None:
    """UserError, which says what to install, where scipy is absent: asked before hours of runs that need it."""
    try:
        import scipy.stats  # noqa: F401
    except ImportError:
        raise UserError("a study's intervals need scipy; install it with: pip install 'nextpatch[measure]'") from None


def established(differences: Sequence[float]) -> Established:
    """The verdict on differences of one per seed, of which positive ones are as claimed.

    "holds" where the interval lies above 0, "reversed" where it lies below, else "not established". The interval is
    mean ± t * s / sqrt(n), with Student's t for n - 1 degrees of freedom and s the deviation of the n differences. One
    seed establishes nothing, and neither do differences that are all the same number: those of accuracies on few test
    images are steps of 1 / images, and tell nothing of how they vary. Where all are 0 they are equal, not established.
    """
    if not differences:
        return Established(None, None, None, "not measured")
    center = mean(differences)
    if len(differences) < 2:
        return Established(center, None, None, "not established", "one seed has no interval")
    spread = stdev(differences)
    if spread == 0:
        return Established(center, center, center, "not established", "the seeds do not differ: too few test images")
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1)) * spread / sqrt(len(differences))
    low, high = center - half, center + half
    verdict: Verdict = "holds" if low > 0 else "reversed" if high < 0 else "not established"
    return Established(center, low, high, verdict)


def slope(values: Sequence[float]) -> float:
    """The slope of the least-squares line through `values` over 0, 1, 2, ...; at least two values."""
    middle, average = (len(values) - 1) / 2, mean(values)
    over = sum((place - middle) * (value - average) for place, value in enumerate(values))
    return over / sum((place - middle) ** 2 for place in range(len(values)))
