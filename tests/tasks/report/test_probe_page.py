"""The page of a probe says what chance could give, as the page of a run does."""

import pytest

from nextpatch.measure.probe_result import PIXELS, PRETRAINED, RANDOM, ProbeResult, ProbeScore
from nextpatch.tasks.report.probe_page import headline


def row(features: str, top1: float) -> ProbeScore:
    return ProbeScore(
        labels=65, features=features, probe="knn", select_top1=top1, test_top1=top1, test_ci95=(top1 - 10, top1 + 10)
    )


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ([row(PIXELS, 57)], "no different from raw pixels (+9.0 points, within the 95 % intervals)."),
        ([row(RANDOM, 30), row(PIXELS, 90)], "36.0 points above the same network untrained and 24.0 points BELOW raw"),
        ([], "With 65 labels the frozen features give 66.0 % (56.0 to 76.0, knn)."),
    ],
)
def test_the_headline_of_a_probe_names_both_baselines_and_chance(beside: list[ProbeScore], said: str) -> None:
    assert said in headline(ProbeResult(results=(row(PRETRAINED, 66), *beside)))
