"""Charts as inline SVG: colours come from the page's style sheet, so they follow light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from nextpatch.tasks.report.axes import Axis, Number, axis, number, step_axis

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 50, 416, 30, 234
_ASIDE = 10  # between intervals at one x


@dataclass(frozen=True)
class Series:
    """One line: `tone` picks colour, dash and marker (1 .. 3), `thin` suits a noisy curve.

    `intervals` are (low, high) per point.
    """

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    tone: int = 1
    markers: bool = False
    thin: bool = False
    intervals: Sequence[tuple[Number, Number]] = ()

    @property
    def look(self) -> str:
        """Its classes in the style sheet."""
        return f"line t{self.tone}" + (" thin" if self.thin else "")

    def heights(self) -> list[Number]:
        """Every y that must fit."""
        return [*self.y, *(v for pair in self.intervals for v in pair)]


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
    parts = [*_frame(x, y, x_label, y_label, x_ticks or x.ticks(), x_names)]
    if reference:
        parts.append(_line("ref", LEFT, y(reference[1]), RIGHT, y(reference[1])))
    parts += [_drawn(s, x, y, aside) for s, aside in zip(shown, _asides(shown), strict=True)]
    legend = [(s.look, s.name) for s in shown] + ([("ref", reference[0])] if reference else [])
    return Chart(title, _svg(title, parts), legend)


def bar_chart(title: str, x_label: str, y_label: str, names: Sequence[str], values: Sequence[Number | None]) -> Chart:
    """Bars from zero; a None leaves its place empty."""
    known = [v for v in values if v is not None]
    x, y = Axis(0, len(values), LEFT, RIGHT), axis([0, *known], BOTTOM, TOP, zero=True)
    every = max(1, -(-len(names) // 6))
    parts = [*_frame(x, y, x_label, y_label, [i + 0.5 for i in range(0, len(names), every)], names[::every])]
    for i, value in enumerate(values):
        if value is not None:
            left, width = x(i + 0.15), x(i + 0.85) - x(i + 0.15)
            box = f'x="{left:.1f}" y="{y(value):.1f}" width="{width:.1f}" height="{BOTTOM - y(value):.1f}"'
            parts.append(f'<rect class="bar" {box}><title>{escape(names[i])}: {number(value)}</title></rect>')
    return Chart(title, _svg(title, parts))


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


def _frame(
    x: Axis, y: Axis, x_label: str, y_label: str, x_ticks: Sequence[Number], x_names: Sequence[str] | None
) -> list[str]:
    """Horizontal grid lines, ticks and both axis names; the y name lies flat over its axis, so it is easy to read."""
    names = x_names if x_names is not None else [number(t) for t in x_ticks]
    rows = [_line("grid", LEFT, y(t), RIGHT, y(t)) + _text(LEFT - 8, y(t) + 4, number(t), "end") for t in y.ticks()]
    columns = [_text(x(t), BOTTOM + 18, n, "middle") for t, n in zip(x_ticks, names, strict=True)]
    base = _line("base", LEFT, BOTTOM, RIGHT, BOTTOM)
    return [
        *rows, *columns, base,
        _text(2, 13, y_label, "start", "name"), _text(RIGHT, HEIGHT - 6, x_label, "end", "name"),
    ]  # fmt: skip


def _asides(series: Sequence[Series]) -> list[Number]:
    """How far to the right each series is drawn: intervals at one x stand beside each other, not on each other."""
    dodged = [s for s in series if s.intervals]
    return [_ASIDE * (dodged.index(s) - (len(dodged) - 1) / 2) if s in dodged else 0 for s in series]


def _drawn(s: Series, x: Axis, y: Axis, aside: Number) -> str:
    places = [(x(a) + aside, y(b)) for a, b in zip(s.x, s.y, strict=True)]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    parts = [f'<polyline class="{s.look}" points="{path}"/>']
    for (a, _), (low, high) in zip(places, s.intervals, strict=False):
        caps = [_line(f"ci t{s.tone}", a - 4, y(end), a + 4, y(end)) for end in (low, high)]
        parts += [_line(f"ci t{s.tone}", a, y(low), a, y(high)), *caps]
    if s.markers or len(places) == 1:
        parts += [_marker(s.tone, a, b, f"{s.name}: {number(v)}") for (a, b), v in zip(places, s.y, strict=True)]
    return "".join(parts)


def _marker(tone: int, x: Number, y: Number, title: str) -> str:
    """A shape per tone, so that no series is told by colour alone."""
    shape = {
        1: f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6"',
        2: f'<rect x="{x - 3.2:.1f}" y="{y - 3.2:.1f}" width="6.4" height="6.4"',
        3: f'<path d="M{x:.1f},{y - 4.4:.1f} l4.4,7.6 h-8.8 z"',
    }[tone]
    return f'{shape} class="dot t{tone}"><title>{escape(title)}</title></{shape[1:].split()[0]}>'


def _line(kind: str, x1: Number, y1: Number, x2: Number, y2: Number) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: Number, y: Number, text: str, anchor: str, kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
