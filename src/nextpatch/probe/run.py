"""A run's frozen features, measured: choose every probe on held-out images, then score each once on the test images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nextpatch.data.skipped import Bad
from nextpatch.model.layer_sets import layer_sets
from nextpatch.model.precision import resolve_device, resolve_precision
from nextpatch.probe.choose import Choice, Setting, SweepEntry, choose, num_steps
from nextpatch.probe.config import ProbeConfig
from nextpatch.probe.features import Labeled, RawPixels, TrunkFeatures, memory_for_features
from nextpatch.probe.splits import Splits, Unlabeled, open_splits
from nextpatch.probe.write import Scored, print_table, write_results
from nextpatch.train.compute import Compute
from nextpatch.train.logs import log_to
from nextpatch.train.run import LoadedRun, load_run, random_twin

PRETRAINED, RANDOM, PIXELS = "pre-trained", "random init", "raw pixels"
_Features = dict[str, TrunkFeatures | RawPixels]


def probe(config: ProbeConfig, console: Console | None = None) -> list[Scored]:
    """Measure the run, write probe.json and probe.safetensors into it, and print the table.

    The baselines are always measured: the same probes on the same trunk at random initialisation, and a linear and a
    nearest-neighbor classifier on raw pixels. Raises RunError, DataError or ValueError for what cannot be used.
    """
    console = console or Console()
    start_s = time.monotonic()
    loaded = load_run(config.run, step=None if config.step < 0 else config.step)
    splits = open_splits(config.data, config.test, config.seed)
    budgets = splits.budgets(config.labels)
    sets = layer_sets(config.layers, loaded.model.cfg.shape.depth)
    with log_to(config.run / "log.txt", console):
        extractors = _extractors(config, loaded, sets)
        choices, sweep = _choose_all(config, loaded, splits, budgets, extractors, console)
        scored = _score(tuple(choices), extractors, splits)
    facts = _facts(config, splits, sets, loaded.step, time.monotonic() - start_s, len(scored[0].right))
    write_results(config.run, facts, scored, sweep)
    print_table(console, scored, splits.classes)
    return scored


def _extractors(config: ProbeConfig, loaded: LoadedRun, sets: dict[str, list[str]]) -> _Features:
    compute, cfg = _compute(config, loaded), loaded.model.cfg
    models = {PRETRAINED: loaded.model, RANDOM: random_twin(loaded.recipe)}
    bad: Bad = {}  # shared, so that an image is named once and not for every kind of features
    trunks = {
        name: TrunkFeatures(model.to(compute.device), sets, compute, config.workers, bad)
        for name, model in models.items()
    }
    return {**trunks, PIXELS: RawPixels(cfg.img_size, cfg.in_chans, config.workers, bad)}


def _compute(config: ProbeConfig, loaded: LoadedRun) -> Compute:
    device = resolve_device(config.device)
    mean, std = loaded.recipe.data.statistics(loaded.model.cfg.in_chans)
    return Compute(device, resolve_precision(loaded.recipe.train.precision, device), mean, std)


def _choose_all(
    config: ProbeConfig,
    loaded: LoadedRun,
    splits: Splits,
    budgets: list[int],
    extractors: _Features,
    console: Console,
) -> tuple[list[Choice], list[SweepEntry]]:
    """Every kind of features in turn, so that only one is in memory."""
    heads = loaded.model.cfg.shape.num_heads
    setting = Setting(config, len(splits.classes), heads, resolve_device(config.device))
    steps = sum(num_steps(config, budget) for budget in budgets)
    pool, select = splits.pool[: budgets[-1]], splits.select
    found: tuple[list[Choice], list[SweepEntry]] = ([], [])
    with _progress(console, len(extractors) * steps) as advance:
        for name, extract in extractors.items():
            room = memory_for_features()
            held = Labeled.open(extract, splits.source, select, splits.labels(select), room)
            labeled = Labeled.open(extract, splits.source, pool, splits.labels(pool), room)
            for budget in budgets:
                advance(name, budget, 0)
                part = labeled.first(budget)
                choices, sweep = choose(
                    setting, name, extract.names, part, held, name != PIXELS, partial(advance, name, budget)
                )
                found[0].extend(choices)
                found[1].extend(sweep)
    return found


def _score(choices: tuple[Choice, ...], extractors: _Features, splits: Splits) -> list[Scored]:
    """Every frozen choice on the test images; their labels are opened when all predictions are made."""
    predicted: list[list[torch.Tensor]] = [[] for _ in choices]
    indices: dict[str, Int64[np.ndarray, " tested"]] = {}
    unlabeled = Unlabeled(splits.test_source)
    for name, extract in extractors.items():
        found = []
        for features, which in extract(unlabeled, splits.test):
            found.append(which)
            for choice, outputs in zip(choices, predicted, strict=True):
                if choice.features == name:
                    with torch.no_grad():
                        outputs.append(choice.classifier.cpu()(features[choice.set_index]).argmax(dim=-1))
        indices[name] = np.concatenate(found)
    labels = splits.open_test_labels(indices[PRETRAINED])
    known = labels >= 0
    return [
        Scored(choice, (torch.cat(outputs).numpy() == labels)[known])
        for choice, outputs in zip(choices, predicted, strict=True)
    ]


def _facts(
    config: ProbeConfig, splits: Splits, sets: dict[str, list[str]], step: int, elapsed_s: float, num_test: int
) -> dict[str, Any]:
    return {
        "data": config.data,
        "test": config.test or f"a part of {config.data}, set aside",
        "classes": list(splits.classes),
        "num_test": num_test,
        "num_select": len(splits.select),
        "num_train_pool": len(splits.pool),
        "seed": config.seed,
        "elapsed_s": round(elapsed_s, 1),
        "checkpoint_step": step,
        "grid": {"lrs": list(config.lrs), "layer_sets": sets},
    }


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for the training of `total` steps, or a line per part where there is no terminal."""
    columns = (TextColumn("probing {task.description}"), BarColumn(bar_width=20), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)

        def advance(features: str, labels: int, steps: int) -> None:
            what = f"{features}, {labels:,} labels"
            if not console.is_terminal and what != bar.tasks[0].description:
                done = bar.tasks[0].completed / total
                console.print(f"probing {what} · {done:.0%} done", highlight=False)
            bar.update(task, advance=steps, description=what)

        yield advance
