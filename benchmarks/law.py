"""The fit of scaling laws against surfaces that are known: exponents, coverage of intervals, time.

    OMP_NUM_THREADS=1 python benchmarks/law.py [exact] [coverage] [time] [--studies 200] [--bootstraps 200]

exact     100 asymmetric, incomplete, off-center grids without noise: the largest relative error of an exponent, and
          beside it that of IsoFLOP parabolas on the same surfaces
coverage  studies of 5 sizes x 4 lengths x 3 seeds with noise: how many 90 % intervals hold the truth
time      60 runs with 1,000 bootstraps, in processor seconds
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from nextpatch.scaling.bootstrap import counts_of
from nextpatch.scaling.fit import fit_powers
from nextpatch.scaling.parabola import bottom
from nextpatch.scaling.surface import Cost, Surface, frontier

COST = Cost(6.0, 1.0, 0.0)


def main() -> None:
    """Do what is asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["exact", "time", "coverage"])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--bootstraps", type=int, default=200)
    given = parser.parse_args()
    for part in given.parts:
        {"exact": exact, "time": speed, "coverage": lambda: coverage(given.studies, given.bootstraps)}[part]()


def exact() -> None:
    """Noise-free grids."""
    worst, biases = 0.0, []
    for seed in range(100):
        inputs, law = grid(seed)
        found = fit_powers(inputs, law.loss(inputs[:, 0], inputs[:, 1]), np.ones((1, len(inputs))))
        worst = max(worst, float(np.abs(found.exponents[0] / [law.alpha[0], law.beta[0]] - 1).max()))
        if (bias := parabola_bias(seed, law)) is not None:
            biases.append(bias)
    print(f"exact: 100 grids, largest relative error of an exponent {worst:.2g}")
    print(
        f"       IsoFLOP parabolas on the same surfaces, {len(biases)} of 100 with a bottom in every budget: exponent "
        f"of N over C off by {np.median(biases):.1%} (median), {max(biases):.1%} (largest)",
        flush=True,
    )


def grid(seed: int) -> tuple[np.ndarray, Surface]:
    """4 to 7 sizes and 4 to 6 lengths at random distances, a fifth of the runs missing."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(11, 20)) * np.cumprod(rng.uniform(1.4, 4, rng.integers(4, 8)))
    lengths = np.exp(rng.uniform(14, 23)) * np.cumprod(rng.uniform(1.4, 4, rng.integers(4, 7)))
    inputs = np.stack([x.ravel() for x in np.meshgrid(sizes, lengths)], axis=1)
    inputs = inputs[rng.random(len(inputs)) < 0.8]
    alpha, beta = rng.uniform(0.2, 0.9, 2)
    terms = rng.uniform(0.1, 1.0, 2) * np.exp(np.array([alpha, beta]) * np.log(inputs).mean(0))
    return inputs, Surface(*(np.array([v]) for v in (rng.uniform(0.1, 2), terms[0], alpha, terms[1], beta)))


def parabola_bias(seed: int, law: Surface) -> float | None:
    """Relative error of the share of N in C by five budgets of seven sizes that lie around the best one, up to a factor
    of four beside it; None where a parabola has no bottom."""
    rng, best = np.random.default_rng(seed), frontier(law, COST)
    budgets, bottoms = np.geomspace(1e18, 1e21, 5), []
    for flops in budgets:
        sizes = best.params(flops)[0] * np.geomspace(0.25, 4, 7) * np.exp(rng.uniform(-1.4, 1.4))
        bottoms.append(bottom(sizes, law.loss(sizes, COST.patches(sizes, flops))))
    if not all(bottoms):
        return None
    share = np.polyfit(np.log(budgets), np.log(bottoms), 1)[0]
    return float(abs(share / best.params_share[0] - 1))


def study(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, Surface]:
    """(inputs, loss, configurations, truth): 5 sizes x 4 lengths x 3 seeds, 0.5 % of noise on every run."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(11, 16)) * np.cumprod(rng.uniform(1.6, 2.6, 5))
    lengths = np.exp(rng.uniform(13, 18)) * np.cumprod(rng.uniform(1.6, 2.4, 4))
    alpha, beta = rng.uniform(0.3, 0.7, 2)
    inputs = np.repeat(np.stack([x.ravel() for x in np.meshgrid(sizes, lengths)], axis=1), 3, axis=0)
    terms = rng.uniform(0.2, 0.5, 2) * np.exp(np.array([alpha, beta]) * np.log(inputs).mean(0))
    law = Surface(*(np.array([v]) for v in (rng.uniform(0.2, 0.6), terms[0], alpha, terms[1], beta)))
    loss = law.loss(inputs[:, 0], inputs[:, 1]) * np.exp(rng.normal(0, 0.005, len(inputs)))
    return inputs, loss, np.repeat(np.arange(20), 3), law


def coverage(studies: int, bootstraps: int) -> None:
    """How many intervals hold alpha, beta, E, gamma and the best N of ten times the largest budget."""
    names, held, unsettled = ("alpha", "beta", "E", "gamma", "best N at 10 x C"), np.zeros(5), 0
    for seed in range(studies):
        inputs, loss, clusters, law = study(seed)
        found = fit_powers(inputs, loss, counts_of(clusters, bootstraps + 1, seed))
        fitted = Surface(
            found.floor, found.factors[:, 0], found.exponents[:, 0], found.factors[:, 1], found.exponents[:, 1]
        )
        truth, draws = (figures(one, 60 * inputs.prod(1).max()) for one in (law, fitted))
        low, high = np.nanpercentile(draws[1:], [5, 95], axis=0)
        held += (low <= truth[0]) & (truth[0] <= high)
        unsettled += int((~found.settled).sum())
        if (seed + 1) % 20 == 0:
            said = ", ".join(f"{name} {100 * value / (seed + 1):.1f}" for name, value in zip(names, held, strict=True))
            print(f"coverage: {seed + 1} studies, {bootstraps} bootstraps: {said} %; unsettled {unsettled}", flush=True)


def figures(surface: Surface, flops: float) -> np.ndarray:
    """What the intervals are of."""
    best = frontier(surface, COST)
    return np.stack([surface.alpha, surface.beta, surface.floor, best.gamma, best.params(flops)], axis=1)


def speed() -> None:
    """60 runs, 1,000 bootstraps."""
    inputs, loss, clusters, _ = study(0)
    began = time.process_time()
    fit_powers(inputs, loss, counts_of(clusters, 1001, 0))
    print(f"time: {time.process_time() - began:.1f} processor seconds for 60 runs with 1,000 bootstraps", flush=True)


if __name__ == "__main__":
    main()
