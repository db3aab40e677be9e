"""Draw docs/orders.svg: the four orders on a small grid, numbered and coloured from first to last, with their paths."""

from __future__ import annotations

import sys
from pathlib import Path

from nextpatch.model.orders import checkerboard, random, raster, spiral

PICTURE = Path(__file__).parents[1] / "docs" / "orders.svg"
GRID = (6, 6)
ORDERS = (raster, spiral, checkerboard, random)
CELL, GAP, TITLE = 30, 28, 26  # pixels
FIRST, LAST = (68, 84, 170), (250, 214, 90)  # red, green, blue: dark to light, in any colour vision


def panel(name: str, order: list[int], left: float) -> list[str]:
    """One order as SVG: its title, a numbered cell for each place, and the path through their centres."""
    cells, numbers, centres = [], [], []
    for number, place in enumerate(order):
        x, y = left + place % GRID[1] * CELL, TITLE + place // GRID[1] * CELL
        share = number / (len(order) - 1)
        red, green, blue = (round(a + share * (b - a)) for a, b in zip(FIRST, LAST, strict=True))
        ink = "#fff" if share < 0.5 else "#222"
        cells.append(f'<rect x="{x}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" fill="rgb({red},{green},{blue})"/>')
        at = f'x="{x + CELL / 2 - 0.5}" y="{y + CELL / 2 + 4}"'
        numbers.append(f'<text {at} font-size="11" text-anchor="middle" fill="{ink}">{number + 1}</text>')
        centres.append(f"{x + CELL / 2 - 0.5},{y + CELL / 2 - 0.5}")
    title = f'<text x="{left}" y="16" font-size="14" font-weight="600" fill="#222">{name}</text>'
    path = f'<polyline points="{" ".join(centres)}" fill="none" stroke="#fff" stroke-opacity="0.5" stroke-width="1.5"/>'
    return [title, *cells, path, *numbers]


def drawing() -> str:
    """All of them, side by side."""
    wide = GRID[1] * CELL + GAP
    width, height = len(ORDERS) * wide - GAP + 16, TITLE + GRID[0] * CELL + 8
    parts = [
        line for i, order in enumerate(ORDERS) for line in panel(order.__name__, order(GRID, 0).tolist(), 8 + i * wide)
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return "\n".join(
        [f'{head} font-family="sans-serif">', '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""]
    )


def main() -> None:
    """Write it, or to the place that is given."""
    (Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE).write_text(drawing())


if __name__ == "__main__":
    main()
