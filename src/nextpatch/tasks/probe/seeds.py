"""The same measurement with several seeds: how much of a figure is chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from nextpatch.core.files import write_json
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.tasks.probe.choose import Scored
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.run import check_results, output_of, probe

SEEDS = "seeds.json"


def probe_seeds(config: ProbeConfig, seeds: int, console: Console | None = None, ranks: Ranks = ALONE) -> None:
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
        facts = {"seeds": [config.seed + number for number in range(seeds)], "results": rows}
        write_json(out / SEEDS, facts)
        _print(console, rows, seeds)


def spread(found: Sequence[Sequence[Scored]]) -> list[dict[str, Any]]:
    """Mean and standard deviation of test top-1, in percent, by labels, features and probe."""
    figures: dict[tuple[int, str, str], list[float]] = {}
    for scored in found:
        for one in scored:
            choice = one.choice
            figures.setdefault((choice.labels, choice.features, choice.probe), []).append(one.top1)
    return [
        {
            "labels": labels, "features": features, "probe": kind, "test_top1": [round(v, 3) for v in values],
            "mean": round(mean(values), 3), "std": round(stdev(values), 3) if len(values) > 1 else None,
        }
        for (labels, features, kind), values in figures.items()
    ]  # fmt: skip


def _print(console: Console, rows: Sequence[dict[str, Any]], seeds: int) -> None:
    table = Table(title=f"Test accuracy in %, mean of {seeds} seeds (standard deviation)")
    for name in ("labels", "features", "probe", "top-1"):
        table.add_column(name, justify="right" if name in ("labels", "top-1") else "left")
    for row in rows:
        table.add_row(f"{row['labels']:,}", row["features"], row["probe"], f"{row['mean']:.1f} ({row['std']:.1f})")
    console.print(table)
