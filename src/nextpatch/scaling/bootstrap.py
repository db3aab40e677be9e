"""Draw configurations again, with all their seeds: how often each run counts in every draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from nextpatch.core.random import bootstrap_rng
from nextpatch.scaling.run_end import RunEnd


def clusters_of(ends: Sequence[RunEnd]) -> Int[np.ndarray, " n"]:
    """The number of each run's configuration: runs that differ by their seeds alone have one."""
    numbers: dict[tuple[int, int, float], int] = {}
    return np.array([numbers.setdefault(end.configuration, len(numbers)) for end in ends])


def counts_of(clusters: Int[np.ndarray, " n"], draws: int, seed: int) -> Float[np.ndarray, "draws n"]:
    """The runs as they are, and behind that `draws` - 1 draws of as many configurations with replacement."""
    number = int(clusters.max()) + 1
    drawn = bootstrap_rng(seed).multinomial(number, np.full(number, 1 / number), size=draws - 1)
    return np.concatenate([np.ones((1, number)), drawn])[:, clusters].astype(float)
