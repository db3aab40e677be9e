"""Exponents are recovered wherever the runs lie, the optimum is the optimum, and it depends on nothing but the runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, nnls

from laws_made import ends, surface
from nextpatch.scaling.fit import fit_powers
from nextpatch.scaling.parabola import bottom
from nextpatch.scaling.robust import DELTA, huber, non_negative
from nextpatch.scaling.run_end import RunEnd
from nextpatch.scaling.surface import Cost, Surface, frontier


def grid(seed: int) -> tuple[np.ndarray, Surface]:
    """An asymmetric, incomplete grid of sizes and lengths somewhere, and a law with terms of any proportion on it."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(11, 20)) * np.cumprod(rng.uniform(1.4, 4, rng.integers(4, 8)))
    lengths = np.exp(rng.uniform(14, 23)) * np.cumprod(rng.uniform(1.4, 4, rng.integers(4, 7)))
    inputs = np.stack([x.ravel() for x in np.meshgrid(sizes, lengths)], axis=1)
    inputs = inputs[rng.random(len(inputs)) < 0.8]
    alpha, beta = rng.uniform(0.2, 0.9, 2)
    terms = rng.uniform(0.1, 1.0, 2) * np.exp(np.array([alpha, beta]) * np.log(inputs).mean(0))
    return inputs, Surface(*(np.array([v]) for v in (rng.uniform(0.1, 2), terms[0], alpha, terms[1], beta)))


@pytest.mark.parametrize("seed", range(8))
def test_exponents_of_noise_free_runs_are_recovered_on_off_center_grids(seed: int) -> None:
    inputs, law = grid(seed)
    found = fit_powers(inputs, law.loss(inputs[:, 0], inputs[:, 1]), np.ones((1, len(inputs))))
    assert found.exponents[0] == pytest.approx([law.alpha[0], law.beta[0]], rel=1e-3)
    assert found.floor == pytest.approx(law.floor, rel=1e-3)
    assert found.settled.all()


def test_the_parabola_is_biased_on_the_same_law_without_noise() -> None:
    """What the parametric fit is free of: sizes to one side of the best one give another exponent."""
    law, cost = Surface(*(np.array([v]) for v in (0.3, 0.3 * 1e6**0.5, 0.5, 0.3 * 1e8**0.3, 0.3))), Cost(6.0, 1.0, 0.0)
    budgets, best = np.geomspace(1e14, 1e17, 4), frontier(law, cost)
    shift = np.geomspace(1, 30, 4)  # the larger the budget, the further the sizes lie above the best one
    bottoms = []
    for flops, by in zip(budgets, shift, strict=True):
        sizes = best.params(flops)[0] * np.geomspace(0.25, 4, 7) * by
        bottoms.append(bottom(sizes, law.loss(sizes, cost.patches(sizes, flops))))
    share = np.polyfit(np.log(budgets), np.log(bottoms), 1)[0]
    assert abs(share / best.params_share[0] - 1) > 0.02


def noisy(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs, law = grid(seed)
    return inputs, law.loss(inputs[:, 0], inputs[:, 1]) * np.exp(rng.normal(0, 0.01, len(inputs)))


@pytest.mark.parametrize("seed", [3, 5])
def test_no_independent_optimizer_finds_a_lower_loss(seed: int) -> None:
    inputs, loss = noisy(seed)
    found = fit_powers(inputs, loss, np.ones((1, len(inputs))))
    logs = np.log(inputs)

    def objective(x: np.ndarray) -> float:
        terms = np.exp(x[0]) + np.exp(x[1] - x[2] * logs[:, 0]) + np.exp(x[3] - x[4] * logs[:, 1])
        return float(huber(np.log(terms) - np.log(loss)).mean())

    rng, tried = np.random.default_rng(0), []
    for _ in range(6):
        exponents, shares = rng.uniform(0.1, 1, 2), rng.uniform(0.1, 1, 3) * loss.mean() / 2
        start = np.log(shares) + np.array([0, *exponents]) * np.array([0, *logs.mean(0)])
        x = np.array([start[0], start[1], exponents[0], start[2], exponents[1]])
        for _ in range(4):
            x = minimize(objective, x, method="Nelder-Mead", options={"maxiter": 1500, "fatol": 1e-15, "xatol": 1e-9}).x
        tried.append(objective(x))
    assert found.objective[0] <= min(tried) * (1 + 1e-9)
    assert found.objective[0] == pytest.approx(min(tried), rel=0.02)


def test_a_fit_depends_on_neither_the_order_of_the_runs_nor_units_nor_company() -> None:
    inputs, loss = noisy()
    alone = fit_powers(inputs, loss, np.ones((1, len(inputs))))
    order = np.random.default_rng(1).permutation(len(inputs))
    counts = np.random.default_rng(2).multinomial(len(inputs), np.full(len(inputs), 1 / len(inputs)), size=5)
    company = fit_powers(
        inputs[order] * [1e-6, 1e3], 7 * loss[order], np.concatenate([np.ones_like(counts[:1]), counts]) * 1.0
    )
    assert company.exponents[0] == pytest.approx(alone.exponents[0], rel=1e-6)
    assert company.floor[0] == pytest.approx(7 * alone.floor[0], rel=1e-6)


def test_counts_are_repetitions() -> None:
    inputs, loss = noisy()
    counts = np.random.default_rng(2).multinomial(len(inputs), np.full(len(inputs), 1 / len(inputs)))
    again = np.repeat(np.arange(len(inputs)), counts)
    counted = fit_powers(inputs, loss, counts[None] * 1.0)
    repeated = fit_powers(inputs[again], loss[again], np.ones((1, len(again))))
    assert counted.objective == pytest.approx(repeated.objective, rel=1e-9)
    assert counted.exponents == pytest.approx(repeated.exponents, rel=1e-6)


def test_one_bad_run_moves_the_fit_little() -> None:
    runs, law = ends(), surface()
    inputs, loss = (
        np.array([values(run) for run in runs]) for values in (lambda r: (r.params_trunk, r.patches), lambda r: r.loss)
    )
    loss[4] *= 1.5
    found = fit_powers(inputs * 1.0, loss, np.ones((1, len(inputs))))
    assert found.exponents[0] == pytest.approx([law.alpha[0], law.beta[0]], rel=0.01)


def test_a_loss_that_no_size_changes_has_no_exponent_of_size() -> None:
    inputs, law = grid(1)
    loss = law.floor + law.patches_factor * inputs[:, 1] ** -law.beta
    found = fit_powers(inputs, loss, np.ones((1, len(inputs))))
    assert found.factors[0, 0] * inputs[:, 0].min() ** -found.exponents[0, 0] < 1e-6
    assert found.exponents[0, 1] == pytest.approx(law.beta[0], rel=1e-3)


def test_non_negative_least_squares_are_scipys() -> None:
    rng = np.random.default_rng(0)
    rows, target = rng.normal(size=(50, 20, 3)), rng.normal(size=(50, 20))
    gram, right = np.swapaxes(rows, 1, 2) @ rows, np.einsum("bnk,bn->bk", rows, target)
    found = non_negative(gram, right)
    wanted = np.array([nnls(a, b)[0] for a, b in zip(rows, target, strict=True)])
    assert found == pytest.approx(wanted, abs=1e-9)


def test_huber_is_half_the_square_inside_and_linear_outside() -> None:
    assert huber(np.array([0.5 * DELTA, -3 * DELTA])) == pytest.approx([0.125 * DELTA**2, 2.5 * DELTA**2])


def test_a_run_is_counted_in_all_units() -> None:
    end = RunEnd(
        name="a", params_trunk=100, params_head=50, images=20, patches_per_image=4, scored_per_image=2, loss=1,
        train_images=10,
    )  # fmt: skip
    assert (end.patches, end.scored, end.epochs) == (80, 40, 2)
    assert (end.params("trunk"), end.params("all")) == (100, 150)
    assert end.flops_6nd == end.spent == 6 * 150 * 80
