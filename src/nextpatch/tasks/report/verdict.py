"""What the figures amount to: one sentence and the few numbers to look at first, worded no stronger than they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nextpatch.core.text import format_duration
from nextpatch.measure.probe_result import PIXELS, PRETRAINED, RANDOM, ProbeScore
from nextpatch.measure.run_summary import TrainEntry, ValEntry
from nextpatch.tasks.report.axes import Number, number

NATS = "nats"
LEAST_NATS = 0.01  # less below the baseline is no better


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on: log entries, probe results, and the loss of what guesses, which is named `baseline`."""

    train: Sequence[TrainEntry]
    val: Sequence[ValEntry]
    planned_steps: int
    baseline_loss: Number | None
    baseline: str
    results: Sequence[ProbeScore]
    probed_step: int | None = None  # of the checkpoint whose features were probed
    unit: str = ""  # of the loss


@dataclass(frozen=True)
class KeyFigure:
    """A number with its name and what it is to be compared with."""

    label: str
    value: str
    note: str


def main_rows(results: Sequence[ProbeScore]) -> dict[str, dict[int, ProbeScore]]:
    """Per kind of features and label budget, the row to compare.

    Each kind of features is shown with its own best probe: the one that the held-out slice (never the test split)
    prefers at the largest budget. A baseline that had to take the best probe of the pre-trained features would look
    worse than it is.
    """
    if not any(r.features == PRETRAINED for r in results):
        return {}
    return {kind: _best_probe([r for r in results if r.features == kind]) for kind in (PRETRAINED, RANDOM, PIXELS)}


def compared_rows(results: Sequence[ProbeScore]) -> dict[str, list[ProbeScore]]:
    """The same, each kind's rows in the order of their labels."""
    return {kind: [rows[labels] for labels in sorted(rows)] for kind, rows in main_rows(results).items()}


def _best_probe(rows: Sequence[ProbeScore]) -> dict[int, ProbeScore]:
    """By label budget, the rows of the probe that is best at the largest budget; none of no rows."""
    largest = max((r.labels for r in rows), default=0)
    best = max((r for r in rows if r.labels == largest), key=_selected, default=None)
    return {r.labels: r for r in rows if best is not None and r.probe == best.probe}


def _selected(row: ProbeScore) -> float:
    return -1.0 if row.select_top1 is None else row.select_top1


def gain(row: ProbeScore, other: ProbeScore) -> tuple[Number, bool]:
    """(difference in points, whether it is larger than both 95 % intervals together allow for by chance)."""
    difference = row.test_top1 - other.test_top1
    noise = sum((r.test_ci95[1] - r.test_ci95[0]) ** 2 / 4 for r in (row, other)) ** 0.5
    return difference, abs(difference) > noise


def sentence(e: Evidence) -> str:
    """The verdict."""
    return "; ".join(clause for clause in (_loss_clause(e), _probe_clause(e)) if clause) + "."


def _loss_clause(e: Evidence) -> str:
    """How far the loss came."""
    entries: Sequence[TrainEntry | ValEntry] = e.val or e.train
    what = "validation" if e.val else "training"
    if not entries:
        return "Nothing is measured yet: this run has no logged step"
    first, last, step = entries[0].loss, entries[-1].loss, entries[-1].step
    steps = f"{step:,} steps" if step >= e.planned_steps else f"{step:,} of {e.planned_steps:,} steps"
    if e.val and (bits := e.val[-1].bits_per_dim) is not None:
        return f"After {steps} held-out images take {bits:.3f} bits per dimension{_beside_bits(e, bits, last)}"
    if e.val and e.baseline_loss is not None:
        if e.unit == NATS:
            beside = _in_nats(last, e.baseline_loss, e.baseline)
            return f"After {steps} the validation loss is {last:.3f} nats{_codes(e.val[-1])}, {beside}"
        return f"After {steps} the validation loss is {last:.3f}, {_against(last, e.baseline_loss, e.baseline)}"
    if len(entries) == 1:
        return f"After {steps} the {what} loss is {last:.3f}"
    moved = "fell" if last < first else "did not fall: it went"
    return f"After {steps} the {what} loss {moved} from {first:.3f} to {last:.3f}"


def _beside_bits(e: Evidence, bits: Number, loss: Number) -> str:
    """What the baseline takes: bits and losses are in proportion."""
    return "" if e.baseline_loss is None else f" ({e.baseline}: {bits * e.baseline_loss / loss:.3f})"


def _against(loss: Number, guess: Number, name: str) -> str:
    share = 100 * (1 - loss / guess) if guess else 0.0
    if share < 0.5:
        return f"no better than {name} ({guess:.3f})"
    return f"{share:.0f} % below {name} ({guess:.3f})"


def _in_nats(loss: Number, guess: Number, name: str) -> str:
    """A loss of codes is compared by difference: no loss means half of another one."""
    gained = guess - loss
    return f"no better than {name} ({guess:.3f})" if gained < LEAST_NATS else f"{gained:.2f} below {name} ({guess:.3f})"


def _codes(last: ValEntry) -> str:
    """Perplexity and accuracy, in brackets."""
    if last.perplexity is None or last.accuracy is None:
        return ""
    return f" (perplexity {number(last.perplexity)}, {100 * last.accuracy:.1f} % of the codes right)"


def _probe_clause(e: Evidence) -> str:
    """What the frozen features are worth at the largest label budget, against both baselines."""
    rows = main_rows(e.results)
    if not rows.get(PRETRAINED):
        return ""
    labels = max(rows[PRETRAINED])
    row, beside = rows[PRETRAINED][labels], against_baselines(rows, labels)
    whose = f"the frozen features of step {e.probed_step:,}" if _other_step(e) else "its frozen features"
    start = f"with {labels:,} labels {whose} classify {row.test_top1:.1f} % of the test images"
    return ", ".join([start, beside] if beside else [start])


def against_baselines(rows: dict[str, dict[int, ProbeScore]], labels: int) -> str:
    """The features of these `main_rows` beside both baselines, as far as these were measured, in words."""
    names = {RANDOM: "the same network untrained", PIXELS: "raw pixels"}
    own = rows[PRETRAINED][labels]
    return " and ".join(
        _compared(own, rows[kind][labels], name) for kind, name in names.items() if labels in rows[kind]
    )


def _other_step(e: Evidence) -> bool:
    """Whether the probe measured another step than the one whose loss is named."""
    entries: Sequence[TrainEntry | ValEntry] = e.val or e.train
    return e.probed_step is not None and bool(entries) and entries[-1].step != e.probed_step


def _compared(row: ProbeScore, other: ProbeScore, name: str) -> str:
    difference, clear = gain(row, other)
    if not clear:
        return f"no different from {name} ({difference:+.1f} points, within the 95 % intervals)"
    return f"{abs(difference):.1f} points {'above' if difference > 0 else 'BELOW'} {name}"


def key_figures(e: Evidence) -> list[KeyFigure]:
    """Up to six numbers for the head of the page, each with its comparison."""
    found = []
    if e.val:
        note = (
            f"at the start: {e.val[0].loss:.3f}" if e.baseline_loss is None else f"{e.baseline}: {e.baseline_loss:.3f}"
        )
        found.append(KeyFigure("Validation loss", f"{e.val[-1].loss:.3f}", note))
        if (bits := e.val[-1].bits_per_dim) is not None:
            found.append(KeyFigure("Bits per dimension", f"{bits:.3f}", _of_averages(e.val[-1], bits)))
        if (accuracy := e.val[-1].accuracy) is not None:
            perplexity = "" if e.val[-1].perplexity is None else f"perplexity {number(e.val[-1].perplexity)}"
            found.append(KeyFigure("Codes predicted right", f"{100 * accuracy:.1f} %", perplexity))
    rows = main_rows(e.results)
    if rows.get(PRETRAINED):
        found += _probe_figures(rows, max(rows[PRETRAINED]), e.probed_step if _other_step(e) else None)
    if e.train:
        last = e.train[-1]
        found.append(KeyFigure("Images seen", number(last.images), f"in {format_duration(last.elapsed_s)}"))
    return found


def _of_averages(last: ValEntry, bits: Number) -> str:
    """What a value of a pixel takes with averaged weights, where there are any."""
    more = "" if last.ema_loss is None else f"; averaged weights: {bits * last.ema_loss / last.loss:.3f}"
    return f"bits for a channel of a pixel of held-out images{more}"


def _probe_figures(rows: dict[str, dict[int, ProbeScore]], labels: int, step: int | None) -> list[KeyFigure]:
    row = rows[PRETRAINED][labels]
    low, high = row.test_ci95
    which = "" if step is None else f", step {step:,}"
    note = f"{row.probe} probe, {labels:,} labels{which}; 95 % interval {low:.1f} to {high:.1f}"
    found = [KeyFigure("Test accuracy", f"{row.test_top1:.1f} %", note)]
    for kind, name in ((RANDOM, "Gain over the untrained network"), (PIXELS, "Gain over raw pixels")):
        if labels in rows[kind]:
            other = rows[kind][labels]
            difference, clear = gain(row, other)
            kind_of = "" if other.probe == row.probe else f" ({other.probe} probe)"
            note = f"points, against {other.test_top1:.1f}\N{NO-BREAK SPACE}%{kind_of}"
            note += "" if clear else "; not significant"
            found.append(KeyFigure(name, f"{difference:+.1f}".replace("-", "−"), note))
    return found
