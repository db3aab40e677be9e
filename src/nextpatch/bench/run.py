"""A list of benchmarks, one after the other; what is measured already is not measured again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nextpatch.bench.config import BenchConfig
from nextpatch.bench.registry import Benchmark, chosen
from nextpatch.bench.table import rows, write_tables
from nextpatch.config import ConfigError
from nextpatch.data.error import DataError
from nextpatch.probe.config import LR_GRID, ProbeConfig
from nextpatch.probe.run import probe
from nextpatch.train.engine.world import ALONE, World
from nextpatch.train.run import write_atomically
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.load import load

_PAPER = (100, 512, 0.0)  # epochs, batch, share of warm-up
_IMAGENET = (50, 1024, 0.1)


def bench(
    config: BenchConfig, console: Console | None = None, world: World = ALONE, backbone: Backbone | None = None
) -> dict[str, dict[str, Any]]:
    """Measure the weights on every benchmark chosen, write bench.md, bench.csv and bench.json, print the table.

    A benchmark whose data is not to be had is named and left out; those that are done stay. Returns results by name.
    Raises ConfigError when `config.out` holds another model's results, DataError when no benchmark can be measured.
    """
    console = console or Console(quiet=not world.leads)
    wanted = chosen(config.only)
    backbone = backbone or load(config.weights)
    digest = backbone.digest()
    problems: list[str] = []
    for benchmark in wanted:
        place = config.out / benchmark.name
        if _done(place, digest):
            console.print(f"{benchmark.title}: measured before, {place}", highlight=False)
            continue
        console.print(f"{benchmark.title} ...", highlight=False)
        try:
            _measure(config, benchmark, place, backbone, digest, world)
        except DataError as error:
            problems.append(f"{benchmark.title} was not measured: {error}")
            console.print(problems[-1], highlight=False, soft_wrap=True)
    results = {b.name: found for b in wanted if (found := _result(config.out / b.name)) is not None}
    if not results:
        raise DataError(problems[0] if problems else "nothing was measured")
    if world.leads:
        write_tables(config.out, results, backbone.about.name, [*_notes(config), *problems])
        _print(console, results, backbone.about.name)
    return results


def _measure(
    config: BenchConfig, benchmark: Benchmark, place: Path, backbone: Backbone, digest: str, world: World
) -> None:
    train, test = benchmark.opened(config.root, config.any_counts)
    epochs, batch, warmup = _IMAGENET if benchmark.name == "imagenet" else _PAPER
    blocks = [layer.removeprefix("block_") for layer in backbone.about.layers]
    given = ProbeConfig(
        config.weights, benchmark.title, benchmark.title, (),
        config.layers or (",".join(blocks),), epochs=config.epochs or epochs, batch_size=config.batch_size or batch,
        warmup=warmup, lrs=LR_GRID, seed=config.seed,
        workers=config.workers, device=config.device, precision=config.precision,
        out=place, probes=("attentive",), augment=config.augment, select_on=config.select_on,
    )  # fmt: skip
    scored = probe(given, Console(quiet=True), world, backbone, sources=(train, test), whole=True)
    if world.leads:
        best = next(one for one in scored if one.choice.probe == "attentive")
        facts = {
            "weights_sha256": digest, "top1": round(best.top1, 3), "ci95": [round(b, 3) for b in best.ci95],
            "counts": [len(train), len(test), len(train.classes)], "layers": best.choice.layers, "lr": best.choice.lr,
        }  # fmt: skip
        write_atomically(place / "result.json", json.dumps(facts, indent=1))


def _result(place: Path) -> dict[str, Any] | None:
    path = place / "result.json"
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return found


def _done(place: Path, digest: str) -> bool:
    found = _result(place)
    if found is not None and found["weights_sha256"] != digest:
        raise ConfigError(f"{place} holds the results of other weights; choose another --out")
    return found is not None


def _notes(config: BenchConfig) -> list[str]:
    where = {
        "held-out": "a held-out slice of the training images",
        "paper": "the test images, as in the paper: too high",
    }
    notes = [f"learning rates and layers were chosen on {where[config.select_on]}"]
    if config.epochs or config.batch_size or config.augment != "paper":
        notes.append(
            f"NOT the paper's recipe: epochs {config.epochs or 'as there'}, batch {config.batch_size or 'as there'}, "
            f"augmentation {config.augment}"
        )
    return notes


def _print(console: Console, results: dict[str, dict[str, Any]], ours: str) -> None:
    measured, table = rows(results, ours)
    shown = Table(title=f"Top-1 in %, attentive probe; {len(measured)} of 15 benchmarks; other rows: Table 6")
    for name in ("model", *(benchmark.name for benchmark in measured), "average"):
        shown.add_column(name, justify="left" if name == "model" else "right")
    for name, values, mean in table:
        shown.add_row(name, *("" if value is None else f"{value:.1f}" for value in (*values, mean)))
    console.print(shown)
