"""What a probe leaves behind: probe.json, the chosen attentive probe, and a table for a person."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nextpatch.core.files import write_json
from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.tasks.probe.choose import Choice, Scored, SweepEntry
from nextpatch.tasks.probe.config import KINDS
from nextpatch.weights.backbone import ModelInfo
from nextpatch.weights.classifier import ClassifierHead, save_classifier_head

RESULTS = ("probe.json", "probe.safetensors", "probe.html", "seeds.json")  # what a probe leaves, the page as well


def write_results(
    run: Path,
    facts: dict[str, Any],
    scored: list[Scored],
    sweep: list[SweepEntry],
    trunk: str = "",
    about: ModelInfo | None = None,
) -> None:
    """probe.json with every figure; probe.safetensors with the attentive probe of the most labels, and the mark of the
    trunk that it is of, and how images were seen (`about`)."""
    results = [_row(one, facts["seed"]) for one in scored]
    main = [one for one in scored if _is_main(one.choice)]
    attention = None
    if main:
        most = max((one.choice for one in main), key=lambda choice: choice.labels)
        attention = {"labels": most.labels, "layers": most.layers, "select_top1": most.select_top1}
        _save_probe(run / "probe.safetensors", most, facts["classes"], trunk, about)
    sweep_rows = [{**asdict(entry), "layers": _span(entry.layers)} for entry in sweep]
    values = {**facts, "results": results, "sweep": sweep_rows, "attention": attention}
    write_json(run / "probe.json", values)


def _is_main(choice: Choice) -> bool:
    return choice.probe == "attentive" and choice.features == "pre-trained"


def _row(one: Scored, seed: int) -> dict[str, Any]:
    c = one.choice
    drawn = one.bootstrap(seed)
    return {
        "labels": c.labels, "features": c.features, "probe": c.probe, "layers": c.layers, "lr": c.lr, "k": c.k,
        "select_top1": round(c.select_top1, 3), "test_top1": round(one.top1, 3),
        "test_ci95": [round(bound, 3) for bound in one.ci95], "test_top5": round(one.top5, 3),
        "test_macro_f1": round(one.macro_f1, 3), "test_bootstrap95": drawn, "test_per_class": one.per_class,
    }  # fmt: skip


def _save_probe(path: Path, choice: Choice, classes: list[str], trunk: str, about: ModelInfo | None) -> None:
    probe = choice.classifier
    assert isinstance(probe, AttentiveClassifier)
    seen = (about.img_size, about.preprocessing) if about else (None, None)
    save_classifier_head(path, ClassifierHead(probe, tuple(choice.layers), tuple(classes), trunk, *seen))


def print_table(
    console: Console, scored: list[Scored], classes: tuple[str, ...], select_on: str = "held-out", view: str = ""
) -> None:
    """Test accuracy by number of labels: one row per probe, features side by side."""
    features = list(dict.fromkeys(one.choice.features for one in scored))
    title = f"Test accuracy in %, {len(scored[0].right):,} images, {len(classes)} classes (95 % interval)"
    if select_on == "paper":
        title += "\nchosen on these same images, as in the paper: too high"
    table = Table(title=title, caption=f"images {view}" if view else None)
    for name, justify in (("labels", "right"), ("probe", "left"), *((name, "right") for name in features)):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    cells = {(one.choice.labels, one.choice.probe, one.choice.features): one for one in scored}
    rows = sorted({key[:2] for key in cells}, key=lambda key: (key[0], KINDS.index(key[1])))
    for labels, kind in rows:
        found = [cells.get((labels, kind, name)) for name in features]
        table.add_row(f"{labels:,}", _KINDS[kind], *(_cell(one) for one in found))
    console.print(table)
    best = max((one for one in scored if one.choice.features == features[0]), key=lambda one: one.choice.labels)
    main = [one.choice for one in scored if _is_main(one.choice) and one.choice.labels == best.choice.labels]
    for choice in main:
        where = _span(choice.layers)
        console.print(
            f"attentive probe with {choice.labels:,} labels: layers {where}, lr {choice.lr:g}", highlight=False
        )


_KINDS = {"attentive": "attentive", "linear": "linear", "knn": "k-NN", "logistic": "logistic regression"}


def _cell(one: Scored | None) -> str:
    if one is None:
        return "-"
    low, high = one.ci95
    return f"{one.top1:.1f} ({low:.1f}–{high:.1f})"


def _span(layers: list[str]) -> str:
    """block_3 for one; block_0-3, or block_0,3 where blocks are left out."""
    blocks = [int(layer.removeprefix("block_")) for layer in layers]
    if not blocks or blocks == list(range(blocks[0], blocks[-1] + 1)):
        return f"block_{'-'.join(str(block) for block in dict.fromkeys(blocks[:1] + blocks[-1:]))}"
    return f"block_{','.join(map(str, blocks))}"
