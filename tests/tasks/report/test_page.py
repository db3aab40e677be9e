"""Small texts on the page and the choice of what its charts show."""

from __future__ import annotations

import pytest

from nextpatch.measure.probe_result import LayerScore, ProbeResult, ProbeScore, SavedProbe
from nextpatch.tasks.report.depth import depth_sweep, last_and_best, layers_text
from nextpatch.tasks.report.page import probe_charts


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        (["block_4", "block_5", "block_6"], "blocks 4–6"),
        (["block_4", "block_6"], "block 4, block 6"),
        (["block_2"], "block 2"),
        (["tokens", "block_0"], "tokens, block 0"),
        ([], "–"),
        (None, "–"),
    ],
)
def test_layers_are_named_briefly_and_completely(layers: list[str] | None, text: str) -> None:
    assert layers_text(layers) == text


def test_the_depth_sweep_takes_the_best_rate_of_single_blocks_at_the_most_labels() -> None:
    def entry(labels: int, layers: str, top1: float, probe: str = "attentive") -> LayerScore:
        return LayerScore(labels=labels, probe=probe, layers=layers, select_top1=top1)

    sweep = [entry(1000, "block_10", 5), entry(1000, "block_2", 3), entry(1000, "block_2", 4), entry(100, "block_2", 9)]
    assert depth_sweep([*sweep, entry(1000, "last_6", 8), entry(1000, "block_2", 7, "linear")]) == [
        (2, 4),
        (10, 5),
    ]


def test_the_last_blocks_stand_beside_the_best() -> None:
    def entry(layers: str, top1: float, probe: str = "attentive") -> LayerScore:
        return LayerScore(labels=100, probe=probe, layers=layers, select_top1=top1)

    def result(*sweep: LayerScore, saved: bool = True) -> ProbeResult:
        return ProbeResult(results=(), sweep=sweep, attention=SavedProbe() if saved else None)

    sweep = [entry("block_2", 70.0), entry("block_0-5", 71.5), entry("block_5", 69.0), entry("block_1", 90.0, "linear")]
    found = last_and_best(result(*sweep))
    assert found is not None
    rows = [(row.name, row.blocks, row.top1) for row in found.rows]
    assert rows == [("last block", "block 5", 69.0), ("last blocks, the best", "blocks 0–5", 71.5)]
    found = last_and_best(result(*sweep, entry("block_3", 80.0)))
    assert found is not None
    assert [row.name for row in found.rows] == ["last block", "last blocks", "best"]
    assert last_and_best(result(*sweep[:1])) is None
    assert last_and_best(result(*sweep, saved=False)) is None


@pytest.mark.parametrize("budgets", [[331], [100, 331], [100, 1_000, 1_118]])
def test_the_label_curve_names_its_numbers_of_labels(budgets: list[int]) -> None:
    rows = [
        ProbeScore(labels=n, features="pre-trained", probe="knn", test_top1=50.0, test_ci95=(40.0, 60.0))
        for n in budgets
    ]
    [chart] = probe_charts(ProbeResult(results=tuple(rows)))
    assert f">{budgets[-1]:,}<" in chart.svg
    assert (">100<" in chart.svg) == (budgets[0] == 100)
    assert ">1,000<" not in chart.svg  # would touch 1,118
