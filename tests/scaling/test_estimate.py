"""A law of runs: its intervals, its frontier, what it predicts of runs it has not seen, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr

from laws_made import ends, surface
from nextpatch.core.errors import ConfigError
from nextpatch.scaling import law_file
from nextpatch.scaling.downstream import downstream_of
from nextpatch.scaling.estimate import fit_law, front
from nextpatch.scaling.law import Law
from nextpatch.scaling.law_file import LawError, read_law, shipped_law, write_law
from nextpatch.scaling.surface import Cost, fit_cost, frontier


@pytest.fixture(scope="module")
def law() -> Law:
    return fit_law(ends(noise=0.004, seed=1), source="made", bootstraps=100, hold_out_largest=True)


def test_intervals_hold_the_truth_and_exponents_are_established(law: Law) -> None:
    truth = surface()
    for found, value in ((law.alpha, truth.alpha), (law.beta, truth.beta), (law.floor, truth.floor)):
        assert found.low - 0.02 <= value[0] <= found.high + 0.02
    assert law.alpha.positive
    assert law.beta.positive
    assert law.unsettled == 0


@pytest.mark.parametrize("exponent", [1.0, 0.8])
def test_the_frontier_is_where_no_other_size_is_better_at_equal_operations(exponent: float) -> None:
    cost, truth, flops = Cost(7.0, exponent, 0.0), surface(), 3e15
    best = frontier(truth, cost)
    tried = minimize_scalar(
        lambda x: float(truth.loss(np.exp(x), cost.patches(np.exp(np.array([x])), flops))[0]),
        bounds=(5, 30),
        method="bounded",
    )
    assert best.params(flops)[0] == pytest.approx(np.exp(tried.x), rel=1e-3)
    assert truth.floor[0] + best.flops_factor[0] * flops ** -best.gamma[0] == pytest.approx(tried.fun, rel=1e-9)


def test_the_cost_of_a_patch_is_a_power_of_the_size() -> None:
    sizes, patches = np.array([1e5, 3e5, 1e6]), np.array([1e6, 2e6, 1e6])
    found = fit_cost(sizes, patches, 7.0 * sizes**0.9 * patches)
    assert (found.factor, found.exponent) == pytest.approx((7.0, 0.9))
    assert found.worst < 1e-9


def test_the_largest_budget_is_predicted_without_having_been_seen(law: Law) -> None:
    held = law.held_out
    assert held is not None
    assert held.name == "2.1e+06-116000"
    assert abs(held.error) < 0.02
    worse = tuple(replace(run, loss=run.loss * 1.1) if run.name == held.name else run for run in law.runs)
    again = fit_law(worse, source="made", bootstraps=100, hold_out_largest=True).held_out
    assert again is not None
    assert again.predicted == held.predicted
    assert again.measured == pytest.approx(1.1 * held.measured)


def test_a_size_that_changes_nothing_is_not_established() -> None:
    flat = surface()._replace(params_factor=np.zeros(1))
    found = fit_law(ends(flat, noise=0.005), source="made", bootstraps=100)
    assert not found.alpha.positive
    assert any("alpha (of parameters) is not established" in line for line in found.warnings)
    assert found.beta.positive


def test_too_few_runs_are_refused_with_what_is_missing() -> None:
    for runs, words in (
        (ends(sizes=(1e6,)), "1 size"), (ends(lengths=(16_000, 32_000)), "2 lengths"), (ends()[:2], "2 complete runs"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            fit_law(runs, source="made")
    with pytest.raises(ConfigError, match="different numbers of patches"):
        fit_law((*ends(), replace(ends()[0], patches_per_image=16.0)), source="made")


def test_many_epochs_are_warned_of() -> None:
    few = tuple(replace(run, train_images=10_000) for run in ends(noise=0.004))
    found = fit_law(few, source="made", bootstraps=100)
    assert any("30 of 60 runs see their images more than 4 times (up to 11.6)" in line for line in found.warnings)


def test_head_parameters_count_where_asked(law: Law) -> None:
    found = fit_law(law.runs, source="made", bootstraps=100, counted="all")
    assert found.counted == "all"
    assert found.alpha.value > 1.2 * law.alpha.value


def test_the_front_has_no_run_that_a_cheaper_one_is_as_good_as() -> None:
    best = front(ends())
    spent, loss = [run.spent for run in best], [run.loss for run in best]
    assert spent == sorted(spent)
    assert loss == sorted(loss, reverse=True)
    assert len(best) < len(ends())


def test_loss_and_probe_are_ranked_as_by_scipy_and_noise_is_not_established(law: Law) -> None:
    found = downstream_of(law.runs, 100, 0)
    assert found is not None
    wanted = spearmanr([run.loss for run in law.runs], [run.error for run in law.runs]).statistic
    assert found.spearman.value == pytest.approx(wanted)
    assert found.verdict == "established"
    assert found.slope.low < 40 < found.slope.high
    rng = np.random.default_rng(0)
    chance = [replace(run, error=float(rng.uniform(10, 20))) for run in law.runs]
    nothing = downstream_of(chance, 100, 0)
    assert nothing is not None
    assert nothing.verdict == "not established"
    assert downstream_of([replace(run, error=None) for run in law.runs], 100, 0) is None


def test_predictions_say_how_far_they_reach(law: Law) -> None:
    near, far = law.optimum(5e13), law.optimum(1e18)
    assert near is not None
    assert far is not None
    assert near.reached
    assert near.beyond == 1
    assert not far.reached
    assert far.loss.high - far.loss.low > near.loss.high - near.loss.low
    assert near.images.value * 49 == pytest.approx(near.patches.value)
    with pytest.raises(ConfigError, match="flops"):
        law.optimum(-1.0)


def test_a_law_comes_back_from_its_file_and_damage_is_told(law: Law, tmp_path: Path) -> None:
    path = tmp_path / "law.json"
    write_law(path, law)
    assert read_law(path) == law
    assert read_law(tmp_path) == law
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1', 1))
    with pytest.raises(LawError, match=r"law\.json"):
        read_law(path)
    (tmp_path / "other.json").write_text('{"nextpatch": "study"}')
    with pytest.raises(LawError, match="is no scaling law"):
        read_law(tmp_path / "other.json")


def test_nothing_ships_until_a_file_is_there(law: Law, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(law_file, "SHIPPED", tmp_path / "law.json")
    assert shipped_law() is None
    write_law(tmp_path / "law.json", law)
    assert shipped_law() == law
