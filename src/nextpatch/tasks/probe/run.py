"""Frozen features, measured: choose every probe on held-out images, then score each once on the test images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from rich.console import Console

from nextpatch.config import to_dict
from nextpatch.core.errors import UserError
from nextpatch.core.output import check_folder
from nextpatch.core.progress import LiveLine, phase
from nextpatch.core.text import format_duration
from nextpatch.data.sources.source import Source
from nextpatch.data.splits import Splits, open_splits, split
from nextpatch.data.survey import refuse_other_channels
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.measure.probe_result import PRETRAINED, LayerScore, ProbeResult, SearchGrid
from nextpatch.model.attentive import probe_heads
from nextpatch.model.layer_sets import layer_sets
from nextpatch.runs.logs import log_to
from nextpatch.runs.results import set_aside
from nextpatch.runs.run import RunDir
from nextpatch.tasks.probe.choose import choose
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.evaluator import Choice, ProbeData, ProbeSetup, SavedWith, evaluator_of
from nextpatch.tasks.probe.extract import RawPixels, TrunkFeatures
from nextpatch.tasks.probe.kinds import kinds_on
from nextpatch.tasks.probe.labeled import Labeled, memory_for_features
from nextpatch.tasks.probe.probed_model import Features, ProbedModel, extractors_of, open_model, pooling_of
from nextpatch.tasks.probe.score import Scored, score, score_of
from nextpatch.tasks.probe.train import num_steps
from nextpatch.tasks.probe.write import RESULTS, write_results
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.classifier import mark_of


def probe(
    config: ProbeConfig,
    console: Console | None = None,
    ranks: Ranks = ALONE,
    backbone: Backbone | None = None,
    sources: tuple[Source, Source] | None = None,
    whole: bool = False,
) -> ProbeResult:
    """Measure frozen features, write probe.json and probe.safetensors, and print the table.

    Unless `config.baselines` is False the baselines are measured too: a linear and a nearest-neighbor classifier on
    raw pixels, and for a run the same probes on the same trunk at random initialisation. `backbone` is measured in
    place of what `config.weights` names, where it is given, and `sources`, training and test images, in place of
    `config.data` and `config.test`; `whole` learns from all labels at once and leaves the baselines out. Called by
    every rank of `ranks` alike; images are shared among them, each is counted once. Raises RunError, WeightsError,
    DataError or UserError for what cannot be used.
    """
    console = console or Console(quiet=not ranks.is_main)
    start_s = time.monotonic()
    out = output_of(config)
    check_results(out)
    for kind in config.probes:
        evaluator_of(kind).need()
    with phase("loading the weights", console):
        opened = open_model(config, backbone)
    sets = layer_sets(config.layers, len(opened.inference.backbone.blocks))
    held_out = config.select_on == "held-out"
    with phase("opening the images", console):
        if sources is not None:
            splits = split(*sources, config.seed, held_out, config.overlap)
        else:
            splits = open_splits(config.data, config.test, config.seed, held_out, config.overlap)
    about = opened.inference.backbone.about
    for source in (splits.source, splits.test_source):
        refuse_other_channels(source, about.in_chans, about.preprocessing)
    wanted = [*config.labels, *(shots * len(splits.classes) for shots in config.shots)]
    budgets = [len(splits.pool)] if whole else splits.budgets(wanted)
    if ranks.is_main:
        out.mkdir(parents=True, exist_ok=True)
    with log_to(out / "log.txt", console) if ranks.is_main else nullcontext():
        extractors = extractors_of(config, opened, sets)
        if whole or not config.baselines:
            extractors = {PRETRAINED: extractors[PRETRAINED]}
        choices, sweep = _choose_all(config, opened, splits, budgets, extractors, console, ranks)
        with phase("classifying the test images", console):
            scored = score(tuple(choices), extractors, splits, ranks)
    found: ProbeResult | None = None
    if ranks.is_main:
        result = _result(config, splits, sets, opened, time.monotonic() - start_s, scored, sweep)
        kept_with = SavedWith(splits.classes, mark_of(opened.inference.backbone.trunk), about)
        found = write_results(out, result, choices, kept_with, console)
    return ProbeResult.from_dict(ranks.broadcast(found and found.to_dict()))


def output_of(config: ProbeConfig) -> Path:
    """The folder of the results; UserError when they have no natural place and none was named."""
    if config.out is not None:
        return config.out
    path = Path(config.weights)
    if RunDir.exists(path) and (
        other := [name for name in ("img_size", "pixel_range", "layout") if getattr(config, name)]
    ):
        raise UserError(
            f"the run was trained with another {', '.join(other)}; name a folder for the results: --out DIR"
        )
    mistyped = not path.exists() and not set(str(config.weights)) & set(":/+")
    if RunDir.exists(path) or path.is_dir() or mistyped:
        return RunDir.open(path).path  # which says what is wrong with a folder that is no run
    raise UserError(f"{config.weights} is not a run directory; name a folder for the results: --out DIR")


def check_results(out: Path) -> None:
    """UserError when no results can be written into `out`, or somebody's files are in their places."""
    check_folder(out, files=() if RunDir.exists(out) else RESULTS)  # what lies under these names in a run is ours


def _choose_all(
    config: ProbeConfig,
    opened: ProbedModel,
    splits: Splits,
    budgets: list[int],
    extractors: Features,
    console: Console,
    ranks: Ranks,
) -> tuple[list[Choice], list[LayerScore]]:
    """Every kind of features in turn, so that only one is in memory."""
    inference = opened.inference
    about = inference.backbone.about
    heads = _heads(config, about.dim, about.num_heads)
    setup = ProbeSetup(config, len(splits.classes), heads, inference.device, ranks)
    steps = sum(num_steps(config, budget, ranks.size) for budget in budgets)
    pool = splits.pool[: budgets[-1]]
    found: tuple[list[Choice], list[LayerScore]] = ([], [])
    with _progress(console, len(extractors) * steps) as advance:
        for name, extract in extractors.items():
            advance(name, 0, 0)  # the features themselves
            kinds = kinds_on(config.probes, extract.patches)
            held = _held(config, splits, extract, ranks)
            room = 0 if config.augment == "paper" or ranks.size > 1 else memory_for_features()
            cache = None if config.augment == "paper" else config.cache
            labeled = Labeled.open(extract, splits.source, pool, splits.labels(pool), room, ranks, cache)
            for budget in budgets:
                advance(name, budget, 0)
                part = labeled.first(budget)
                data = ProbeData(setup, extract.names, part, held)
                choices, sweep = choose(kinds, name, data, partial(advance, name, budget))
                found[0].extend(choices)
                found[1].extend(sweep)
    return found


def _heads(config: ProbeConfig, dim: int, trunk_heads: int) -> int:
    if config.heads and dim % config.heads:
        raise UserError(f"heads {config.heads} does not divide {dim}, the width of the features; give one that does")
    return config.heads or probe_heads(dim, trunk_heads)


def _held(config: ProbeConfig, splits: Splits, extract: TrunkFeatures | RawPixels, ranks: Ranks) -> Labeled:
    """The images that probes are chosen by: held out of the training data, or as in the paper those of the test."""
    room = memory_for_features()
    if config.select_on == "held-out":
        return Labeled.open(extract, splits.source, splits.select, splits.labels(splits.select), room, ranks)
    labels = splits.open_test_labels(splits.test)
    known = labels >= 0
    return Labeled.open(extract, splits.test_source, splits.test[known], labels[known], room, ranks)


def _result(
    config: ProbeConfig,
    splits: Splits,
    sets: dict[str, list[str]],
    opened: ProbedModel,
    elapsed_s: float,
    scored: list[Scored],
    sweep: list[LayerScore],
) -> ProbeResult:
    about = opened.inference.backbone.about
    return ProbeResult(
        weights=str(config.weights),
        data=config.data,
        test=config.test or set_aside(config.data),
        classes=tuple(splits.classes),
        num_test=len(scored[0].right),
        num_test_in_training=splits.shared,
        overlap=config.overlap,
        num_select=len(splits.select),
        num_train_pool=len(splits.pool),
        select_on=config.select_on,
        augment=config.augment,
        seed=config.seed,
        elapsed_s=round(elapsed_s, 1),
        checkpoint_step=opened.step,
        view=about.preprocessing.view(about.img_size),
        preprocessing=to_dict(about.preprocessing),
        feature_attention=about.attention,
        pooling=pooling_of(config, about).name,
        grid=SearchGrid(tuple(config.lrs), {name: tuple(blocks) for name, blocks in sets.items()}),
        results=tuple(score_of(one, config.seed) for one in scored),
        sweep=tuple(sweep),
    )


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[str, int, int], None]]:
    """The training of `total` steps on one live line, or a line for each part where there is no terminal."""
    began_s, done, part = time.monotonic(), 0, ""
    with LiveLine("probing", total, console=console) as live:

        def advance(features: str, labels: int, steps: int) -> None:
            nonlocal done, part
            done, before = done + steps, part
            part = f"{features}, {labels:,} labels" if labels else f"{features}, features of the images"
            left = format_duration((time.monotonic() - began_s) * (total - done) / done) if done else ""
            live.show(f"{part} · {left} left" if left else part, done, now=part != before)

        yield advance
