"""What the figures amount to: one sentence and the few numbers to look at first, worded no stronger than they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nextpatch.report.axes import Number, duration, number

PRETRAINED, RANDOM, PIXELS = "pre-trained", "random init", "raw pixels"
Row = dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on: log entries, probe results, and the loss `guess` of the guess named `guess_name`."""

    train: Sequence[Row]
    val: Sequence[Row]
    planned_steps: int
    guess: Number | None
    guess_name: str
    results: Sequence[Row]


@dataclass(frozen=True)
class KeyFigure:
    """A number with its name and what it is to be compared with."""

    label: str
    value: str
    note: str


def main_rows(results: Sequence[Row]) -> dict[str, dict[int, Row]]:
    """Per kind of features and label budget, the row to compare.

    The probe is the one that the held-out slice (never the test split) prefers for the pre-trained features at the
    largest budget; the untrained network gets the same one, raw pixels their own linear classifier.
    """
    trained = [r for r in results if r["features"] == PRETRAINED]
    if not trained:
        return {}
    largest = max(r["labels"] for r in trained)
    probe = max((r for r in trained if r["labels"] == largest), key=_selected)["probe"]
    pixels = {r["probe"] for r in results if r["features"] == PIXELS}
    wanted = {PRETRAINED: probe, RANDOM: probe, PIXELS: probe if probe in pixels else "linear"}
    return {
        kind: {r["labels"]: r for r in results if r["features"] == kind and r["probe"] == wanted[kind]}
        for kind in wanted
    }


def _selected(row: Row) -> float:
    value = row.get("select_top1")
    return -1.0 if value is None else float(value)


def gain(row: Row, other: Row) -> tuple[Number, bool]:
    """(difference in points, whether it is larger than both 95 % intervals together allow for by chance)."""
    difference = row["test_top1"] - other["test_top1"]
    noise = sum((r["test_ci95"][1] - r["test_ci95"][0]) ** 2 / 4 for r in (row, other)) ** 0.5
    return difference, abs(difference) > noise


def sentence(e: Evidence) -> str:
    """The verdict."""
    return "; ".join(clause for clause in (_loss_clause(e), _probe_clause(e.results)) if clause) + "."


def _loss_clause(e: Evidence) -> str:
    """How far the loss came."""
    entries, what = (e.val, "validation") if e.val else (e.train, "training")
    if not entries:
        return "Nothing is measured yet: this run has no logged step"
    first, last, step = entries[0]["loss"], entries[-1]["loss"], entries[-1]["step"]
    steps = f"{step:,} steps" if step >= e.planned_steps else f"{step:,} of {e.planned_steps:,} steps"
    if e.val and e.guess is not None:
        return f"After {steps} the validation loss is {last:.3f}, {_against(last, e.guess, e.guess_name)}"
    if len(entries) == 1:
        return f"After {steps} the {what} loss is {last:.3f}"
    moved = "fell" if last < first else "did not fall: it went"
    return f"After {steps} the {what} loss {moved} from {first:.3f} to {last:.3f}"


def _against(loss: Number, guess: Number, name: str) -> str:
    share = 100 * (1 - loss / guess) if guess else 0.0
    if share < 0.5:
        return f"no better than {name} ({guess:.3f})"
    return f"{share:.0f} % below {name} ({guess:.3f})"


def _probe_clause(results: Sequence[Row]) -> str:
    """What the frozen features are worth at the largest label budget, against both baselines."""
    rows = main_rows(results)
    if not rows.get(PRETRAINED):
        return ""
    labels = max(rows[PRETRAINED])
    row = rows[PRETRAINED][labels]
    names = {RANDOM: "the same network untrained", PIXELS: "raw pixels"}
    parts = [_compared(row, rows[kind][labels], name) for kind, name in names.items() if labels in rows[kind]]
    start = f"with {labels:,} labels its frozen features classify {row['test_top1']:.1f} % of the test images"
    return ", ".join([start, " and ".join(parts)] if parts else [start])


def _compared(row: Row, other: Row, name: str) -> str:
    difference, clear = gain(row, other)
    if not clear:
        return f"level with {name} ({difference:+.1f} points, within the 95 % intervals)"
    return f"{abs(difference):.1f} points {'above' if difference > 0 else 'BELOW'} {name}"


def key_figures(e: Evidence) -> list[KeyFigure]:
    """Up to five numbers for the head of the page, each with its comparison."""
    found = []
    if e.val:
        note = f"at the start: {e.val[0]['loss']:.3f}" if e.guess is None else f"{e.guess_name}: {e.guess:.3f}"
        found.append(KeyFigure("Validation loss", f"{e.val[-1]['loss']:.3f}", note))
    rows = main_rows(e.results)
    if rows.get(PRETRAINED):
        found += _probe_figures(rows, max(rows[PRETRAINED]))
    if e.train:
        last = e.train[-1]
        found.append(KeyFigure("Images seen", number(last["images"]), f"in {duration(last['elapsed_s'])}"))
    return found


def _probe_figures(rows: dict[str, dict[int, Row]], labels: int) -> list[KeyFigure]:
    row = rows[PRETRAINED][labels]
    low, high = row["test_ci95"]
    note = f"{row['probe']} probe, {labels:,} labels; 95 % interval {low:.1f} to {high:.1f}"
    found = [KeyFigure("Test accuracy", f"{row['test_top1']:.1f} %", note)]
    for kind, name in ((RANDOM, "Over untrained"), (PIXELS, "Over raw pixels")):
        if labels in rows[kind]:
            other = rows[kind][labels]
            difference, clear = gain(row, other)
            note = f"points, against {other['test_top1']:.1f}\N{NO-BREAK SPACE}%" + ("" if clear else "; within chance")
            found.append(KeyFigure(name, f"{difference:+.1f}".replace("-", "−"), note))
    return found
