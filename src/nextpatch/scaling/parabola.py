"""IsoFLOP parabolas: the second approach of Hoffmann et al. 2022, for comparison.

They are biased even without noise: the loss over log N is no parabola, so where the sizes lie to one side of the best
one, the bottom that is found is not it, and the exponent that follows from several budgets is another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from nextpatch.scaling.law import Parabola
from nextpatch.scaling.run_end import Counted, RunEnd

WARNING = "parabolas are biased, also without noise, where the sizes do not lie evenly around the best one"
_ALIKE = 1.25  # budgets within this factor are one
_LEAST = 3  # sizes that a parabola needs


def bottom(params: Float[np.ndarray, " n"], loss: Float[np.ndarray, " n"]) -> float:
    """N at the bottom of the least-squares parabola of the loss over log N; 0 where it opens downwards."""
    center = np.log(params).mean()
    square, slope, _ = np.polyfit(np.log(params) - center, loss, 2)
    return float(np.exp(center - slope / (2 * square))) if square > 0 else 0.0


def parabolas(ends: Sequence[RunEnd], counted: Counted) -> tuple[Parabola, ...]:
    """One for each group of runs of about equal operations that has three sizes or more."""
    found, rest = [], sorted(ends, key=lambda end: end.spent)
    while rest:
        group = [end for end in rest if end.spent <= rest[0].spent * _ALIKE]
        rest = rest[len(group) :]
        params = np.array([end.params(counted) for end in group], float)
        if len({*params}) >= _LEAST:
            flops = float(np.exp(np.mean(np.log([end.spent for end in group]))))
            best = bottom(params, np.array([end.loss for end in group]))
            found.append(Parabola(flops=flops, sizes=len({*params}), params=best))
    return tuple(found)


def share_of(found: Sequence[Parabola]) -> float | None:
    """The exponent of N over C that the bottoms tell; None of fewer than two."""
    known = [one for one in found if one.params]
    if len(known) < 2:
        return None
    return float(np.polyfit(np.log([one.flops for one in known]), np.log([one.params for one in known]), 1)[0])
