"""A list of benchmarks, one after the other; what is measured already is not measured again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from nextpatch.bench.config import BenchConfig
from nextpatch.bench.recipe import LATER, RESULT, notes, read_result, recipe_of
from nextpatch.bench.registry import Benchmark, chosen
from nextpatch.bench.table import TABLES, table_6, write_tables
from nextpatch.config import ConfigError, from_dict, to_dict
from nextpatch.core.files import write_json
from nextpatch.core.output import check_folder
from nextpatch.core.progress import phase
from nextpatch.data.error import DataError
from nextpatch.data.fingerprint import changes, fingerprint_from, fingerprint_of
from nextpatch.data.sources.source import Source
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.measure.bench_result import BenchmarkScore, BenchResult
from nextpatch.measure.probe_result import ProbeResult
from nextpatch.model.layer_sets import layer_sets
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.run import probe
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.load import load


def bench(
    config: BenchConfig, console: Console | None = None, ranks: Ranks = ALONE, backbone: Backbone | None = None
) -> BenchResult:
    """Measure the weights on every benchmark chosen, write bench.md, bench.csv and bench.json, print the table.

    A benchmark whose data is not to be had is named and left out; those that are done stay. The
    ranks of `ranks` share every probe and return the same. Raises ConfigError when `config.out` holds what was
    measured otherwise: of other weights, layers or data, or by another recipe. DataError when no benchmark can be
    measured.
    """
    console = console or Console(quiet=not ranks.is_main)
    wanted = chosen(config.only)
    check_folder(config.out, files=TABLES)
    with phase("loading the weights", console):
        backbone = backbone or load(config.weights, attention=config.attention)
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
        results = {name: found for name, found in there.items() if found is not None}
        if ranks.is_main and not results:
            raise DataError(problems[0] if problems else "nothing was measured")
    said: dict[str, Any] | None = None
    if ranks.is_main:
        found = write_tables(config.out, results, backbone.about.name, [*notes(results), *problems])
        console.print(table_6(found))
        said = found.to_dict()
    return from_dict(BenchResult, ranks.broadcast(said), "results")


def _measured(
    config: BenchConfig, benchmark: Benchmark, recipe: dict[str, Any], backbone: Backbone, ranks: Ranks
) -> bool:
    """Measure one benchmark; True when exactly this had been measured before, and nothing was to be done.

    What was measured is kept when its data is not to be had any more.
    """
    place = config.out / benchmark.name
    done = _done(place, ranks)
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
    found = probe(_asked(config, benchmark, recipe), Console(quiet=True), ranks, backbone, (train, test), whole=True)
    with ranks.raise_on_all():
        if ranks.is_main:
            write_json(place / RESULT, to_dict(_score(found, train, test, recipe, data)))
    return False


def _done(place: Path, ranks: Ranks) -> BenchmarkScore | None:
    """What was measured before, the same on every rank."""
    own = read_result(place) if ranks.is_main else None
    said = ranks.broadcast(None if own is None else to_dict(own))
    return None if said is None else from_dict(BenchmarkScore, said, "results")


def _score(
    found: ProbeResult, train: Source, test: Source, recipe: dict[str, Any], data: dict[str, dict[str, Any]]
) -> BenchmarkScore:
    """What is kept of a measurement."""
    best = next(row for row in found.results if row.probe == "attentive")
    return BenchmarkScore(
        top1=best.test_top1, ci95=best.test_ci95, counts=(len(train), len(test), len(train.classes)),
        layers=best.layers, lr=best.lr, test_in_training=found.num_test_in_training, measured=recipe, data=data,
    )  # fmt: skip


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
        augment=config.augment, select_on=config.select_on, overlap="keep", attention=config.attention,
    )  # fmt: skip


def _refuse_other(place: Path, recipe: dict[str, Any]) -> None:
    """ConfigError when a result is there that was measured in another way."""
    done = read_result(place)
    if done is None:
        return
    then = {**LATER, **done.measured}
    if differing := [name for name in recipe if then.get(name) != recipe[name]]:
        what = ", ".join(f"{name} {then.get(name, 'unknown')} (now {recipe[name]})" for name in differing)
        raise ConfigError(f"{place} was measured with other values: {what}; give the same, or choose another --out")


def _refuse_other_data(place: Path, done: BenchmarkScore, data: dict[str, dict[str, Any]]) -> None:
    for part, now in data.items():
        if what := changes(fingerprint_from(done.data[part]), fingerprint_from(now), times=False):
            raise ConfigError(
                f"{place} was measured on other {part} images ({what} changed); choose another --out, or remove it"
            )
