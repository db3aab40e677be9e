"""What a probe leaves behind: probe.json, the chosen attentive probe, and a table for a person."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from rich.console import Console
from rich.table import Table

from nextpatch.model.attentive import AttentiveClassifier
from nextpatch.probe.choose import Choice, SweepEntry
from nextpatch.train.run import write_atomically
from nextpatch.weights.classifier import Readout, save_readout

_Z95 = 1.959964


@dataclass(frozen=True)
class Scored:
    """A choice, and which test images it got right."""

    choice: Choice
    right: Bool[np.ndarray, " tested"]

    @property
    def top1(self) -> float:
        """Percent right."""
        return 100 * float(self.right.mean())

    @property
    def ci95(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `top1`: the chance of having drawn these test images, nothing else."""
        n, p, zz = len(self.right), float(self.right.mean()), _Z95**2
        middle, half = p + zz / (2 * n), _Z95 * (p * (1 - p) / n + zz / (4 * n * n)) ** 0.5
        return 100 * (middle - half) / (1 + zz / n), 100 * (middle + half) / (1 + zz / n)


def write_results(run: Path, facts: dict[str, Any], scored: list[Scored], sweep: list[SweepEntry]) -> None:
    """probe.json with every figure; probe.safetensors with the attentive probe of the most labels."""
    results = [_row(one) for one in scored]
    most = max((one.choice for one in scored if _is_main(one.choice)), key=lambda choice: choice.labels)
    attention = {"labels": most.labels, "layers": most.layers, "select_top1": most.select_top1}
    sweep_rows = [{**asdict(entry), "layers": _span(entry.layers)} for entry in sweep]
    _save_probe(run / "probe.safetensors", most, facts["classes"])
    values = {**facts, "results": results, "sweep": sweep_rows, "attention": attention}
    write_atomically(run / "probe.json", json.dumps(values, indent=1))


def _is_main(choice: Choice) -> bool:
    return choice.probe == "attentive" and choice.features == "pre-trained"


def _row(one: Scored) -> dict[str, Any]:
    c = one.choice
    return {
        "labels": c.labels, "features": c.features, "probe": c.probe, "layers": c.layers, "lr": c.lr, "k": c.k,
        "select_top1": round(c.select_top1, 3), "test_top1": round(one.top1, 3),
        "test_ci95": [round(bound, 3) for bound in one.ci95],
    }  # fmt: skip


def _save_probe(path: Path, choice: Choice, classes: list[str]) -> None:
    probe = choice.classifier
    assert isinstance(probe, AttentiveClassifier)
    save_readout(path, Readout(probe, tuple(choice.layers), tuple(classes)))


def print_table(console: Console, scored: list[Scored], classes: tuple[str, ...]) -> None:
    """Test accuracy by number of labels: one row per probe, features side by side."""
    features = list(dict.fromkeys(one.choice.features for one in scored))
    table = Table(title=f"Test accuracy in %, {len(scored[0].right):,} images, {len(classes)} classes (95 % interval)")
    for name, justify in (("labels", "right"), ("probe", "left"), *((name, "right") for name in features)):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    cells = {(one.choice.labels, one.choice.probe, one.choice.features): one for one in scored}
    rows = sorted({key[:2] for key in cells}, key=lambda key: (key[0], ("attentive", "linear", "knn").index(key[1])))
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


_KINDS = {"attentive": "attentive", "linear": "linear", "knn": "k-NN"}


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
