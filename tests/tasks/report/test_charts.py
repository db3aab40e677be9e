"""Charts are well-formed SVG that holds what it was given and takes its colours from the page."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from nextpatch.tasks.report.charts import Chart, Series, bar_chart, heat_grid, line_chart


def elements(chart: Chart, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(chart.svg).iter(tag))


def texts(chart: Chart) -> list[str]:
    return [e.text or "" for e in elements(chart, "text")]


def test_line_chart_draws_every_series_with_a_legend_and_named_axes() -> None:
    pair = [Series("a < b", [1, 2, 3], [3, 2, 1], 1), Series("c", [1, 3], [2, 2], 2, markers=True)]
    chart = line_chart("Title", "steps", "loss", pair, reference=("guess", 5.0))
    assert [line.get("points", "").count(",") for line in elements(chart, "polyline")] == [3, 2]
    assert [name for _, name in chart.legend] == ["a < b", "c", "guess"]
    assert {"steps", "loss"} <= set(texts(chart))


def test_higher_values_are_drawn_higher() -> None:
    chart = line_chart("t", "x", "y", [Series("s", [0, 1], [1.0, 2.0])])
    low, high = elements(chart, "polyline")[0].get("points", "").split()
    assert float(high.split(",")[1]) < float(low.split(",")[1])


def test_intervals_at_one_place_stand_beside_each_other_around_it() -> None:
    series = [Series(str(tone), [65], [50], tone, markers=True, intervals=[(40, 60)]) for tone in (1, 2, 3)]
    chart = line_chart("t", "x", "y", [*series, Series("plain", [65], [50])], log_x=True, x_ticks=[65], x_names=["65"])
    bars = [
        float(line.get("x1", "")) for line in elements(chart, "line")
        if "ci" in line.get("class", "") and line.get("x1") == line.get("x2")
    ]  # fmt: skip
    name = next(float(e.get("x", "")) for e in elements(chart, "text") if e.text == "65")
    assert bars == pytest.approx([name - 10, name, name + 10], abs=0.11)


def test_markers_differ_in_shape_so_that_colour_is_not_needed() -> None:
    series = [Series(str(tone), [1], [1], tone, markers=True) for tone in range(1, 7)]
    dots = [e for e in ElementTree.fromstring(line_chart("t", "x", "y", series).svg) if "dot" in e.get("class", "")]
    assert len({(e.tag, e.get("d")) for e in dots}) == 6


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [0.0, 0.0, 0.0]])
def test_degenerate_curves_are_drawn_not_divided_by_zero(values: list[float]) -> None:
    steps = [100.0 * (i + 1) for i in range(len(values))]
    for log_x in (False, True):
        assert elements(line_chart("t", "x", "y", [Series("s", steps, values)], log_x=log_x), "polyline")


def test_bars_leave_the_place_of_an_unknown_value_empty() -> None:
    chart = bar_chart("t", "x", "y", ["a", "b", "c"], [1.0, None, 2.0])
    assert len(elements(chart, "rect")) == 2


def test_heat_grid_has_one_cell_per_patch_and_marks_the_unknown() -> None:
    chart = heat_grid("t", (2, 3), [None, 1, 2, 3, 4, 5], ["#000000"] * 6)
    assert len(elements(chart, "rect")) == 6
    assert [e.get("class") for e in elements(chart, "rect")].count("none") == 1
    assert texts(chart)[1:] == ["1.00", "2.00", "3.00", "4.00", "5.00"]


def test_line_charts_name_no_colour_of_their_own() -> None:
    chart = line_chart("t", "x", "y", [Series("s", [0, 1], [1, 2], markers=True, intervals=[(0, 2), (1, 3)])])
    assert "fill=" not in chart.svg
    assert "stroke=" not in chart.svg


def test_a_band_lies_around_its_line_and_fits_into_the_frame() -> None:
    chart = line_chart("t", "x", "y", [Series("s", [0, 1], [1.0, 2.0], band=[(0.0, 2.0), (1.0, 9.0)])])
    places = [tuple(map(float, p.split(","))) for p in elements(chart, "polygon")[0].get("points", "").split()]
    line = [tuple(map(float, p.split(","))) for p in elements(chart, "polyline")[0].get("points", "").split()]
    assert [x for x, _ in places] == [line[0][0], line[1][0], line[1][0], line[0][0]]
    assert places[0][1] > line[0][1] > places[3][1]
    assert places[2][1] >= 30
