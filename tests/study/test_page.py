"""A study's page says what was measured and what was not, and never puts the paper's figures into a chart of ours."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nextpatch.measure.study_result import SeedRun, StudyResult
from nextpatch.study.comparison import comparisons
from nextpatch.study.drawings import drawings, without_rows
from nextpatch.study.outputs import comma_separated, markdown, write_outputs
from nextpatch.study.page import render_study, verdict
from studied import ALL_DRAWINGS, finished, not_begun, under_way


def page(result: StudyResult, folder: Path) -> str:
    return render_study(result, folder, folder / "runs")


def drawn(svg: str, tag: str, kind: str) -> list[ElementTree.Element]:
    return [e for e in ElementTree.fromstring(svg).iter(tag) if kind in e.get("class", "").split()]


def test_the_verdict_counts_every_claim_and_what_is_missing() -> None:
    said = "of 9 claims 3 hold, 3 are reversed, 3 are not established at this scale; all 12 runs done."
    assert verdict(finished()) == f"Order of the patches: {said}"
    assert verdict(under_way()).endswith("2 are not measured yet; 5 of 12 runs not done.")
    assert verdict(replace(finished(), claims=())) == "Order of the patches: all 12 runs done."


def test_failed_and_missing_runs_are_named_with_their_reason(tmp_path: Path) -> None:
    text = page(under_way(), tmp_path)
    assert "Failed: spiral, seed 1: no space left on &lt;disk&gt;" in text
    assert "Missing: checkerboard (seed 0, 1, 2)" in text
    assert "Under way: spiral (seed 2)" in text
    assert "Failed" not in page(finished(), tmp_path)


@pytest.mark.parametrize("result", [finished(), under_way(), not_begun()], ids=["finished", "under way", "not begun"])
def test_a_page_is_drawn_at_any_stage_and_asks_for_nothing(result: StudyResult, tmp_path: Path) -> None:
    text = page(result, tmp_path)
    assert re.findall(r'(?:src|href)="(?!data:,)[^"]*"', text) == []
    assert "<random>" not in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(svg)


def test_our_charts_have_every_seed_and_no_figure_of_the_paper() -> None:
    result = finished()
    by_metric = {found.metric: found for found in comparisons(result)}
    assert list(by_metric) == ["attentive", "linear", "val_loss"]
    attentive = by_metric["attentive"]
    assert attentive.ours is not None
    assert attentive.paper is not None
    assert len(drawn(attentive.ours.svg, "circle", "seed")) == 12
    assert "77.4" not in attentive.ours.svg
    assert "77.4" in attentive.paper.svg
    assert "paper" in attentive.paper.title
    assert by_metric["val_loss"].paper is None


def test_losses_of_different_things_are_not_compared(tmp_path: Path) -> None:
    result = finished()
    pixels = replace(result.variants[1], values={"model": {"target": "pixels"}})
    mixed = replace(result, variants=(result.variants[0], pixels), claims=())
    assert [found.metric for found in comparisons(mixed)] == ["attentive", "linear"]
    assert "Validation losses are not compared" in page(mixed, tmp_path)
    assert "Validation losses are not compared" not in page(result, tmp_path)


def test_claims_stand_with_our_interval_and_the_papers_difference(tmp_path: Path) -> None:
    text = page(finished(), tmp_path)
    rows = re.findall(r"<tr><td class=\"n\">\d+</td><td class=\"wrap\">.*?</tr>", text, re.DOTALL)
    assert len(rows) == 9
    assert "+1.1" in rows[0]  # 77.4 - 76.3
    assert "not established at this scale" in rows[6]
    assert ">reversed<" in rows[3]


@pytest.mark.parametrize("name", ALL_DRAWINGS)
def test_each_drawing_shows_every_variant(name: str) -> None:
    found = drawings(finished((name,)))
    assert found
    names = {label for figure in found for _, label in figure.chart.legend}
    assert name != "rows" or len(found) == 1  # of raster order
    wanted = {"upright", "upside down"} if name == "rows" else {"raster", "spiral", "checkerboard", "fixed <random>"}
    assert names == (wanted if name != "loss_over_flops" else {"1,500 steps"})
    assert all(figure.paper for figure in found)
    assert drawings(replace(not_begun(), drawings=(name,))) == []


def test_curves_are_means_over_finished_seeds_with_their_range() -> None:
    [figure] = drawings(finished(("val_curve",)))
    lines, bands = drawn(figure.chart.svg, "polyline", "t1"), drawn(figure.chart.svg, "polygon", "t1")
    line = [float(point.split(",")[1]) for point in lines[0].get("points", "").split()]
    edges = [float(point.split(",")[1]) for point in bands[0].get("points", "").split()]
    low, high = edges[: len(line)], edges[len(line) :][::-1]
    assert all(top <= middle <= bottom for bottom, middle, top in zip(low, line, high, strict=True))
    begun = [figure for figure in drawings(under_way()) if figure.name == "val-curve"]
    assert "areas" not in begun[0].shows


@pytest.mark.parametrize("grid", [(7, 7), (3, 5), (8, 2)])
@pytest.mark.parametrize("first", [0, 1], ids=["masked", "next patch"])
def test_rows_of_a_grid_are_means_of_their_places(grid: tuple[int, int], first: int) -> None:
    result = finished(("rows",))
    entry = result.variants[0].runs[0].last_val
    assert entry is not None
    losses = tuple(float(1 + place // grid[1]) for place in range(first, grid[0] * grid[1]))  # the row, from 1
    run = replace(result.variants[0].runs[0], last_val=replace(entry, position_loss=losses, flipped_position_loss=None))
    alone = replace(result, variants=(replace(result.variants[0], grid=grid, runs=(run,)),))
    [figure] = drawings(alone)
    assert [name for _, name in figure.chart.legend] == ["upright"]
    assert [mark.findtext("title") for mark in drawn(figure.chart.svg, "circle", "dot")] == [
        f"upright: {row}" for row in range(1, grid[0] + 1)
    ]


def test_an_order_without_rows_is_said(tmp_path: Path) -> None:
    result = finished(("rows",))
    assert (
        without_rows(result)[0] == "No rows of spiral: in spiral order a row of patches is no stretch of the sequence."
    )
    alone = replace(result, variants=result.variants[1:2], claims=())
    assert drawings(alone) == []
    assert without_rows(result)[0] in page(alone, tmp_path)
    assert without_rows(finished(("chunks",))) == without_rows(replace(result, variants=result.variants[:1])) == []


def test_tables_hold_every_measurement() -> None:
    result = under_way()
    lines = list(csv.DictReader(io.StringIO(comma_separated(result))))
    assert len(lines) == 4 * 3 * 3
    [one] = [ln for ln in lines if (ln["variant"], ln["seed"], ln["metric"]) == ("raster", "2", "attentive")]
    assert float(one["value"]) == result.variants[0].of("attentive")[2]
    assert one["paper"] == "77.4"
    text = markdown(result)
    assert "| raster is better than spiral | attentive probe | not established |" in text
    assert "| checkerboard | 4,436,000 |" in text


def test_outputs_are_whole_and_say_the_machine(tmp_path: Path) -> None:
    session = {
        "cpu": "<Z80>",
        "cpu_count": 2,
        "torch_threads": 1,
        "packages": {"torch": "2.14.1", "nextpatch": "0.1.0"},
    }
    (tmp_path / "runs" / "raster-0").mkdir(parents=True)
    (tmp_path / "runs" / "raster-0" / "env.json").write_text(json.dumps({"sessions": [session]}))
    written = write_outputs(finished(), tmp_path).read_text()
    assert "&lt;Z80&gt;, 2 cores, 1 threads a run, PyTorch 2.14.1, nextpatch 0.1.0: 1 run<" in written
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"attentive.svg", "attentive-paper.svg", "claims-1.svg", "val-curve.svg", "chunks.svg"} <= files
    for name in files:
        ElementTree.parse(tmp_path / "figures" / name)
    assert (tmp_path / "table.csv").read_text().startswith("variant,")


def test_a_run_without_a_folder_is_no_error(tmp_path: Path) -> None:
    result = finished()
    odd = replace(result.variants[0], runs=(SeedRun(seed=0, status="done", run="gone", step=3),))
    assert "gone" in page(replace(result, variants=(odd, *result.variants[1:])), tmp_path)
