"""Pieces of a drawing as SVG: lines, texts, markers, the frame of a chart. Colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nextpatch.tasks.report.axes import Axis, Number, number

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 50, 416, 30, 234


def line(kind: str, x1: Number, y1: Number, x2: Number, y2: Number) -> str:
    """A straight line of a class in the style sheet."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: Number, y: Number, words: str, anchor: str, kind: str = "tick") -> str:
    """Words at a place; `anchor` is which end of them stands there: start, middle or end."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def marker(tone: int, x: Number, y: Number, title: str, kind: str = "dot") -> str:
    """A shape per tone, so that no series is told by colour alone."""
    shape = {
        1: f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6"',
        2: f'<rect x="{x - 3.2:.1f}" y="{y - 3.2:.1f}" width="6.4" height="6.4"',
        3: f'<path d="M{x:.1f},{y - 4.4:.1f} l4.4,7.6 h-8.8 z"',
        4: f'<path d="M{x:.1f},{y - 4.8:.1f} l4.8,4.8 l-4.8,4.8 l-4.8,-4.8 z"',
        5: f'<path d="M{x:.1f},{y + 4.4:.1f} l4.4,-7.6 h-8.8 z"',
        6: f'<path d="M{x - 4:.1f},{y - 1.4:.1f} h2.6 v-2.6 h2.8 v2.6 h2.6 v2.8 h-2.6 v2.6 h-2.8 v-2.6 h-2.6 z"',
    }[tone]
    return f'{shape} class="{kind} t{tone}"><title>{escape(title)}</title></{shape[1:].split()[0]}>'


def frame(
    x: Axis, y: Axis, x_label: str, y_label: str, x_ticks: Sequence[Number], x_names: Sequence[str] | None
) -> list[str]:
    """Horizontal grid lines, ticks and both axis names; the y name lies flat over its axis, so it is easy to read."""
    names = x_names if x_names is not None else [number(t) for t in x_ticks]
    rows = [line("grid", LEFT, y(t), RIGHT, y(t)) + text(LEFT - 8, y(t) + 4, number(t), "end") for t in y.ticks()]
    columns = [text(x(t), BOTTOM + 18, n, "middle") for t, n in zip(x_ticks, names, strict=True)]
    base = line("base", LEFT, BOTTOM, RIGHT, BOTTOM)
    return [
        *rows, *columns, base,
        text(2, 13, y_label, "start", "name"), text(RIGHT, HEIGHT - 6, x_label, "end", "name"),
    ]  # fmt: skip


def drawing(title: str, parts: Sequence[str], height: Number = HEIGHT) -> str:
    """The parts as one picture."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
