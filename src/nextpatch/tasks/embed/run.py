"""Features of a whole collection: shard by shard, going on after a kill where it was, then one file."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from nextpatch.config import ConfigError, to_dict
from nextpatch.core.errors import FileError
from nextpatch.core.files import UNFINISHED, write_json, write_text
from nextpatch.core.marks import MARK
from nextpatch.core.output import check_file, check_folder
from nextpatch.core.progress import Meter, phase
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.core.writer import is_new
from nextpatch.data.collection import absolute as absolute_place
from nextpatch.data.collection import outside
from nextpatch.data.error import DataError
from nextpatch.data.fingerprint import changes, digest_of_images, fingerprint_from, fingerprint_of, same_images
from nextpatch.data.loader import eval_batches
from nextpatch.data.skipped import Bad
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source
from nextpatch.data.survey import refuse_other_channels
from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.tasks.embed.columns import is_sound, skipped_in
from nextpatch.tasks.embed.config import EmbedConfig
from nextpatch.tasks.embed.moved import forget_changed, name_anew, seen_of
from nextpatch.tasks.embed.output import combine, rows_beside
from nextpatch.tasks.embed.shard import Columns, write_shard, write_table
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.load import load
from nextpatch.weights.names import absolute

log = logging.getLogger(__name__)
PLAN = "plan.json"
_PLACES = ("data", "images_were")  # what may change when images are touched or moved
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
    work lies at `out`, InUse when another process writes there, DataError or WeightsError for what is not usable.
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
            source, opened = open_source(config.data), Opened(config)
        todo = None
        facts, parts = opened.facts(source), config.parts
        shards = -(-len(source) // config.shard_images)
        with ranks.raise_on_all():
            if ranks.is_main:
                about = opened.running.backbone.about
                refuse_other_channels(source, about.in_chans, about.preprocessing)
                check(config.out, opened.bytes_of(len(source)))
                _begin(config, parts, facts, source)
                todo = [number for number in range(shards) if not _made(part(parts, number))]
        todo = ranks.broadcast(todo)
        done = len(source) - sum(len(indices_of(config, source, number)) for number in todo)
        with Meter("features of", len(source), done=done, console=console) as meter:
            _work(config, opened, source, todo, facts, meter.add, ranks)
        embedded = Embedded(config.out, 0, 0)
        with ranks.raise_on_all():
            if ranks.is_main:
                embedded = _finish(config, parts, [part(parts, number) for number in range(shards)], len(source))
        return embedded


class Opened:
    """The weights, loaded when they are first needed, and what is computed with them."""

    def __init__(self, config: EmbedConfig) -> None:
        self.config = config
        backbone = load(
            config.weights, layers=config.layers, img_size=config.img_size, pixel_range=config.pixel_range,
            layout=config.layout,
        )  # fmt: skip
        self.digest = backbone.digest()  # before any conversion: of the weights as they are
        self.running = InferenceModel.of(backbone, config.device, config.precision)
        self.columns = Columns.of(backbone, config.pool, config.each_layer)
        if config.out.suffix == ".npy" and self.columns.each_layer and len(self.columns.layers) > 1:
            raise ConfigError(
                f".npy holds one array, and there are {len(self.columns.layers)} columns; use .parquet or .safetensors"
            )

    def facts(self, source: Source) -> dict[str, Any]:
        """What decides the features, beside the images: two works with equal facts may be put together."""
        config, about = self.config, self.running.backbone.about
        patches = "patches" if self.columns.pool == "patches" else "vector"
        return {
            "weights": absolute(config.weights), "weights_sha256": self.digest, "layers": list(self.columns.layers),
            "each_layer": config.each_layer, "pool": self.columns.pool, "precision": self.running.precision,
            "img_size": list(about.img_size), "mean": list(about.mean), "std": list(about.std),
            "preprocessing": to_dict(about.preprocessing), "dim": about.dim, "kind": patches,
            "data": absolute_place(config.data), "data_sha256": source.digest, "images": len(source),
            "shard_images": config.shard_images, "images_were": asdict(fingerprint_of(source)),
        }  # fmt: skip

    def bytes_of(self, images: int) -> int:
        """About what the features of so many images take, in parts and put together."""
        about, columns = self.running.backbone.about, self.columns
        vectors = about.num_patches if columns.pool == "patches" else 1
        whole = images * vectors * about.dim * 2 * (len(columns.layers) if columns.each_layer else 1)
        return whole * (2 if self.config.out.suffix else 1)

    def work(self, source: Source, number: int, facts: dict[str, Any], advance: Callable[[int], None]) -> None:
        """One shard."""
        config, about = self.config, self.running.backbone.about
        indices = np.asarray(indices_of(config, source, number))
        path, bad = part(config.parts, number), Bad()
        batches = eval_batches(
            source, indices, about.img_size, about.in_chans, config.batch_size, config.workers, bad, about.preprocessing
        )
        if not getattr(source, "remote", False):
            write_text(seen_of(path), digest_of_images(source, indices.tolist()))
        positions = {source.key(index): index for index in indices.tolist()}
        try:
            write_shard(path, facts, batches, partial(self.columns, self.running), advance, positions)
        except DataError:
            if len(bad) < len(indices):
                raise
            write_table(path, [], facts, bad, positions)  # not one image of this shard decodes: others may


def _made(path: Path) -> bool:
    """Whether a shard is there; one that is not as it was written is made again."""
    if not path.exists():
        return False
    if not is_sound(path):
        log.warning("%s is not as it was written; it is made again", shown(path))
        return False
    return True


def _beside(out: Path) -> list[Path]:
    """What is written beside the file of features."""
    return [out.with_suffix(".skipped.jsonl"), *([] if out.suffix == ".parquet" else [rows_beside(out)])]


def indices_of(config: EmbedConfig, source: Source, number: int) -> range:
    """Which images belong to a shard."""
    start = number * config.shard_images
    return range(start, min(len(source), start + config.shard_images))


def part(parts: Path, number: int) -> Path:
    """The file of a shard."""
    return parts / f"part-{number:06d}.parquet"


def _finished(config: EmbedConfig, source: Source) -> dict[Path, range]:
    """The shards that are there, and which images are theirs."""
    found = sorted(config.parts.glob("part-*.parquet"))
    return {path: indices_of(config, source, int(path.stem.removeprefix("part-"))) for path in found}


def _begin(config: EmbedConfig, parts: Path, facts: dict[str, Any], source: Source) -> None:
    """The folder of shards with its plan; ConfigError when it is of other work."""
    plan = parts / PLAN
    shutil.rmtree(_doomed(parts), ignore_errors=True)  # of a call that was killed when its work was done
    if config.out.suffix and config.out.exists() and not parts.exists():
        raise ConfigError(f"{config.out} exists; remove it, or choose another --out")
    if not plan.exists():
        if not is_new(parts):
            raise ConfigError(f"{parts} is not empty and no features were begun in it; choose another --out")
        parts.mkdir(parents=True, exist_ok=True)
        write_json(plan, facts)
        return
    begun = read_json(plan, "the plan of features", f"remove {shown(parts)} and begin anew", ConfigError)
    other = sorted(name for name in facts if begun.get(name) != facts[name])
    if set(other) - set(_PLACES) or not isinstance(begun.get("images_were"), dict):
        raise _other_work(config, other)
    if other:
        try:
            then, now = fingerprint_from(begun["images_were"]), fingerprint_from(facts["images_were"])
        except FileError:
            raise _other_work(config, other) from None
        if not same_images(then, now):
            raise _other_work(config, [changes(then, now)])
        forget_changed(_finished(config, source), source)
    name_anew(_finished(config, source), source, facts)
    if other:
        write_json(plan, facts)


def _other_work(config: EmbedConfig, other: list[str]) -> ConfigError:
    return ConfigError(
        f"{config.out} was begun with other {', '.join(other)}; give the same again, or remove {config.parts} first"
    )


def _remove(parts: Path) -> None:
    """Take the folder of shards away, in one step for whoever looks: half of one would look like someone else's."""
    shutil.rmtree(_doomed(parts), ignore_errors=True)
    parts.rename(_doomed(parts))
    shutil.rmtree(_doomed(parts), ignore_errors=True)


def _doomed(parts: Path) -> Path:
    return parts.with_name(f".{parts.name.removeprefix('.')}{UNFINISHED}")


def _work(
    config: EmbedConfig,
    opened: Opened,
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
                    opened.work(source, number, facts, advance if ranks.size == 1 else _untold)
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
        _remove(parts)
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
        _remove(parts)
    return Embedded(config.out, images - len(lost), len(lost))
