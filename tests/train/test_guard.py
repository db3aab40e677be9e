"""The guard: which steps it lets pass, the same everywhere and after every resume."""

import json
import math
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextpatch.runs.config import GuardConfig
from nextpatch.train.guard import GuardState, decide

NAN, INF = math.nan, math.inf


def filled(cfg, loss=1.0, norm=2.0):
    state = GuardState()
    for i in range(cfg.window):
        assert decide(cfg, state, loss + 0.01 * (i % 2), norm).action == "apply"
    return state


@pytest.mark.parametrize("bad", [(NAN, 1.0), (1.0, NAN), (INF, 1.0), (1.0, INF), (-INF, NAN)])
def test_what_is_not_finite_stops_or_is_skipped_as_configured(bad):
    stop = decide(GuardConfig(), GuardState(), *bad)
    assert stop.action == "stop"
    assert f"loss {bad[0]}, gradient norm {bad[1]}" in stop.trouble
    assert decide(GuardConfig(non_finite="skip"), GuardState(), *bad).action == "skip"


def test_skipping_ends_after_so_many_in_a_row_and_any_good_step_starts_the_count_anew():
    cfg = GuardConfig(non_finite="skip", max_skips=2)
    state = GuardState()
    actions = [decide(cfg, state, loss, 1.0).action for loss in (NAN, NAN, 1.0, NAN, NAN, NAN)]
    assert actions == ["skip", "skip", "apply", "skip", "skip", "stop"]


@pytest.mark.parametrize(
    ("spike", "action"), [("ignore", "apply"), ("warn", "apply"), ("skip", "skip"), ("stop", "stop")]
)
def test_a_spike_of_loss_or_norm_is_treated_as_configured(spike, action):
    cfg = GuardConfig(spike=spike, window=16)
    for bad in ((3.0, 2.0), (1.0, 20.0)):
        verdict = decide(cfg, filled(cfg), *bad)
        assert verdict.action == action
        assert bool(verdict.trouble) == (spike != "ignore")


def test_what_was_skipped_is_not_remembered_and_what_was_applied_is():
    cfg = GuardConfig(spike="skip", non_finite="skip", window=16)
    state = filled(cfg)
    before = asdict(state)
    decide(cfg, state, 50.0, 2.0)
    decide(cfg, state, NAN, 2.0)
    assert {**asdict(state), "skipped": 0} == before
    decide(cfg, state, 1.0, 2.0)
    assert len(state.losses) == len(state.grad_norms) == cfg.window


def test_a_falling_loss_and_the_first_steps_are_no_spikes():
    cfg = GuardConfig(spike="stop", window=32)
    state = GuardState()
    for step in range(200):
        assert decide(cfg, state, 10 * 0.97**step, 100 * 0.9**step).action == "apply"
    assert decide(cfg, GuardState(losses=[1.0] * 15, grad_norms=[1.0] * 15), 1e9, 1e9).action == "apply"


def test_a_flat_loss_may_rise_a_little():
    cfg = GuardConfig(spike="stop", window=8)
    flat = GuardState(losses=[1.0] * 8, grad_norms=[1.0] * 8)
    assert decide(cfg, flat, 1.05, 1.0).action == "apply"
    assert decide(cfg, flat, 1.5, 1.0).action == "stop"


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), max_size=40), st.integers(0, 40))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_guard_that_was_saved_and_loaded_judges_as_if_it_had_not_been(steps, cut):
    cfg = GuardConfig(spike="skip", non_finite="skip", window=8, sigmas=2.0, max_skips=5)
    whole, part = GuardState(), GuardState()
    expected = [decide(cfg, whole, *step) for step in steps]
    found = [decide(cfg, part, *step) for step in steps[:cut]]
    part = GuardState(**json.loads(json.dumps(asdict(part))))
    assert found + [decide(cfg, part, *step) for step in steps[cut:]] == expected
    assert part == whole


def test_senseless_settings_are_refused():
    for wrong in ({"window": 3}, {"sigmas": 0.0}, {"max_skips": 0}):
        with pytest.raises(ValueError, match="must lie between"):
            GuardConfig(**wrong)


def test_a_norm_that_healthy_runs_have_now_and_then_is_none_unless_the_loss_rises_too():
    cfg = GuardConfig(spike="stop", window=32)
    norms = [2.0 * (1 + 0.2 * (i % 3)) for i in range(cfg.window)]
    losses = [1.0 + 0.02 * (i % 3) for i in range(cfg.window)]

    def state():
        return GuardState(losses=list(losses), grad_norms=list(norms))

    assert decide(cfg, state(), 1.02, 5 * 2.4).action == "apply"
    assert decide(cfg, state(), 1.1, 5 * 2.4).trouble.startswith("gradient norm 12 is")
    assert decide(cfg, state(), 1.02, 9 * 2.4).action == "stop"
    assert decide(cfg, state(), 1.02, 0.0).action == "apply"
    assert decide(cfg, GuardState(losses=[1.0] * 32, grad_norms=[0.0] * 32), 1.0, 0.0).action == "apply"
