"""The verdict follows the figures, and claims nothing that chance alone could give."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nextpatch.measure.probe_result import PIXELS, PRETRAINED, RANDOM, ProbeScore
from nextpatch.measure.run_summary import ValEntry
from nextpatch.tasks.report.verdict import Evidence, gain, key_figures, main_rows, sentence

EMPTY = Evidence([], [], 100, None, "always predicting the mean of each patch", [])


def val(*losses: float) -> list[ValEntry]:
    return [ValEntry(step=50 * i, loss=loss) for i, loss in enumerate(losses)]


def row(features: str, top1: float, probe: str = "attentive", labels: int = 1000, select: float = 0.0) -> ProbeScore:
    return ProbeScore(
        labels=labels, features=features, probe=probe, lr=1e-3, select_top1=select or top1, test_top1=top1,
        test_ci95=(top1 - 1, top1 + 1),
    )  # fmt: skip


def test_nothing_measured_is_said() -> None:
    assert "Nothing is measured" in sentence(EMPTY)
    assert key_figures(EMPTY) == []


def test_loss_is_compared_with_the_guess() -> None:
    text = sentence(replace(EMPTY, val=val(1.1, 0.8, 0.6), baseline_loss=0.8))
    assert (
        text
        == "After 100 steps the validation loss is 0.600, 25 % below always predicting the mean of each patch (0.800)."
    )


@pytest.mark.parametrize("loss", [0.8, 0.9])
def test_a_loss_at_or_above_the_guess_is_called_no_better(loss: float) -> None:
    assert "no better than" in sentence(replace(EMPTY, val=val(1.1, loss), baseline_loss=0.8))


CODES = replace(EMPTY, unit="nats", baseline="always predicting the frequencies of the codes", baseline_loss=4.0)


def test_a_loss_of_codes_is_compared_by_difference_and_told_with_perplexity_and_accuracy() -> None:
    last = ValEntry(step=100, loss=3.25, perplexity=25.79, accuracy=0.125)
    text = sentence(replace(CODES, val=[last]))
    assert text == (
        "After 100 steps the validation loss is 3.250 nats (perplexity 25.8, 12.5 % of the codes right), 0.75 below "
        "always predicting the frequencies of the codes (4.000)."
    )
    _, right = key_figures(replace(CODES, val=[last]))
    assert (right.label, right.value, right.note) == ("Codes predicted right", "12.5 %", "perplexity 25.8")
    assert "no better than" in sentence(replace(CODES, val=val(3.995)))
    assert "no better than" in sentence(replace(CODES, val=val(5.0)))


def test_an_unfinished_run_is_said_to_be_one_and_a_rise_is_not_called_a_fall() -> None:
    text = sentence(replace(EMPTY, val=val(0.6, 0.7)))
    assert "50 of 100 steps" in text
    assert "did not fall" in text


def test_gains_over_both_baselines_are_stated_in_points() -> None:
    rows = [row(PRETRAINED, 80), row(RANDOM, 73.4), row(PIXELS, 74, "linear")]
    text = sentence(replace(EMPTY, val=val(1, 0.5), results=rows))
    assert "6.6 points above the same network untrained and 6.0 points above raw pixels" in text


def test_a_loss_to_a_baseline_is_not_hidden() -> None:
    assert "5.0 points BELOW raw pixels" in sentence(
        replace(EMPTY, results=[row(PRETRAINED, 70), row(PIXELS, 75, "linear")])
    )


def test_a_difference_within_the_intervals_is_called_level() -> None:
    near, clear = gain(row(PRETRAINED, 80), row(RANDOM, 79)), gain(row(PRETRAINED, 80), row(RANDOM, 78))
    assert (near[1], clear[1]) == (False, True)
    assert "no different from the same network untrained" in sentence(
        replace(EMPTY, results=[row(PRETRAINED, 80), row(RANDOM, 79)])
    )


def test_the_probe_is_chosen_on_the_selection_slice_never_on_the_test_split() -> None:
    rows = [row(PRETRAINED, 90, "linear", select=60), row(PRETRAINED, 70, "attentive", select=80)]
    rows += [row(RANDOM, 60, "attentive"), row(RANDOM, 99, "linear")]
    chosen = main_rows(rows)
    assert chosen[PRETRAINED][1000].test_top1 == 70
    assert chosen[RANDOM][1000].probe == "linear"


@pytest.mark.parametrize("best", ["attentive", "linear", "knn"])
def test_each_kind_of_features_has_its_own_best_probe(best: str) -> None:
    kinds = ("attentive", "linear", "knn")
    rows = [row(PRETRAINED, 80, "attentive"), *(row(RANDOM, 70 if kind == best else 60, kind) for kind in kinds)]
    figure = next(f for f in key_figures(replace(EMPTY, results=rows)) if f.label == "Gain over the untrained network")
    assert figure.value == "+10.0"
    assert ("probe" in figure.note) == (best != "attentive")


@pytest.mark.parametrize(("probed", "told"), [(331, "the frozen features of step 331"), (100, "its frozen features")])
def test_the_headline_names_the_step_that_was_probed(probed: int, told: str) -> None:
    evidence = replace(EMPTY, val=val(1.1, 0.8, 0.6), results=[row(PRETRAINED, 80)], probed_step=probed)
    assert f"labels {told} classify" in sentence(evidence)


def test_the_largest_label_budget_decides() -> None:
    rows = [row(PRETRAINED, 60, labels=100), row(PRETRAINED, 85, labels=10_000)]
    assert "with 10,000 labels" in sentence(replace(EMPTY, results=rows))


def test_exact_likelihoods_are_told_in_bits_per_dimension_with_what_guessing_takes() -> None:
    told = replace(EMPTY, unit="nats", baseline="taking all levels as equally probable", baseline_loss=16.0)
    last = ValEntry(step=100, loss=6.0, bits_per_dim=3.0, ema_loss=5.0)
    text = sentence(replace(told, val=[last]))
    assert text == (
        "After 100 steps held-out images take 3.000 bits per dimension (taking all levels as equally probable: 8.000)."
    )
    _, bits = key_figures(replace(told, val=[last]))
    assert (bits.label, bits.value) == ("Bits per dimension", "3.000")
    assert bits.note.endswith("averaged weights: 2.500")
    assert "bits" not in sentence(replace(told, val=[replace(last, bits_per_dim=None)]))
