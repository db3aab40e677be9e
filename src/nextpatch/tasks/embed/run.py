"""Features of a whole collection: shard by shard, going on after a kill where it was, then one file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from nextpatch.config import ConfigError
from nextpatch.core.files import write_text
from nextpatch.core.marks import MARK
from nextpatch.core.output import check_file, check_folder
from nextpatch.core.progress import Meter, phase
from nextpatch.data.collection import outside
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source
from nextpatch.data.survey import refuse_other_channels
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.tasks.embed.columns import skipped_in
from nextpatch.tasks.embed.config import EmbedConfig
from nextpatch.tasks.embed.embedder import Embedder, indices_of, part_path
from nextpatch.tasks.embed.output import combine, rows_beside
from nextpatch.tasks.embed.plan import begin_parts, is_finished, remove_parts

SKIPPED = "skipped.jsonl"


@dataclass(frozen=True)
class Embedded:
    """What came out: where, how many images, and how many were left out."""

    out: Path
    images: int
    skipped: int


def embed(config: EmbedConfig, console: Console | None = None, ranks: Ranks = ALONE) -> Embedded:
    """Write the features of every image of `config.data` that can be decoded; each exactly once, however often stopped.

    What is there already of the same work is kept. Images that are left out are in `skipped.jsonl` beside the output,
    with the reason. The ranks of `ranks` share the shards; all must see the same files. Raises ConfigError when other
    work lies at `out`, InUseError when another process writes there, DataError or WeightsError for what is not usable.
    """
    console = console or Console(stderr=True, quiet=not ranks.is_main)
    check = partial(check_file, beside=_beside(config.out)) if config.out.suffix else check_folder
    if config.out.suffix == ".npy":
        outside(config.out, [config.data])
    if config.ray and ranks.size > 1:
        raise ConfigError("--ray shares the work by itself; start it without torchrun")
    with ranks.raise_on_all():
        check(config.out)
    with ranks.only_writer(config.out, "embed", file=bool(config.out.suffix)):
        with (
            ranks.main_first(),
            phase("loading the weights and opening the images", console),
        ):  # what it leaves in caches, the others find
            source, embedder = open_source(config.data), Embedder(config)
        todo = None
        facts, parts = embedder.facts(source), config.parts
        shards = -(-len(source) // config.shard_images)
        with ranks.raise_on_all():
            if ranks.is_main:
                about = embedder.inference.backbone.about
                refuse_other_channels(source, about.in_chans, about.preprocessing)
                check(config.out, embedder.bytes_of(len(source)))
                begin_parts(config, parts, facts, source)
                todo = [number for number in range(shards) if not is_finished(part_path(parts, number))]
        todo = ranks.broadcast(todo)
        done = len(source) - sum(len(indices_of(config, source, number)) for number in todo)
        with Meter("features of", len(source), done=done, console=console) as meter:
            _work(config, embedder, source, todo, facts, meter.add, ranks)
        embedded = Embedded(config.out, 0, 0)
        with ranks.raise_on_all():
            if ranks.is_main:
                embedded = _finish(config, parts, [part_path(parts, number) for number in range(shards)], len(source))
        return embedded


def _beside(out: Path) -> list[Path]:
    """What is written beside the file of features."""
    return [out.with_suffix(".skipped.jsonl"), *([] if out.suffix == ".parquet" else [rows_beside(out)])]


def _work(
    config: EmbedConfig,
    embedder: Embedder,
    source: Source,
    todo: list[int],
    facts: dict[str, Any],
    advance: Callable[[int], None],
    ranks: Ranks,
) -> None:
    """Every shard of `todo`, one a rank at a time; so no rank waits for the others longer than a shard takes."""
    if not config.ray:
        for start in range(0, len(todo), ranks.size):
            turn = todo[start : start + ranks.size]
            with ranks.raise_on_all():
                for number in turn[ranks.rank : ranks.rank + 1]:
                    embedder.work(source, number, facts, advance if ranks.size == 1 else _untold)
            if ranks.size > 1:
                advance(sum(len(indices_of(config, source, number)) for number in turn))
        return
    from nextpatch.tasks.embed.distributed import worked_by_ray

    for number in worked_by_ray(config, todo, facts):
        advance(len(indices_of(config, source, number)))


def _untold(_: int) -> None:
    """Of several ranks each knows its own part; all are counted when they meet."""


def _finish(config: EmbedConfig, parts: Path, files: list[Path], images: int) -> Embedded:
    lost = {key: entry for file in files for key, entry in skipped_in(file).items()}
    if len(lost) >= images:
        remove_parts(parts)
        raise ConfigError(f"no image of {config.data} can be used: {next(iter(lost.values()))[1]}")
    beside = config.out.with_suffix(".skipped.jsonl") if config.out.suffix else parts / SKIPPED
    lines = [
        json.dumps({MARK: "skipped image", "path": k, "kind": e[0], "reason": e[1]}) + "\n" for k, e in lost.items()
    ]
    if lines:
        write_text(beside, "".join(lines))
    else:
        beside.unlink(missing_ok=True)  # of earlier work: it would be taken for what this one left out
    if config.out.suffix:
        combine(files, config.out)
        remove_parts(parts)
    return Embedded(config.out, images - len(lost), len(lost))
