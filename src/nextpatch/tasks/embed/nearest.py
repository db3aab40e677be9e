"""The rows nearest to a vector, by the cosine in a space that is fitted to the rows without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nextpatch.config import ConfigError
from nextpatch.tasks.embed.config import Pool, SpaceName
from nextpatch.weights.whitening import MOST, Space, standardized, whitened

ROWS = 8192  # compared at a time
Pieces = Callable[[], Iterable[Float[Tensor, "_ dim"]]]  # the same rows again at every call
LEAST_ROWS = 1000  # to whiten: with fewer, neighbors are not better for it, or worse (docs/log.md)
SHRINKAGE = 1.0  # share of the mean variance: the one that harms least where rows are few (docs/log.md)
_FITTED_ROWS, _FITTED_VALUES = 16_384, 2**25  # that a space is fitted to, evenly spread over all rows


class NearestRows(NamedTuple):
    """Rows, nearest first, their cosines, and the space that these were taken in."""

    rows: tuple[int, ...]
    cosines: tuple[float, ...]
    space: SpaceName  # never "auto"


def space_of(pieces: Pieces, count: int, space: SpaceName = "auto", pool: Pool = "mean") -> tuple[SpaceName, Space]:
    """The space of `count` rows that `pool` made, and what it is; fitted to some of them, however many there are."""
    chosen = space_for(space, count, pool)
    sample = spread(pieces(), count)
    if chosen == "whitened" and sample.shape[1] > MOST:  # whose directions are found of the first rows alone
        sample = sample[:: -(-len(sample) // MOST)]
    return chosen, fitted(sample, chosen)


def nearest(query: Float[Tensor, " dim"], pieces: Pieces, top: int, space: tuple[SpaceName, Space]) -> NearestRows:
    """The `top` rows that are nearest to `query`; ConfigError where it is of another length."""
    name, there = space
    if len(there.mean) != len(query):
        raise ConfigError(
            f"the index holds vectors of {len(there.mean):,} values, and its weights give {len(query):,} for an image; "
            "embed again"
        )
    return NearestRows(*_searched(query, pieces(), there, top), name)


def fitted(sample: Float[Tensor, "some dim"], space: SpaceName) -> Space:
    """The space of these rows; "auto" is decided before."""
    return standardized(sample) if space == "standardized" else whitened(sample, (SHRINKAGE,))[0]


def space_for(space: SpaceName, count: int, pool: Pool) -> SpaceName:
    """What "auto" stands for: whitened, except for few rows, and for what a classifier has pooled by attention."""
    if space != "auto":
        return space
    return "standardized" if pool == "attention" or count < LEAST_ROWS else "whitened"


def spread(pieces: Iterable[Float[Tensor, "_ dim"]], count: int) -> Float[Tensor, "some dim"]:
    """All of `count` rows, or every n-th, so that they are few enough to fit a space to."""
    kept, start, step = list[Tensor](), 0, 0
    for piece in pieces:
        step = step or -(-count // max(1, min(_FITTED_ROWS, _FITTED_VALUES // piece.shape[1])))
        kept.append(piece[-start % step :: step])
        start += len(piece)
    return torch.cat(kept)


def _searched(
    query: Float[Tensor, " dim"], pieces: Iterable[Float[Tensor, "_ dim"]], space: Space, top: int
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """(rows, cosines), the largest first."""
    wanted, start = space(query), 0
    cosines, rows = torch.empty(0), torch.empty(0, dtype=torch.int64)
    for piece in pieces:
        cosines = torch.cat([cosines, space(piece) @ wanted])
        rows = torch.cat([rows, torch.arange(start, start + len(piece))])
        best = cosines.topk(min(top, len(cosines)))
        cosines, rows, start = best.values, rows[best.indices], start + len(piece)
    return tuple(rows.tolist()), tuple(cosines.tolist())
