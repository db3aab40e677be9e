"""What an inspection found, as a page of plain text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nextpatch.core.text import format_bytes, format_duration, shown, shown_lines
from nextpatch.data.survey import several
from nextpatch.runs.config import TrainConfig
from nextpatch.tasks.curate.epochs_advice import Seen
from nextpatch.tasks.curate.inspection import Findings
from nextpatch.tasks.curate.statistics import Spread

_BAR = 28  # cells of the longest bar
_NAMES = 12  # cells of the first column
_WARN = "yellow"


def show(found: Findings, console: Console) -> None:
    """Print the findings."""
    table = _two_columns()
    for name, text in _rows(found):
        table.add_row(name, Text(shown_lines(text), getattr(text, "style", "")))
    console.print(table)


def show_enough(parts: Sequence[Seen], run: TrainConfig, verdict: str, given: bool, console: Console) -> None:
    """Print how often a run, by a recipe or by the automatic plan, sees each part, and what that means."""
    table = _two_columns()
    whose = "by this recipe" if given else "as chosen for these images"
    table.add_row("a run sees", Text(f"{run.steps:,} steps of {run.global_batch_size:,} images, {whose}"))
    for part in parts:
        epochs = f"{part.epochs:,.0f}" if part.epochs >= 10 else f"{part.epochs:.2g}"
        table.add_row("", Text(f"{epochs} epochs of {shown(part.name)} ({part.images:,} images)"))
    table.add_row("enough?", Text(verdict))
    console.print(table)


def _two_columns() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold", min_width=_NAMES)
    table.add_column(overflow="fold")
    return table


def _rows(found: Findings) -> Iterator[tuple[str, str | Text]]:
    part = "" if found.looked_at == found.images else f", {found.looked_at:,} of them looked at"
    yield "images", f"{found.images:,}{part}"
    yield from _classes(found)
    yield "formats", ", ".join(f"{ending} ({count:,})" for ending, count in found.formats.items()) or "none"
    yield "channels", ", ".join(f"{channels} ({count:,})" for channels, count in found.channels.items()) or "none"
    if found.levels:
        yield "", Text(found.levels, _WARN)
    if found.several_pictures:
        yield "", Text(f"{several(found.several_pictures)}", _WARN)
    yield "height", _spread(found.height)
    yield "width", _spread(found.width)
    yield "file size", _file_sizes(found.bytes)
    yield "shorter side", _histogram(found.shorter_side)
    if found.smaller:
        share = f"{found.smaller / max(1, found.usable):.1%}"
        yield "", Text(f"{found.smaller:,} ({share}) are smaller than the model's images and will be enlarged", _WARN)
    yield from _unusable(found)
    yield from _duplicates(found.duplicates)
    yield "one pass", _speed(found)


def _classes(found: Findings) -> Iterator[tuple[str, str]]:
    if not found.classes:
        yield "labels", "none"
        return
    ranked = sorted(found.classes.items(), key=lambda item: -item[1])
    part = "" if found.looked_at == found.images else ", of the images looked at"
    unlabeled = f", {found.unlabeled:,} images without" if found.unlabeled else ""
    (largest, most), (smallest, least) = ranked[0], ranked[-1]
    sizes = (
        f"from {shown(smallest)} ({least:,}) to {shown(largest)} ({most:,})" if least < most else f"of {most:,} each"
    )
    yield "labels", f"{len(ranked):,} classes {sizes}{unlabeled}{part}"


def _spread(spread: Spread) -> str:
    if spread.least == spread.most:
        return f"{spread.most:,} px"
    return f"{spread.least:,} to {spread.most:,} px, median {spread.median:,}"


def _file_sizes(spread: Spread) -> str:
    least, median, most, total = map(format_bytes, spread)
    if least == most:
        return f"{most}; {total} in all"
    return f"{least} to {most}, median {median}; {total} in all"


def _histogram(bars: Sequence[tuple[int, int, int]]) -> Text:
    most = max((count for _, _, count in bars), default=1)
    width = max((len(f"{last - 1}") for _, last, _ in bars), default=1)
    lines = [
        f"{first:>{width}}–{last - 1:<{width}} px {'█' * max(bool(count), round(_BAR * count / most))} {count:,}"
        for first, last, count in bars
    ]
    return Text("\n".join(lines) or "none")


def _unusable(found: Findings) -> Iterator[tuple[str, str | Text]]:
    count = sum(kind["count"] for kind in found.unusable.values())
    if not count:
        yield "unusable", "none" if found.decoded else "none by their headers (nothing was decoded)"
        return
    yield "unusable", Text(f"{count:,} ({count / found.looked_at:.2%})", _WARN)
    for kind, entry in found.unusable.items():
        first = entry["examples"][0]
        yield "", f"{entry['count']:,} {kind}, such as {shown(first['key'])}: {shown(first['reason'])}"


def _duplicates(found: dict[str, Any]) -> Iterator[tuple[str, str | Text]]:
    if not found["groups"]:
        yield "duplicates", "none"
        return
    yield "duplicates", Text(f"{found['extra']:,} copies, of {found['groups']:,} different images", _WARN)
    yield "", "such as " + " = ".join(map(shown, found["examples"][0]))
    if found["contradicting"]:
        yield "", Text(f"{found['contradicting']:,} of these images have copies with different labels", _WARN)
    if found["contradicting"] and found["examples"][0] != found["contradicting_examples"][0]:
        yield "", "such as " + " = ".join(map(shown, found["contradicting_examples"][0]))


def _speed(found: Findings) -> str:
    rate = found.looked_at / max(found.elapsed_s, 1e-9)
    what = "decoding all" if found.decoded else "reading all, headers only"
    workers = f"{found.workers} workers" if found.workers > 1 else "one process"
    return f"{format_duration(found.images / rate)} at {rate:,.0f} images/s: {what}, {workers}"
