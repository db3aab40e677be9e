"""A chart as a file of its own has its colours, title and legend in it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from nextpatch.tasks.report.charts import Series, line_chart
from nextpatch.tasks.report.dots import DotRow, dot_chart
from nextpatch.tasks.report.svg_file import svg_file

SVG = "{http://www.w3.org/2000/svg}"


def test_a_file_has_the_title_every_name_and_no_variable() -> None:
    names = [f"a rather long name of a variant, number {i}" for i in range(1, 7)]
    lines = [Series(name, [0, 1], [i, i + 1], i + 1, band=[(i - 1, i), (i, i + 2)]) for i, name in enumerate(names)]
    text = svg_file(line_chart("a < b", "steps", "loss", lines))
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert {"a < b", "steps", "loss", *names} <= {e.text for e in root.iter(f"{SVG}text")}
    assert "var(" not in text
    assert "prefers-color-scheme" not in text
    assert re.search(r"\.line\.t6[^}]*stroke: #", text)


def test_the_legend_stands_above_the_drawing_and_one_line_needs_none() -> None:
    lines = [Series(f"variant {i} with a name that takes room", [0, 1], [i, i], 1) for i in range(5)]
    root = ElementTree.fromstring(svg_file(line_chart("t", "x", "y", lines)))
    [moved] = root.iter(f"{SVG}g")
    above = float(moved.get("transform", "").split()[1].rstrip(")"))
    shown = [float(e.get("y", "")) for e in root.findall(f"{SVG}text")]
    assert len(shown) == 6
    assert max(shown) < above
    chart = dot_chart("t", "x", [DotRow("a", "1", 1.0)])
    assert chart is not None
    assert [e.text for e in ElementTree.fromstring(svg_file(chart)).findall(f"{SVG}text")] == ["t"]
