"""A chart of values with their spread: one row per thing compared, with each measurement, their mean and interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nextpatch.tasks.report.axes import Axis, Number, axis, number
from nextpatch.tasks.report.charts import Chart
from nextpatch.tasks.report.svg import WIDTH, drawing, line, marker, text

_LEFT, _RIGHT, _TOP, _EDGE = 26, 414, 8, 4  # of the drawing; texts reach to the edge
_ROW, _LINE, _FOOT = 46, 24, 44  # height of a row, of one that is words alone, and of the axis below them


@dataclass(frozen=True)
class DotRow:
    """`points` are single measurements; `written` stands beside the name: the value in words, or why there is none."""

    name: str
    written: str
    mean: Number | None = None
    interval: tuple[Number, Number] | None = None
    points: Sequence[Number] = ()
    tone: int = 1

    def values(self) -> list[Number]:
        """Every value that must fit."""
        return [*self.points, *(self.interval or ()), *(() if self.mean is None else (self.mean,))]


def dot_chart(title: str, x_label: str, rows: Sequence[DotRow], reference: Number | None = None) -> Chart | None:
    """A chart of the rows from top to bottom, with a dotted line at `reference`; None of no rows.

    Where no row has a value, there are their words alone.
    """
    if not rows:
        return None
    values = [value for row in rows for value in row.values()]
    if not values:
        parts = [_words(row, _TOP + _LINE * i) for i, row in enumerate(rows)]
        return Chart(title, drawing(title, parts, _TOP + _LINE * len(rows)))
    x = axis([*values, *(() if reference is None else (reference,))], _LEFT, _RIGHT)
    bottom = _TOP + _ROW * len(rows)
    parts = [*_scale(x, bottom, x_label)]
    if reference is not None:
        parts.append(line("ref", x(reference), _TOP, x(reference), bottom))
    parts += [_row(row, x, _TOP + _ROW * i) for i, row in enumerate(rows)]
    return Chart(title, drawing(title, parts, bottom + _FOOT))


def _scale(x: Axis, bottom: Number, label: str) -> list[str]:
    """Vertical grid lines, ticks and the name of the axis."""
    columns = [line("grid", x(t), _TOP, x(t), bottom) + text(x(t), bottom + 18, number(t), "middle") for t in x.ticks()]
    return [
        *columns,
        line("base", _EDGE, bottom, WIDTH - _EDGE, bottom),
        text(WIDTH - _EDGE, bottom + 38, label, "end", "name"),
    ]


def _row(row: DotRow, x: Axis, top: Number) -> str:
    """Name and value in a line of text, below it interval, points and mean."""
    y, parts = top + 30, [_words(row, top)]
    if row.interval:
        ends = [x(end) for end in row.interval]
        parts.append(line(f"ci t{row.tone}", ends[0], y, ends[1], y))
        parts += [line(f"ci t{row.tone}", end, y - 5, end, y + 5) for end in ends]
    parts += [f'<circle class="seed t{row.tone}" cx="{x(p):.1f}" cy="{y:.1f}" r="3"/>' for p in row.points]
    if row.mean is not None:
        parts.append(marker(row.tone, x(row.mean), y, f"{row.name}: {row.written}", "dot mean"))
    return "".join(parts)


def _words(row: DotRow, top: Number) -> str:
    name = text(_EDGE, top + 15, row.name, "start", "name halo")
    return name + text(WIDTH - _EDGE, top + 15, row.written, "end", "halo")
