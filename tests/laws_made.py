"""Runs of a known law, for tests: sizes x lengths x seeds with a relative noise of every run."""

from __future__ import annotations

import numpy as np

from nextpatch.scaling.run_end import RunEnd
from nextpatch.scaling.surface import Cost, Surface

SIZES, LENGTHS = (1e5, 2.2e5, 4.5e5, 1e6, 2.1e6), (16_000, 32_000, 64_000, 116_000)
PATCHES = 49


def surface(alpha: float = 0.45, beta: float = 0.35, floor: float = 0.25) -> Surface:
    """A law of small images: each term about 0.3 in the middle of the runs."""
    values = (floor, 0.3 * 4e5**alpha, alpha, 0.3 * 3e6**beta, beta)
    return Surface(*(np.array([value]) for value in values))


def ends(
    of: Surface | None = None, noise: float = 0.0, seed: int = 0, sizes: tuple[float, ...] = SIZES,
    lengths: tuple[int, ...] = LENGTHS, seeds: int = 3, cost: Cost | None = None,
) -> tuple[RunEnd, ...]:  # fmt: skip
    """A run of every size, length and seed, 20,000 images to learn from, with a probe's error that follows the loss."""
    rng, of, cost = np.random.default_rng(seed), of or surface(), cost or Cost(6.0, 1.0, 0.0)
    found = []
    for size in sizes:
        for length in lengths:
            for number in range(seeds):
                patches = float(length * PATCHES)
                loss = float(of.loss(size, patches)[0] * np.exp(rng.normal(0, noise) if noise else 0.0))
                found.append(
                    RunEnd(
                        name=f"{size:.3g}-{length}", seed=number, params_trunk=round(size), params_head=450_000,
                        images=float(length), patches_per_image=float(PATCHES), scored_per_image=24.5,
                        flops=cost.factor * size**cost.exponent * patches, loss=loss,
                        error=10 + 40 * loss + float(rng.normal(0, 0.3) if noise else 0.0), train_images=29_000,
                    )
                )  # fmt: skip
    return tuple(found)
