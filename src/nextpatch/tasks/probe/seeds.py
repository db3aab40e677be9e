"""The same measurement with several seeds: how much of a figure is chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, stdev

from rich.console import Console

from nextpatch.config import to_dict
from nextpatch.core.files import write_json
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.measure.probe_result import ProbeResult, SeedScore, seeds_table
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.run import check_results, output_of, probe

SEEDS = "seeds.json"


def probe_seeds(
    config: ProbeConfig, seeds: int, console: Console | None = None, ranks: Ranks = ALONE
) -> list[ProbeResult]:
    """`probe` with seeds config.seed, config.seed + 1, ...: the division of the labels, the order and the start of
    the probes are drawn anew. The first one's results lie where they always do, the others' in seeds/N beside it;
    seeds.json has mean and standard deviation of every row."""
    console = console or Console(quiet=not ranks.is_main)
    out = output_of(config)
    places = {
        config.seed + number: out / "seeds" / str(config.seed + number) if number else out for number in range(seeds)
    }
    for place in places.values():
        check_results(place)
    found = [probe(replace(config, seed=seed, out=place), console, ranks) for seed, place in places.items()]
    if ranks.is_main and seeds > 1:
        rows = spread(found)
        write_json(out / SEEDS, {"seeds": list(places), "results": [to_dict(row) for row in rows]})
        console.print(seeds_table(rows, seeds))
    return found


def spread(found: Sequence[ProbeResult]) -> list[SeedScore]:
    """Mean and standard deviation of test top-1, in percent, by labels, features and probe."""
    figures: dict[tuple[int, str, str], list[float]] = {}
    for row in (row for result in found for row in result.results):
        figures.setdefault((row.labels, row.features, row.probe), []).append(row.test_top1)
    return [
        SeedScore(
            labels=labels, features=features, probe=kind, test_top1=tuple(values), mean=round(mean(values), 3),
            std=round(stdev(values), 3) if len(values) > 1 else None,
        )
        for (labels, features, kind), values in figures.items()
    ]  # fmt: skip
