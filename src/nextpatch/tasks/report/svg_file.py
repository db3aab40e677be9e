"""A chart as an SVG file of its own, for papers and slides: light colours written out, title and legend drawn in."""

from __future__ import annotations

import re
from html import escape

from nextpatch.tasks.report.charts import Chart
from nextpatch.tasks.report.svg import WIDTH, text
from nextpatch.tasks.report.templates import chart_css

_LETTER, _LINE = 7.2, 20  # pixels: about so wide is a letter, and so high a line of the legend
_FONT = 'font-family="system-ui, -apple-system, Segoe UI, Roboto, Liberation Sans, sans-serif"'


def svg_file(chart: Chart) -> str:
    """The chart as a document that needs nothing beside it; programs that know no variables of CSS draw it too."""
    legend, lines = _legend(chart)
    above = 26 + _LINE * lines
    inner, height = _inside(chart.svg)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height + above}"'
    return (
        f'{head} width="{WIDTH}" height="{height + above}" role="img" aria-label="{escape(chart.title)}" {_FONT}>'
        f'<style>{_style()}</style><rect width="100%" height="100%" fill="#ffffff"/>'
        f"{text(2, 16, chart.title, 'start', 'name title')}{legend}"
        f'<g transform="translate(0 {above})">{inner}</g></svg>\n'
    )


def _inside(svg: str) -> tuple[str, int]:
    """(what is between its tags, its height)."""
    found = re.match(r'<svg [^>]*viewBox="0 0 \d+ (\d+)"[^>]*>(.*)</svg>$', svg, re.DOTALL)
    assert found
    return found[2], int(found[1])


def _legend(chart: Chart) -> tuple[str, int]:
    """(each line of the chart with its name, how many lines of text that takes); nothing for a single one."""
    if len(chart.legend) < 2:
        return "", 0
    parts, x, row = [], 2.0, 0
    for look, name in chart.legend:
        width = 34 + _LETTER * len(name) + 14
        if x > 2 and x + width > WIDTH:
            x, row = 2.0, row + 1
        y = 34 + _LINE * row
        parts.append(f'<line class="{escape(look)}" x1="{x:.0f}" y1="{y}" x2="{x + 24:.0f}" y2="{y}"/>')
        parts.append(text(x + 30, y + 4, name, "start"))
        x += width
    return "".join(parts), row + 1


def _style() -> str:
    """The look of charts, in the light colours, each written out where it is used."""
    css = re.sub(r"/\*.*?\*/", "", chart_css(), flags=re.DOTALL)
    palette, _, rest = css.partition("@media")
    colors = dict(re.findall(r"(--\w+): (#\w+)", palette))
    rules = rest[rest.index("svg text") :] + ".title { font-weight: 600; font-size: 14px; }"
    return re.sub(r"var\((--\w+)\)", lambda found: colors[found[1]], rules)
