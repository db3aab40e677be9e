"""Loss against the error of a probe: whether the order of one is that of the other, and the line between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from nextpatch.scaling.bootstrap import clusters_of, counts_of
from nextpatch.scaling.law import Downstream, interval
from nextpatch.scaling.run_end import RunEnd

_LEAST = 4  # configurations


def downstream_of(ends: Sequence[RunEnd], draws: int, seed: int) -> Downstream | None:
    """Rank correlation and line with 90 % intervals over configurations; None of fewer than four with an error."""
    known = [end for end in ends if end.error is not None]
    if len({end.configuration for end in known}) < _LEAST:
        return None
    clusters = clusters_of(known)
    loss, error = np.array([end.loss for end in known]), np.array([end.error for end in known], float)
    counts = counts_of(clusters, draws, seed)
    rank = interval(*_parted(_correlation(_ranks(loss, counts), _ranks(error, counts), counts)))
    slopes, offsets = _lines(loss, error, counts)
    slope, offset = interval(*_parted(slopes)), interval(*_parted(offsets))
    if rank is None or slope is None or offset is None:
        return None
    away = rank.low > 0 or rank.high < 0
    return Downstream(
        runs=len(known), spearman=rank, offset=offset, slope=slope,
        verdict="established" if away else "not established",
    )  # fmt: skip


def _parted(values: Float[np.ndarray, " draws"]) -> tuple[Float[np.ndarray, 1], Float[np.ndarray, " rest"]]:
    """The runs as they are, and the draws."""
    return values[:1], values[1:]


def _ranks(values: Float[np.ndarray, " n"], counts: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws n"]:
    """The rank of each value among all that were drawn; those that are equal share the mean of theirs."""
    below = counts @ np.less(values[:, None], values[None, :]).astype(float)
    equal = counts @ np.equal(values[:, None], values[None, :]).astype(float)
    found: Float[np.ndarray, "draws n"] = below + (equal + 1) / 2
    return found


def _correlation(
    x: Float[np.ndarray, "draws n"], y: Float[np.ndarray, "draws n"], counts: Float[np.ndarray, "draws n"]
) -> Float[np.ndarray, " draws"]:
    weights = counts / counts.sum(1, keepdims=True)
    x, y = (values - (weights * values).sum(1, keepdims=True) for values in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Float[np.ndarray, " draws"] = (weights * x * y).sum(1) / np.sqrt(
            (weights * x * x).sum(1) * (weights * y * y).sum(1)
        )
    return found


def _lines(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], counts: Float[np.ndarray, "draws n"]
) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]:
    """Slope and offset of the least-squares line of every draw."""
    weights = counts / counts.sum(1, keepdims=True)
    mean_x, mean_y = weights @ x, weights @ y
    from_x, from_y = x - mean_x[:, None], y - mean_y[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (weights * from_x * from_y).sum(1) / (weights * from_x**2).sum(1)
    return slope, mean_y - slope * mean_x
