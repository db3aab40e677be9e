"""A list of benchmarks, one after the other; what is measured already is not measured again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nextpatch.bench.config import BenchConfig
from nextpatch.bench.recipe import RESULT, notes, read_result, recipe_of
from nextpatch.bench.registry import Benchmark, chosen
from nextpatch.bench.table import TABLES, rows, write_tables
from nextpatch.config import ConfigError
from nextpatch.core.files import write_json
from nextpatch.core.output import check_folder
from nextpatch.core.progress import phase
from nextpatch.core.reading import read_json
from nextpatch.data.error import DataError
from nextpatch.data.fingerprint import changes, fingerprint_from, fingerprint_of
from nextpatch.data.sources.source import Source
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.model.layer_sets import layer_sets
from nextpatch.tasks.probe.choose import Scored
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.run import probe
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.load import load


def bench(
    config: BenchConfig, console: Console | None = None, ranks: Ranks = ALONE, backbone: Backbone | None = None
) -> dict[str, dict[str, Any]]:
    """Measure the weights on every benchmark chosen, write bench.md, bench.csv and bench.json, print the table.

    A benchmark whose data is not to be had is named and left out; those that are done stay. Returns results by name.
    The ranks of `ranks` share every probe and return the same. Raises ConfigError when `config.out` holds what was
    measured otherwise: of other weights, layers or data, or by another recipe. DataError when no benchmark can be
    measured.
    """
    console = console or Console(quiet=not ranks.is_main)
    wanted = chosen(config.only)
    check_folder(config.out, files=TABLES)
    with phase("loading the weights", console):
        backbone = backbone or load(config.weights)
    layer_sets(config.layers, len(backbone.blocks))  # refused before anything is measured
    digest = backbone.digest()  # of the weights as they are: to measure may convert them
    recipes = {b.name: recipe_of(config, b, backbone.about, digest) for b in wanted}
    for name, recipe in recipes.items():
        _refuse_other(config.out / name, recipe)
    problems: list[str] = []
    for benchmark in wanted:
        console.print(f"{benchmark.title} ...", highlight=False)
        try:
            with phase(f"measuring {benchmark.title}", console):
                before = _measured(config, benchmark, recipes[benchmark.name], backbone, ranks)
            if before:
                console.print(f"measured before: {config.out / benchmark.name}", highlight=False)
        except DataError as error:
            problems.append(f"{benchmark.title} was not measured: {error}")
            console.print(problems[-1], highlight=False, soft_wrap=True)
    with ranks.raise_on_all():
        there = {b.name: read_result(config.out / b.name) for b in wanted} if ranks.is_main else {}
    results = {name: found for name, found in ranks.broadcast(there).items() if found is not None}
    if not results:
        raise DataError(problems[0] if problems else "nothing was measured")
    if ranks.is_main:
        write_tables(config.out, results, backbone.about.name, [*notes(results), *problems])
        _print(console, results, backbone.about.name)
    return results


def _measured(
    config: BenchConfig, benchmark: Benchmark, recipe: dict[str, Any], backbone: Backbone, ranks: Ranks
) -> bool:
    """Measure one benchmark; True when exactly this had been measured before, and nothing was to be done.

    What was measured is kept when its data is not to be had any more.
    """
    place = config.out / benchmark.name
    done = ranks.broadcast(read_result(place) if ranks.is_main else None)
    try:
        train, test = _opened(config, benchmark, ranks)
    except DataError:
        if done is None:
            raise
        return True
    data = {"train": asdict(fingerprint_of(train)), "test": asdict(fingerprint_of(test))}
    if done is not None:
        _refuse_other_data(place, done, data)
        return True
    scored = probe(_asked(config, benchmark, recipe), Console(quiet=True), ranks, backbone, (train, test), whole=True)
    with ranks.raise_on_all():
        if ranks.is_main:
            write_json(place / RESULT, {**_result(place, train, test, scored), "measured": recipe, "data": data})
    return False


def _result(place: Path, train: Source, test: Source, scored: Sequence[Scored]) -> dict[str, Any]:
    """What is kept of a measurement."""
    facts = read_json(place / "probe.json", "the figures of a probe", "measure it again", ConfigError)
    best = next(one for one in scored if one.choice.probe == "attentive")
    return {
        "top1": round(best.top1, 3), "ci95": [round(b, 3) for b in best.ci95],
        "counts": [len(train), len(test), len(train.classes)], "layers": best.choice.layers, "lr": best.choice.lr,
        "test_in_training": facts["num_test_in_training"],
    }  # fmt: skip


def _opened(config: BenchConfig, benchmark: Benchmark, ranks: Ranks) -> tuple[Source, Source]:
    """Training and test images; what rank 0, which may download them, cannot open, no rank measures."""
    opened, problem = None, None
    if ranks.is_main:
        try:
            opened = benchmark.opened(config.root, config.any_counts)
        except DataError as error:
            problem = str(error)
    if (problem := ranks.broadcast(problem)) is not None:
        raise DataError(problem)
    with ranks.raise_on_all():
        return opened or benchmark.opened(config.root, config.any_counts)


def _asked(config: BenchConfig, benchmark: Benchmark, recipe: dict[str, Any]) -> ProbeConfig:
    return ProbeConfig(
        config.weights, benchmark.title, benchmark.title, (), tuple(recipe["layers"]), tuple(recipe["lrs"]),
        recipe["epochs"], recipe["batch_size"], warmup=recipe["warmup"], seed=config.seed, workers=config.workers,
        device=config.device, precision=config.precision, out=config.out / benchmark.name, probes=("attentive",),
        augment=config.augment, select_on=config.select_on, overlap="keep",
    )  # fmt: skip


def _refuse_other(place: Path, recipe: dict[str, Any]) -> None:
    """ConfigError when a result is there that was measured in another way."""
    done = read_result(place)
    if done is None:
        return
    then = done.get("measured", {})
    if differing := [name for name in recipe if then.get(name) != recipe[name]]:
        what = ", ".join(f"{name} {then.get(name, 'unknown')} (now {recipe[name]})" for name in differing)
        raise ConfigError(f"{place} was measured with other values: {what}; give the same, or choose another --out")


def _refuse_other_data(place: Path, done: dict[str, Any], data: dict[str, dict[str, Any]]) -> None:
    for part, now in data.items():
        if what := changes(fingerprint_from(done["data"][part]), fingerprint_from(now), times=False):
            raise ConfigError(
                f"{place} was measured on other {part} images ({what} changed); choose another --out, or remove it"
            )


def _print(console: Console, results: dict[str, dict[str, Any]], ours: str) -> None:
    measured, table = rows(results, ours)
    shown = Table(title=f"Top-1 in %, attentive probe; {len(measured)} of 15 benchmarks; other rows: Table 6")
    for name in ("model", *(benchmark.name for benchmark in measured), "average"):
        shown.add_column(name, justify="left" if name == "model" else "right")
    for name, values, mean in table:
        shown.add_row(name, *("" if value is None else f"{value:.1f}" for value in (*values, mean)))
    console.print(shown)
