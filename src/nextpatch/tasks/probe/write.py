"""What a probe leaves behind: its result as probe.json, and the chosen probe that is saved with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from nextpatch.core.files import write_json
from nextpatch.measure.probe_result import PRETRAINED, ProbeResult, SavedProbe
from nextpatch.tasks.probe.choose import span
from nextpatch.tasks.probe.evaluator import Choice, SavedWith, evaluator_of

RESULTS = ("probe.json", "probe.safetensors", "probe.html", "seeds.json")  # what a probe leaves, the page as well


def write_results(
    folder: Path, result: ProbeResult, choices: Sequence[Choice], kept_with: SavedWith, console: Console
) -> ProbeResult:
    """probe.json with every figure; beside it the probe of the most labels whose kind is saved, and the table on the
    console. Returns the result, in which what was saved is named."""
    saved = _saved(folder, choices, kept_with)
    if saved is not None:
        result = replace(result, attention=SavedProbe(saved.labels, tuple(saved.layers), saved.select_top1))
    write_json(folder / "probe.json", result.to_dict())
    console.print(result.table())
    if saved is not None:
        console.print(
            f"{saved.probe} probe with {saved.labels:,} labels: layers {span(saved.layers)}, lr {saved.lr:g}",
            highlight=False,
        )
    return result


def _saved(folder: Path, choices: Sequence[Choice], kept_with: SavedWith) -> Choice | None:
    """The choice of the most labels on the features of the weights, of the first kind that is saved."""
    for choice in sorted(choices, key=lambda choice: -choice.labels):
        save = evaluator_of(choice.probe).save
        if save is not None and choice.features == PRETRAINED:
            save(folder, choice, kept_with)
            return choice
    return None
