"""Charts as inline SVG: colours come from the page's style sheet, so they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from nextpatch.tasks.report.axes import Axis, Number, axis, number, step_axis
from nextpatch.tasks.report.svg import BOTTOM, LEFT, RIGHT, TOP, drawing, frame, line, marker

_ASIDE = 10  # between intervals at one x


@dataclass(frozen=True)
class Series:
    """One line: `tone` picks colour, dash and marker (1 .. 6), `thin` suits a noisy curve.

    `intervals` are (low, high) per point; `band` are too, drawn as an area behind the line.
    """

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    tone: int = 1
    markers: bool = False
    thin: bool = False
    intervals: Sequence[tuple[Number, Number]] = ()
    band: Sequence[tuple[Number, Number]] = ()

    @property
    def look(self) -> str:
        """Its classes in the style sheet."""
        return f"line t{self.tone}" + (" thin" if self.thin else "")

    def heights(self) -> list[Number]:
        """Every y that must fit."""
        return [*self.y, *(v for pair in (*self.intervals, *self.band) for v in pair)]


@dataclass(frozen=True)
class Chart:
    """A drawing with its title and legend, which the page sets as text around it."""

    title: str
    svg: str
    legend: list[tuple[str, str]] = field(default_factory=list)  # (classes, name) of each line


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    log_x: bool = False,
    zero: bool = False,
    reference: tuple[str, Number] | None = None,
    x_ticks: Sequence[Number] | None = None,
    x_names: Sequence[str] | None = None,
) -> Chart:
    """Lines over a numeric x. `reference` is a named horizontal line; `x_names` replaces the ticks' numbers."""
    shown = [s for s in series if len(s.x)]
    xs = [v for s in shown for v in s.x]
    ys = [v for s in shown for v in s.heights()] + ([reference[1]] if reference else [])
    x = axis(xs, LEFT, RIGHT, log_x) if log_x or x_names else step_axis(xs, LEFT, RIGHT)
    y = axis(ys, BOTTOM, TOP, zero=zero)
    parts = [*frame(x, y, x_label, y_label, x_ticks or x.ticks(), x_names)]
    if reference:
        parts.append(line("ref", LEFT, y(reference[1]), RIGHT, y(reference[1])))
    parts += [_drawn(s, x, y, aside) for s, aside in zip(shown, _asides(shown), strict=True)]
    legend = [(s.look, s.name) for s in shown] + ([("ref", reference[0])] if reference else [])
    return Chart(title, drawing(title, parts), legend)


def bar_chart(title: str, x_label: str, y_label: str, names: Sequence[str], values: Sequence[Number | None]) -> Chart:
    """Bars from zero; a None leaves its place empty."""
    known = [v for v in values if v is not None]
    x, y = Axis(0, len(values), LEFT, RIGHT), axis([0, *known], BOTTOM, TOP, zero=True)
    every = max(1, -(-len(names) // 6))
    parts = [*frame(x, y, x_label, y_label, [i + 0.5 for i in range(0, len(names), every)], names[::every])]
    for i, value in enumerate(values):
        if value is not None:
            left, width = x(i + 0.15), x(i + 0.85) - x(i + 0.15)
            box = f'x="{left:.1f}" y="{y(value):.1f}" width="{width:.1f}" height="{BOTTOM - y(value):.1f}"'
            parts.append(f'<rect class="bar" {box}><title>{escape(names[i])}: {number(value)}</title></rect>')
    return Chart(title, drawing(title, parts))


def heat_grid(title: str, grid: tuple[int, int], values: Sequence[Number | None], colors: Sequence[str]) -> Chart:
    """One coloured cell per patch in raster order, its value written in it where there is room; None is hatched."""
    rows, columns = grid
    side = min(400 / columns, 320 / rows)
    parts = []
    for i, (value, color) in enumerate(zip(values, colors, strict=True)):
        left, top = i % columns * side, i // columns * side
        parts.append(_cell(left, top, side, value, color, i, written=side >= 36))
    width, height = columns * side, rows * side
    svg = (
        f'<svg class="heat" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
    return Chart(title, svg)


def _cell(left: Number, top: Number, side: Number, value: Number | None, color: str, index: int, written: bool) -> str:
    label = f"patch {index}: " + ("never scored" if value is None else number(value))
    fill = 'class="none"' if value is None else f'fill="{color}"'
    box = f'x="{left:.2f}" y="{top:.2f}" width="{side - 1:.2f}" height="{side - 1:.2f}"'
    cell = f"<rect {box} {fill}><title>{label}</title></rect>"
    if not written:
        return cell
    ink = "var(--mute)" if value is None else _ink(color)
    text = "–" if value is None else f"{value:.2f}"
    centre = f'x="{left + side / 2:.1f}" y="{top + side / 2 + 4:.1f}"'
    return f'{cell}<text {centre} text-anchor="middle" style="fill:{ink}">{text}</text>'


def _ink(color: str) -> str:
    """Black or white, whichever reads better on a #rrggbb colour."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"


def _asides(series: Sequence[Series]) -> list[Number]:
    """How far to the right each series is drawn: intervals at one x stand beside each other, not on each other."""
    dodged = [s for s in series if s.intervals]
    return [_ASIDE * (dodged.index(s) - (len(dodged) - 1) / 2) if s in dodged else 0 for s in series]


def _points(places: Sequence[tuple[Number, Number]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in places)


def _area(s: Series, x: Axis, y: Axis) -> str:
    """The band: along its lower edge and back along its upper one."""
    low = [(x(a), y(pair[0])) for a, pair in zip(s.x, s.band, strict=True)]
    high = [(x(a), y(pair[1])) for a, pair in zip(s.x, s.band, strict=True)]
    return f'<polygon class="band t{s.tone}" points="{_points([*low, *reversed(high)])}"/>'


def _drawn(s: Series, x: Axis, y: Axis, aside: Number) -> str:
    places = [(x(a) + aside, y(b)) for a, b in zip(s.x, s.y, strict=True)]
    parts = [_area(s, x, y)] if s.band else []
    parts.append(f'<polyline class="{s.look}" points="{_points(places)}"/>')
    for (a, _), (low, high) in zip(places, s.intervals, strict=False):
        caps = [line(f"ci t{s.tone}", a - 4, y(end), a + 4, y(end)) for end in (low, high)]
        parts += [line(f"ci t{s.tone}", a, y(low), a, y(high)), *caps]
    if s.markers or len(places) == 1:
        parts += [marker(s.tone, a, b, f"{s.name}: {number(v)}") for (a, b), v in zip(places, s.y, strict=True)]
    return "".join(parts)
