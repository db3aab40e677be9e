"""What a probe leaves behind: its result as probe.json, and the chosen attentive probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from nextpatch.core.files import write_json
from nextpatch.measure.probe_result import PRETRAINED, Interval, ProbeResult, ProbeScore, SavedProbe
from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.tasks.probe.choose import Choice, Scored, span
from nextpatch.weights.backbone import ModelInfo
from nextpatch.weights.classifier import ClassifierHead, save_classifier_head

RESULTS = ("probe.json", "probe.safetensors", "probe.html", "seeds.json")  # what a probe leaves, the page as well


def write_results(
    folder: Path, result: ProbeResult, choices: Sequence[Choice], trunk: str = "", about: ModelInfo | None = None
) -> ProbeResult:
    """probe.json with every figure; probe.safetensors with the attentive probe of the most labels, and the mark of the
    trunk that it is of, and how images were seen (`about`). Returns the result, in which what was saved is named."""
    if main := [choice for choice in choices if _is_main(choice)]:
        most = max(main, key=lambda choice: choice.labels)
        saved = SavedProbe(most.labels, tuple(most.layers), most.select_top1)
        result = replace(result, attention=saved)
        _save_probe(folder / "probe.safetensors", most, result.classes, trunk, about)
    write_json(folder / "probe.json", result.to_dict())
    return result


def _is_main(choice: Choice) -> bool:
    return choice.probe == "attentive" and choice.features == PRETRAINED


def score_of(one: Scored, seed: int) -> ProbeScore:
    """The figures of a choice's answers, to three digits after the point; `seed` draws the bootstrap."""
    c, (low, high) = one.choice, one.ci95
    drawn: dict[str, Interval] = one.bootstrap(seed)
    return ProbeScore(
        labels=c.labels, features=c.features, probe=c.probe, layers=tuple(c.layers), lr=c.lr, k=c.k,
        select_top1=round(c.select_top1, 3), test_top1=round(one.top1, 3), test_ci95=(round(low, 3), round(high, 3)),
        test_top5=round(one.top5, 3), test_macro_f1=round(one.macro_f1, 3), test_bootstrap95=drawn,
        test_per_class={str(number): top1 for number, top1 in one.per_class.items()},
    )  # fmt: skip


def _save_probe(path: Path, choice: Choice, classes: tuple[str, ...], trunk: str, about: ModelInfo | None) -> None:
    probe = choice.classifier
    assert isinstance(probe, AttentiveClassifier)
    seen = (about.img_size, about.preprocessing) if about else (None, None)
    save_classifier_head(path, ClassifierHead(probe, tuple(choice.layers), classes, trunk, *seen))


def print_result(console: Console, result: ProbeResult) -> None:
    """The table, and what the attentive probe of the most labels reads."""
    console.print(result.table())
    for row in result.results:
        if (row.probe, row.features, row.labels) == ("attentive", PRETRAINED, result.most_labels):
            console.print(
                f"attentive probe with {row.labels:,} labels: layers {span(row.layers)}, lr {row.lr:g}", highlight=False
            )
