"""A chart of values with their spread holds every measurement, each at its place, and says why a row has none."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from nextpatch.tasks.report.charts import Chart
from nextpatch.tasks.report.dots import DotRow, dot_chart

ROWS = [
    DotRow("raster < x", "69.5", 69.5, (69.0, 70.0), (69.2, 69.8)),
    DotRow("random", "failed: out of memory"),
    DotRow("spiral", "67.7", 67.7),
]


def drawn(chart: Chart | None, tag: str, kind: str) -> list[ElementTree.Element]:
    assert chart is not None
    return [e for e in ElementTree.fromstring(chart.svg).iter(tag) if kind in e.get("class", "").split()]


def test_every_seed_the_mean_and_the_interval_are_drawn_in_the_row_of_their_name() -> None:
    chart = dot_chart("t", "%", ROWS)
    names = {e.text: float(e.get("y", "")) for e in drawn(chart, "text", "name")}
    seeds, means = drawn(chart, "circle", "seed"), drawn(chart, "circle", "mean")
    assert [float(e.get("cy", "")) for e in seeds] == [names["raster < x"] + 15] * 2
    assert [float(e.get("cy", "")) for e in means] == [names["raster < x"] + 15, names["spiral"] + 15]
    places = [float(e.get("cx", "")) for e in (*seeds, *means)]
    assert places[0] < places[2] < places[1]
    assert places[3] < places[0]
    low, high = (float(drawn(chart, "line", "ci")[0].get(end, "")) for end in ("x1", "x2"))
    assert places[2] == pytest.approx((low + high) / 2, abs=0.11)


def test_a_row_without_values_says_why() -> None:
    chart = dot_chart("t", "%", ROWS)
    assert chart is not None
    assert ">failed: out of memory<" in chart.svg
    alone = dot_chart("t", "%", ROWS[1:2])
    assert alone is not None
    assert ">failed: out of memory<" in alone.svg
    assert dot_chart("t", "%", []) is None


def test_a_reference_is_inside_the_chart_also_when_all_values_are_on_one_side() -> None:
    [zero] = drawn(dot_chart("t", "%", [DotRow("gain", "+2", 2.0, (1.0, 3.0))], reference=0), "line", "ref")
    assert 12 < float(zero.get("x1", "")) < 428
