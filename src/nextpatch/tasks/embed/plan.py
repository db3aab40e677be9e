"""The folder of shards and its plan: started, continued, or refused if it belongs to other work."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from nextpatch.config import ConfigError
from nextpatch.core.errors import FileError
from nextpatch.core.files import UNFINISHED, write_json
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown
from nextpatch.core.writer import is_new
from nextpatch.data.fingerprint import changes, fingerprint_from, same_images
from nextpatch.data.sources.source import Source
from nextpatch.tasks.embed.columns import is_sound
from nextpatch.tasks.embed.config import EmbedConfig
from nextpatch.tasks.embed.embedder import indices_of
from nextpatch.tasks.embed.moved import forget_changed, rename_samples

log = logging.getLogger(__name__)
PLAN = "plan.json"
_PLACES = ("data", "images_were")  # what may change when images are touched or moved
_LATER = {"attention": "bidirectional"}  # facts that came after the first plans, and what these had


def begin_parts(config: EmbedConfig, parts: Path, facts: dict[str, Any], source: Source) -> None:
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
    found = read_json(plan, "the plan of features", f"remove {shown(parts)} and start again", ConfigError)
    begun = {**_LATER, **found}
    other = sorted(name for name in facts if begun.get(name) != facts[name])
    if set(other) - set(_PLACES) or not isinstance(begun.get("images_were"), dict):
        raise _other_work(config, other, begun)
    if other:
        try:
            then, now = fingerprint_from(begun["images_were"]), fingerprint_from(facts["images_were"])
        except FileError:
            raise _other_work(config, other, begun) from None
        if not same_images(then, now):
            raise _other_work(config, [changes(then, now)], begun)
        forget_changed(_finished(config, source), source)
    rename_samples(_finished(config, source), source, facts)
    if other:
        write_json(plan, facts)


def _other_work(config: EmbedConfig, other: list[str], begun: dict[str, Any]) -> ConfigError:
    pooled = f" (--pool {shown(begun.get('pool'))})" if "pool" in other else ""
    return ConfigError(
        f"{config.out} was started with other {', '.join(other)}{pooled}; give the same values, or remove "
        f"{config.parts} first"
    )


def _finished(config: EmbedConfig, source: Source) -> dict[Path, range]:
    """The shards that are there, and which images are theirs."""
    found = sorted(config.parts.glob("part-*.parquet"))
    return {path: indices_of(config, source, int(path.stem.removeprefix("part-"))) for path in found}


def is_finished(path: Path) -> bool:
    """Whether a shard is there; one that is not as it was written is made again."""
    if not path.exists():
        return False
    if not is_sound(path):
        log.warning("%s has changed since it was written; it is made again", shown(path))
        return False
    return True


def remove_parts(parts: Path) -> None:
    """Take the folder of shards away, in one step for whoever looks: half of one would look like someone else's."""
    shutil.rmtree(_doomed(parts), ignore_errors=True)
    parts.rename(_doomed(parts))
    shutil.rmtree(_doomed(parts), ignore_errors=True)


def _doomed(parts: Path) -> Path:
    return parts.with_name(f".{parts.name.removeprefix('.')}{UNFINISHED}")
