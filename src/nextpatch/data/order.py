"""Which sample stands at a position of the run: a pure function of (seed, position), so a run's state is one number."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Int64

ORDER, VIEW, HOLDOUT, REPLACE = 1, 2, 3, 4  # what chance is drawn for; keeps the streams of one seed apart


def rng_at(seed: int, purpose: int, position: int) -> np.random.Generator:
    """The generator that belongs to a position: the same in every process, worker and resumed run.

    The position is the counter's highest word, which drawing never reaches, so no two positions share numbers.
    """
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, 0, position]))


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, n: int) -> Int64[np.ndarray, " n"]:
    return rng_at(seed, ORDER, epoch).permutation(n)


def sample_at(position: int, n: int, seed: int) -> int:
    """The index, of `n`, at `position`: n positions from a multiple of n on hold every sample exactly once."""
    epoch, offset = divmod(position, n)
    return int(_permutation(seed, epoch, n)[offset])


def holdout(n: int, count: int, seed: int) -> tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " held"]]:
    """(indices to train on, `count` held-out indices), both sorted; the same for the same seed."""
    if not 0 < count < n:
        raise ValueError(f"cannot hold out {count} of {n} images; both parts need at least one")
    chosen = rng_at(seed, HOLDOUT, 0).permutation(n)
    return np.sort(chosen[count:]), np.sort(chosen[:count])
